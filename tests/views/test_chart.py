"""The moving chart over its channel: what is sent, when, and that pages end up right."""

from __future__ import annotations

import gc
import json
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.errors import UsageError
from streamlab.views import chart as chart_module
from streamlab.views.chart import WAITING, rolling
from streamlab.views.encode import page_values
from streamlab.views.pages import CREDIT
from tests.views.fakes import FakeFrame, HandPost, Wire

BEGAN = datetime(2026, 11, 23, 10, tzinfo=UTC)
TRADES: dict[str, Any] = {
    "time": pl.Datetime("us", "UTC"),
    "price": pl.Float64,
    "symbol": pl.String,
}


def trades(start: int, count: int) -> pl.DataFrame:
    at = range(start, start + count)
    rows = [(BEGAN + timedelta(seconds=n), float(n), "abc"[n % 3]) for n in at]
    return pl.DataFrame(rows, schema=TRADES, orient="row")


def windows(*rows: tuple[int, str | None, float | None]) -> pl.DataFrame:
    schema = {"window_start": pl.Int64, "symbol": pl.String, "vwap": pl.Float64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def in_page(frame: pl.DataFrame) -> list[dict[str, Any]]:
    columns = {series.name: page_values(series) for series in frame}
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


class Bench:
    """A chart of one frame with its channel and hand-driven I/O thread."""

    def __init__(self, frame: FakeFrame, rows: int | None = None) -> None:
        self.frame, self.post = frame, HandPost()
        x, y = next(iter(frame.schema or TRADES)), "vwap" if frame.key else "price"
        drawn = alt.Chart(frame).mark_line().encode(x=x, y=y, color="symbol")
        self.chart = rolling(drawn, post=self.post, rows=rows, clock=self.post.clock)
        self.wire = Wire(self.chart)

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [content for content, _ in self.wire.messages if content["t"] == "d"]


@pytest.fixture
def bench() -> Bench:
    return Bench(FakeFrame(TRADES, time="time", name="live"))


@pytest.fixture
def keyed() -> Bench:
    frame = FakeFrame(
        dict(windows().schema), key=("window_start", "symbol"), time="window_start"
    )
    return Bench(frame)


def test_nothing_is_sent_before_a_page_says_hello(bench: Bench):
    bench.frame.push(trades(0, 20))
    bench.post.go_on()

    assert bench.wire.messages == []
    assert bench.frame.snapshots == 0


def test_hello_brings_the_chart_and_all_rows_then_only_what_is_new(bench: Bench):
    bench.frame.push(trades(0, 20))
    page = bench.wire.page()

    page.hello()
    bench.post.go_on()
    bench.frame.push(trades(20, 10))
    bench.post.go_on()

    assert (page.spec or {})["data"] == {"name": "live_0"}
    assert page.table() == in_page(trades(0, 30))
    assert [content["parts"][0]["n"] for content in bench.sent] == [20, 10]
    assert "spec" not in bench.sent[1]
    assert page.caption == "10:00:29 · last 29 s · 30 rows"


def test_ten_rows_take_well_under_four_kilobytes(bench: Bench):
    bench.wire.page().hello()
    bench.post.go_on()
    bench.frame.push(trades(0, 10))
    bench.post.go_on()

    content, buffers = bench.wire.messages[-1]

    assert len(json.dumps(content)) + sum(map(len, buffers)) < 700


def test_many_changes_between_two_pictures_become_one_message(bench: Bench):
    page = bench.wire.page()
    page.hello()
    bench.post.go_on()
    before = len(bench.sent)

    for n in range(50):
        bench.frame.push(trades(n, 1))
    bench.post.go_on(0.001)

    assert len(bench.sent) - before <= 1
    bench.post.go_on(1)
    assert page.table() == in_page(trades(0, 50))


def test_no_more_than_fifteen_pictures_a_second(bench: Bench):
    bench.wire.page().hello()
    bench.post.go_on()
    before = len(bench.sent)

    for n in range(1_000):
        bench.frame.push(trades(n, 1))
        bench.post.go_on(0.01)

    assert 120 <= len(bench.sent) - before <= 151


def test_a_page_that_stops_answering_gets_eight_frames_and_catches_up(bench: Bench):
    page = bench.wire.page()
    page.hello()
    bench.post.go_on()
    page.stuck = True
    before = len(bench.sent)

    for n in range(100):
        bench.frame.push(trades(n, 1))
        bench.post.go_on(0.1)
    in_flight = len(bench.sent) - before
    page.stuck = False
    page.paint()
    bench.post.go_on()

    assert in_flight <= CREDIT
    assert page.table() == in_page(trades(0, 100))


def test_while_a_cell_blocks_the_picture_trickles_on_without_answers(bench: Bench):
    page = bench.wire.page()
    page.hello()
    bench.post.go_on()
    page.stuck = bench.post.blocked = True
    before = len(bench.sent)

    for n in range(45):
        bench.frame.push(trades(n, 1))
        bench.post.go_on(0.1)

    assert 20 <= len(bench.sent) - before <= 28


def test_a_second_page_gets_everything_and_the_first_nothing_twice(bench: Bench):
    bench.frame.push(trades(0, 20))
    first, second = bench.wire.page("a"), bench.wire.page("b")
    first.hello()
    bench.post.go_on()

    second.hello()
    bench.frame.push(trades(20, 5))
    bench.post.go_on()

    assert [(p["n"], p.get("to"), p.get("but")) for p in bench.sent[-1]["parts"]] == [
        (5, None, ["b"]),
        (25, ["b"], None),
    ]
    assert first.table() == second.table() == in_page(trades(0, 25))


def test_a_frozen_page_neither_gets_nor_stops_frames_and_goes_on_with_all(bench: Bench):
    frozen, other = bench.wire.page("a"), bench.wire.page("b")
    frozen.hello()
    other.hello()
    bench.post.go_on()

    frozen.bye()
    bench.frame.push(trades(0, 30))
    bench.post.go_on()

    assert frozen.table() == []
    assert other.table() == in_page(trades(0, 30))
    frozen.hello()
    bench.post.go_on()
    assert frozen.table() == in_page(trades(0, 30))


def test_forgotten_rows_leave_the_page(bench: Bench):
    page = bench.wire.page()
    bench.frame.push(trades(0, 20))
    page.hello()
    bench.post.go_on()

    bench.frame.push(trades(20, 3), forget=8)
    bench.post.go_on()

    assert page.table() == in_page(trades(8, 15))


def test_keyed_rows_are_replaced_and_removed_by_key(keyed: Bench):
    page = keyed.wire.page()
    keyed.frame.push(windows((1, "a", 1.0), (1, "b", 2.0), (2, "a", None)))
    page.hello()
    keyed.post.go_on()

    keyed.frame.push(windows((1, "b", 2.5), (3, "a", 4.0)))
    keyed.post.go_on()
    assert keyed.sent[-1]["parts"][0]["n"] == 2
    keyed.frame.remove(windows((1, "a", 1.0)).select("window_start", "symbol"))
    keyed.post.go_on()

    rows = sorted(page.table(), key=lambda row: (row["window_start"], row["symbol"]))
    assert rows == in_page(windows((1, "b", 2.5), (2, "a", None), (3, "a", 4.0)))


def test_a_row_that_did_not_change_is_not_sent_again(keyed: Bench):
    keyed.frame.push(windows((1, "a", 1.0), (1, "b", 2.0)))
    keyed.wire.page().hello()
    keyed.post.go_on()

    keyed.frame.push(windows((1, "a", 1.0), (1, "b", 3.0)))
    keyed.post.go_on()

    assert keyed.sent[-1]["parts"][0]["n"] == 1


def test_a_null_in_the_key_is_one_key(keyed: Bench):
    page = keyed.wire.page()
    keyed.frame.push(windows((1, None, 1.0)))
    page.hello()
    keyed.post.go_on()

    keyed.frame.push(windows((1, None, 2.0)))
    keyed.post.go_on()

    assert [row["vwap"] for row in page.table()] == [2.0]


def test_above_the_budget_a_keyed_frame_shows_its_newest_and_says_so():
    frame = FakeFrame(
        dict(windows().schema), key=("window_start", "symbol"), time="window_start"
    )
    bench = Bench(frame, rows=50)
    page = bench.wire.page()
    frame.push(windows(*((n, "a", float(n)) for n in range(40))))
    page.hello()
    bench.post.go_on()

    frame.push(windows(*((n, "a", float(n)) for n in range(30, 90))))
    bench.post.go_on()
    frame.push(windows((3, "a", 0.0)))  # too old to be shown
    bench.post.go_on()

    assert sorted(row["window_start"] for row in page.table()) == list(range(40, 90))
    assert "newest 50 of 90 rows" in page.caption
    frame.remove(windows((89, "a", 0.0)).select("window_start", "symbol"))
    bench.post.go_on()
    assert sorted(row["window_start"] for row in page.table()) == list(range(39, 89))


def test_above_the_budget_a_line_keeps_its_extremes_and_says_so():
    bench = Bench(FakeFrame(TRADES, time="time"), rows=120)
    page = bench.wire.page()
    page.hello()

    for n in range(0, 3_000, 100):
        bench.frame.push(trades(n, 100))
        bench.post.go_on()

    shown = page.table()
    assert len(shown) <= 120
    assert {row["price"] for row in shown} >= {0.0, 2_999.0}
    assert "of 3 k rows (min/max per pixel kept)" in page.caption


def test_a_backlog_is_skipped_by_a_look_at_the_frame(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("streamlab.views.feed.QUEUED_ROWS", 30)
    page = bench.wire.page()
    page.hello()
    bench.post.go_on()
    looks = bench.frame.snapshots

    for n in range(0, 100, 10):
        bench.frame.push(trades(n, 10))
    bench.post.go_on()

    assert page.table() == in_page(trades(0, 100))
    assert bench.frame.snapshots == looks + 1


def test_a_large_frame_is_taken_in_by_slices(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("streamlab.views.feed.SLICE_ROWS", 40)
    page = bench.wire.page()
    bench.frame.push(trades(0, 100))
    page.hello()
    bench.post.go_on(0.01)
    assert len(page.table()) == 40

    bench.frame.push(trades(100, 5))
    bench.post.go_on()

    assert page.table() == in_page(trades(0, 105))


def test_a_chart_of_a_topic_without_records_waits_and_then_moves():
    frame = FakeFrame(None, time="time")
    bench = Bench(frame)
    page = bench.wire.page()
    page.hello()
    bench.post.go_on()
    assert (page.caption, page.spec) == (WAITING, None)

    frame.push(trades(0, 5))
    bench.post.go_on()
    frame.push(trades(5, 5))
    bench.post.go_on()

    assert (page.spec or {})["encoding"]["x"]["type"] == "temporal"
    assert page.table() == in_page(trades(0, 10))
    assert len(frame.listeners) == 1


def test_an_error_while_drawing_is_shown_and_not_swallowed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    page = bench.wire.page()
    page.hello()
    bench.post.go_on()

    def fail(_: object) -> None:
        raise ValueError("no such colour")

    monkeypatch.setattr(chart_module, "encode", fail)
    bench.frame.push(trades(0, 1))
    bench.post.go_on()

    assert page.caption == "✖ this picture failed: ValueError: no such colour"
    assert "a picture failed" in caplog.text


def test_what_is_out_of_the_ordinary_stands_in_the_caption(bench: Bench):
    page = bench.wire.page()
    bench.frame.push(trades(0, 2))
    page.hello()
    bench.post.go_on()

    bench.frame.stop_source()
    bench.post.go_on()

    assert page.caption == "■ stopped · 10:00:01 · last 1.0 s · 2 rows"
    assert bench.sent[-1]["parts"] == []


def test_close_leaves_the_frame_and_lets_everything_go(bench: Bench):
    page = bench.wire.page()
    page.hello()
    bench.post.go_on()
    gone = weakref.ref(bench.chart)
    bench.chart.close()
    assert bench.frame.listeners == []

    sent = len(bench.wire.messages)
    bench.frame.push(trades(0, 5))
    bench.post.go_on()

    assert bench.wire.messages[-1][0] == {"t": "over"}
    assert len(bench.wire.messages) == sent
    del bench.chart, bench.wire.widget
    gc.collect()
    assert gone() is None


def test_the_widgets_saved_state_holds_no_rows(bench: Bench):
    bench.frame.push(trades(0, 500))
    bench.wire.page().hello()
    bench.post.go_on()

    state = bench.chart.get_state()

    assert set(state) >= {"_esm", "key", "library"}
    assert (
        len(json.dumps({k: v for k, v in state.items() if k not in {"_esm", "_css"}}))
        < 900
    )


def test_the_library_is_sent_when_a_page_asks_for_it(bench: Bench):
    bench.wire.say({"t": "lib?", "page": "p1"})
    bench.post.go_on()

    ((content, (library,)),) = bench.wire.messages

    assert content == {"t": "lib", "version": bench.chart.library}
    assert len(library) > 250_000


def test_a_saved_notebook_gets_a_picture_of_what_was_there(bench: Bench):
    assert "image/png" not in bench.chart._repr_mimebundle_()[0]
    bench.frame.push(trades(0, 5))

    data, _ = bench.chart._repr_mimebundle_()

    assert data["image/png"][:4] in (b"\x89PNG", "iVBO")
    assert data["text/plain"] == repr(bench.chart) == "RollingChart(live)"
    assert data["application/vnd.jupyter.widget-view+json"]


def test_a_picture_is_written_as_a_file(bench: Bench, tmp_path: Path):
    bench.frame.push(trades(0, 5))

    picture = bench.chart.to_png(tmp_path / "chart.png", scale=1)

    assert picture[:4] == b"\x89PNG"
    assert (tmp_path / "chart.png").read_bytes() == picture


def test_a_picture_before_the_first_record_says_what_to_do():
    with pytest.raises(UsageError, match="time:T"):
        Bench(FakeFrame(None)).chart.to_png()


# ---------------------------------------------------------------- the model


STEP = st.one_of(
    st.tuples(st.just("push"), st.integers(1, 40)),
    st.tuples(st.just("forget"), st.integers(1, 30)),
    st.tuples(
        st.sampled_from(["stick", "wake", "hello", "bye"]), st.sampled_from("ab")
    ),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.07, 0.3, 2.0, 90.0])),
    st.tuples(st.just("busy"), st.booleans()),
)
STEPS = st.lists(STEP, max_size=40)


