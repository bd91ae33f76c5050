from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.engine.watermark import NONE, Watermark

PARTS = (0, 1, 2, 3)


class Slow:
    """The words of the design, row by row, with lists."""

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}
        self.mark = NONE

    def row(self, time: int, part: int, holding: set[int], *, good: bool) -> int:
        if good:
            self.newest[part] = max(time, self.newest.get(part, NONE))
        return self.settle(holding)

    def settle(self, holding: set[int]) -> int:
        if holding:
            now = min(self.newest.get(part, NONE) for part in holding)
        else:
            now = max(self.newest.values(), default=NONE)
        self.mark = max(self.mark, now)
        return self.mark


rows = st.lists(
    st.tuples(
        st.integers(-9, 9), st.sampled_from(PARTS), st.sampled_from([True, True, False])
    ),
    max_size=8,
)
batches = st.lists(st.tuples(rows, st.sets(st.sampled_from(PARTS))), max_size=6)


def advanced(
    mark: Watermark, rows: list[tuple[int, int, bool]], holding: set[int]
) -> list[int]:
    times = np.array([time for time, _, _ in rows], np.int64)
    parts = np.array([part for _, part, _ in rows], np.int32)
    good = np.array([each for _, _, each in rows], np.bool_)
    marks: list[int] = mark.advance(times, parts, good, frozenset(holding)).tolist()
    return marks


@settings(deadline=None, max_examples=300)
@given(batches=batches, runs=st.sampled_from([0, 3, 64]))
def test_it_is_what_the_words_say_row_by_row(
    batches: list[tuple[list[tuple[int, int, bool]], set[int]]], runs: int
):
    """However many runs of one partition are looked at one by one."""
    fast, slow = Watermark(runs=runs), Slow()

    for rows, holding in batches:
        expected = [
            slow.row(time, part, holding, good=good) for time, part, good in rows
        ]
        assert advanced(fast, rows, holding) == expected
        assert fast.mark == slow.settle(holding)


def test_a_partition_without_a_record_yet_holds_it_at_none():
    mark = Watermark()

    advanced(mark, [(50, 0, True)], {0, 1})

    assert mark.mark == NONE


def test_an_idle_partition_does_not_hold_it_and_it_never_goes_back_when_it_returns():
    mark = Watermark()
    advanced(mark, [(50, 0, True), (10, 1, True)], {0, 1})

    advanced(mark, [], {0})
    assert mark.mark == 50

    assert advanced(mark, [(11, 1, True), (90, 0, True), (70, 1, True)], {0, 1}) == [
        50,
        50,
        70,
    ]


def test_with_every_partition_idle_it_is_the_newest_time_there_is():
    mark = Watermark()
    advanced(mark, [(50, 0, True), (10, 1, True)], {0, 1})

    assert advanced(mark, [(40, 1, True), (60, 1, True)], set()) == [50, 60]


def test_a_copy_stands_apart():
    mark = Watermark()
    advanced(mark, [(5, 0, True)], {0})

    advanced(mark.copy(), [(50, 0, True)], {0})

    assert (mark.mark, mark.newest) == (5, {0: 5})
