"""Random stories around a chart: pages end up with what the frame holds."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.views.charts import TRADES, Bench, in_page, trades, windows
from tests.views.fakes import FakeFrame

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

        assert len(page.inbox) <= 8


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