class Story:
    """Random events around one chart with two pages; the frame itself is the model."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.count = bench, 0
        self.pages = {name: bench.wire.page(name) for name in "ab"}

    def play(self, step: tuple[str, Any]) -> None:
        what, value = step
        page = self.pages.get(str(value))
        if what == "push":
            self.push(value)
        elif what == "forget":
            self.push(0, forget=min(value, self.bench.frame.df.height))
        elif what == "wait":
            self.bench.post.go_on(value)
        elif what == "busy":
            self.bench.post.blocked = value
        elif page and what == "hello" and not page.watching:
            page.hello()
        elif page and what == "bye" and page.watching:
            page.bye()
        elif page and what in ("stick", "wake"):
            page.stuck = what == "stick"
            page.paint()

    def push(self, count: int, forget: int = 0) -> None:
        self.bench.frame.push(trades(self.count, count), forget=forget)
        self.count += count

    def settle(self) -> None:
        self.bench.post.blocked = False
        for page in self.pages.values():
            page.stuck = False
            page.paint()
            if not page.watching:
                page.hello()
        for _ in range(4):
            self.bench.post.go_on(2)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_whatever_happens_pages_end_with_the_newest_rows_of_the_frame(steps: list[Any]):
    story = Story(Bench(FakeFrame(TRADES, time="time"), rows=1_000))

    for step in steps:
        story.play(step)
        story.bench.post.go_on(0.001)
    story.settle()

    expected = in_page(story.bench.frame.df)
    for page in story.pages.values():
        assert page.table() == expected


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["push", "wait", "paint"]), st.integers(1, 20)))
)
def test_credit_never_exceeds_eight(steps: list[Any]):
    bench = Bench(FakeFrame(TRADES, time="time"))
    page = bench.wire.page()
    page.hello()
    page.stuck = True

    for what, value in steps:
        if what == "push":
            bench.frame.push(trades(0, value))
        elif what == "paint":
            page.paint()
        bench.post.go_on(value / 10)

        assert len(page.inbox) <= CREDIT


KEYED_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("push"),
            st.lists(
                st.tuples(
                    st.integers(0, 12),
                    st.sampled_from(["a", "b", None]),
                    st.one_of(st.none(), st.floats(0, 1)),
                ),
                min_size=1,
                max_size=8,
                unique_by=lambda row: row[:2],
            ),
        ),
        st.tuples(st.just("remove"), st.integers(0, 12)),
        st.tuples(st.just("forget"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["stick", "wake", "hello", "bye"]), st.just("a")),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 90.0])),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(KEYED_STEPS, st.sampled_from([6, 1_000]))
def test_whatever_happens_to_a_keyed_frame_pages_end_with_it(
    steps: list[Any], budget: int
):
    frame = FakeFrame(
        dict(windows().schema), key=("window_start", "symbol"), time="window_start"
    )
    story = Story(Bench(frame, rows=budget))

    for what, value in steps:
        if what == "push":
            frame.push(windows(*value))
        elif what == "remove":
            there = frame.df.filter(pl.col("window_start") == value)
            frame.remove(there.select("window_start", "symbol"))
        elif what == "forget":
            frame.push(windows(), forget=min(value, frame.df.height))
        else:
            story.play((what, value))
        story.bench.post.go_on(0.001)
    story.settle()

    newest = frame.df.tail(budget)
    oldest = newest["window_start"].min() if newest.height else 0
    surely = frame.df.filter(pl.col("window_start") > oldest)
    for page in story.pages.values():
        shown = {tuple(row.values()) for row in page.table()}
        assert len(shown) == newest.height
        assert set(surely.rows()) <= shown <= set(frame.df.rows())
