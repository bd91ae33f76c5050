from __future__ import annotations

import numpy as np
import pytest

from streamlab.durations import Span
from streamlab.engine.assign import read_times
from streamlab.engine.outcome import Batch
from streamlab.engine.standing import stand
from streamlab.engine.watermark import NONE, Watermark
from tests.engine.lab import SECOND, seconds, table

HOLDING = frozenset({0, 1})
ROWS = table([5, 3, 9, 4, 7000, 8], parts=[0, 1, 1, 0, 1, 0], stamps=[9] * 6)
HOUR, DAY = seconds(3600), seconds(86400)


def alone(mark: Watermark, good: int, ahead: Span) -> tuple[list[int], Watermark]:
    """What a watermark makes of the rows that nobody has looked at before."""
    mark = mark.copy()
    rows = ROWS.head(good)
    times = read_times(rows, None, ahead)
    batch = Batch(rows, HOLDING)
    parts = rows.get_column("__part").to_numpy()
    return mark.follow(times.values, parts, times.good, batch).tolist(), mark


@pytest.mark.parametrize("first", range(7))
def test_whoever_looks_first_each_watermark_goes_its_own_way(first: int):
    batch = Batch(ROWS, HOLDING, known={})
    looks = [
        (Watermark(), 6, HOUR),
        (Watermark(), 6, HOUR),
        (Watermark(), 6, DAY),
        (Watermark(4 * SECOND, {0: 4 * SECOND, 1: 6 * SECOND}), 6, HOUR),
        (Watermark(4 * SECOND, {0: 8 * SECOND, 1: 4 * SECOND}), 6, HOUR),
        (Watermark(NONE, {1: 2 * SECOND}), 6, HOUR),
        (Watermark(), 4, HOUR),
    ]

    for mark, good, ahead in looks[first:] + looks[:first]:
        expected, after = alone(mark, good, ahead)
        times, marks = stand(mark, batch, good, ahead)
        assert marks.tolist() == expected
        assert (mark.mark, mark.newest) == (after.mark, after.newest)
        assert times.good.tolist() == read_times(ROWS, None, ahead).good[:good].tolist()


def test_a_watermark_that_goes_on_does_not_move_the_one_it_was_taken_from():
    batch = Batch(ROWS, HOLDING, known={})
    one, two, three = Watermark(), Watermark(), Watermark()
    stand(one, batch, 6, HOUR)
    stand(two, batch, 6, HOUR)
    good = np.ones(1, np.bool_)
    late = np.array([10**9 * SECOND])
    for mark in (one, two):
        mark.advance(late, np.zeros(1, np.int32), good, frozenset({0}))

    stand(three, batch, 6, HOUR)

    assert three.newest == {0: 8 * SECOND, 1: 9 * SECOND}
