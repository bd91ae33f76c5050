"""The moving chart over its channel: what is sent, when, and that pages end up right."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from streamlab.errors import UsageError
from streamlab.views import chart as chart_module
from streamlab.views.chart import WAITING
from tests.views.charts import TRADES, Bench, in_page, trades
from tests.views.fakes import FakeFrame


@pytest.fixture
def bench() -> Bench:
    return Bench(FakeFrame(TRADES, time="time", name="live"))


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

    assert in_flight <= 8
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


def test_a_change_that_the_snapshot_holds_already_is_not_added_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    page, look = bench.wire.page(), bench.frame.snapshot

    def look_late() -> Any:
        bench.frame.push(trades(0, 5))  # told to the view, and in the snapshot too
        return look()

    monkeypatch.setattr(bench.frame, "snapshot", look_late)
    page.hello()
    bench.post.go_on()

    assert page.table() == in_page(trades(0, 5))


def test_a_new_page_need_not_wait_for_a_turn_that_was_put_off(bench: Bench):
    stuck, new = bench.wire.page("a"), bench.wire.page("b")
    stuck.hello()
    bench.post.go_on()
    stuck.stuck = bench.post.blocked = True
    for n in range(300):  # answers are missing for minutes: the next turn is far off
        bench.frame.push(trades(n, 1))
        bench.post.go_on(2)

    new.hello()
    bench.post.go_on(1.5)

    assert new.table() == in_page(trades(0, 300))


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
