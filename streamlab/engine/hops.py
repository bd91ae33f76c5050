"""Which of the overlapping windows a row belongs to.

Windows are numbered along the time line. A row's own are those that have begun and are not over
at a moment, so two numbers say which they are, and rows with the same two need no telling apart:
they are aggregated together, and only the result goes into each window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamlab.durations import UNIT_US, Span
from streamlab.engine.assign import spans
from streamlab.engine.walltime import moved
from streamlab.engine.watermark import Int64s
from streamlab.plans.nodes import Window

_DAY, _HOUR = UNIT_US["d"], UNIT_US["h"]


class Line(Protocol):
    """The windows along the time line."""

    def last(self, times: Int64s) -> Int64s:
        """The number of the newest window that has begun at each time."""
        ...

    def over(self, times: Int64s) -> Int64s:
        """How many ends there are up to each time."""
        ...

    def count(self, last: Int64s, over: Int64s) -> Int64s:
        """How many windows that is: those up to `last` less those that are over."""
        ...

    def windows(self, last: Int64s, over: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """Place, start and end of each of them, the places rising, then the starts."""
        ...


def line_of(window: Window, times: Int64s) -> Line:
    """The windows that hold one of `times`, or may: as numbers without an end where all are of
    one length, or else from the calendar.
    """
    every, period = window.every, window.period
    if isinstance(every, int) and isinstance(period, int):
        return Even(_some_start(window), every, period)
    if not isinstance(every, Span) or not isinstance(period, Span):
        raise TypeError(period)  # pragma: no cover - the verb reads both alike
    zone = window.time_zone
    if not (_by_calendar(every, zone) or _by_calendar(period, zone)):
        return Even(_some_start(window), every.us, period.us)
    return _calendar(window, every, period, times)


def _some_start(window: Window) -> int:
    return int(spans(window, np.zeros(1, np.int64))[0][0])


@dataclass(frozen=True, slots=True)
class Even:
    """Windows of one length, at one distance."""

    first: int
    step: int
    length: int

    def last(self, times: Int64s) -> Int64s:
        number: Int64s = (times - self.first) // self.step
        return number

    def over(self, times: Int64s) -> Int64s:
        number: Int64s = (times - self.first - self.length) // self.step
        return number + 1

    def count(self, last: Int64s, over: Int64s) -> Int64s:
        return _at_least_none(last - over + 1)

    def windows(self, last: Int64s, over: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        place, number = _stretched(over, last)
        starts = number * self.step + self.first
        return place, starts, starts + self.length


class Grid:
    """Windows from the calendar, as far as they are needed.

    Their ends need not rise with their starts: of two that begin in the hour that autumn brings
    twice, the later one may end first.
    """

    def __init__(self, starts: Int64s, ends: Int64s) -> None:
        """Both by window, `starts` rising."""
        self._starts, self._ends = starts, ends
        self._sorted = np.sort(ends)
        self._rise = np.array_equal(self._sorted, ends)
        latest = np.maximum.accumulate(ends) if len(ends) else ends
        # By number of ends gone by, the first window that may not be over.
        self._lowest = np.append(0, np.searchsorted(latest, self._sorted, "right"))

    def last(self, times: Int64s) -> Int64s:
        return np.searchsorted(self._starts, times, "right").astype(np.int64) - 1

    def over(self, times: Int64s) -> Int64s:
        return np.searchsorted(self._sorted, times, "right").astype(np.int64)

    def count(self, last: Int64s, over: Int64s) -> Int64s:
        if self._rise:
            return _at_least_none(last - over + 1)
        both = np.stack([last, over])
        kinds, which = np.unique(both, axis=1, return_inverse=True)
        place, _, _ = self.windows(kinds[0], kinds[1])
        counts: Int64s = np.bincount(place, minlength=kinds.shape[1])
        return counts[which.reshape(-1)]

    def windows(self, last: Int64s, over: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        place, number = _stretched(self._lowest[over], last)
        starts, ends = self._starts[number], self._ends[number]
        if self._rise:
            return place, starts, ends
        gone = over[place]
        limit = self._sorted[np.maximum(gone - 1, 0)]
        left = (gone == 0) | (ends > limit)
        return place[left], starts[left], ends[left]


def _calendar(window: Window, every: Span, period: Span, times: Int64s) -> Grid:
    newest = np.unique(spans(window, np.unique(times))[0])
    step, longest = _shortest(every), _longest(period)
    back = np.arange(longest // step + 2) * step
    # Steps shorter than a window miss none on the way back.
    starts = np.unique(spans(window, np.unique(newest[:, None] - back))[0])
    zone = window.time_zone
    if _by_calendar(period, zone):
        return Grid(starts, moved(starts, period, zone))
    return Grid(starts, starts + period.us)


def _by_calendar(length: Span, zone: str) -> bool:
    return length.months > 0 or (length.us % _DAY == 0 and zone != "UTC")


def _shortest(every: Span) -> int:
    """No window is shorter; clocks are set by less than half a day, or over a whole one."""
    if every.months:
        return every.months * 27 * _DAY
    return every.us // 2 if every.us % _DAY == 0 else every.us


def _longest(period: Span) -> int:
    days = period.months * 31 * _DAY if period.months else period.us
    return days + _DAY + _HOUR


def _stretched(lowest: Int64s, highest: Int64s) -> tuple[Int64s, Int64s]:
    """Each place as often as there are numbers from `lowest` to `highest`, and these."""
    counts = _at_least_none(highest - lowest + 1)
    place = np.repeat(np.arange(len(counts)), counts)
    return place, lowest[place] + within(counts)


def within(counts: NDArray[np.int64]) -> Int64s:
    """0, 1, … up to each count, one after the other."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(before, counts)


def _at_least_none(counts: Int64s) -> Int64s:
    found: Int64s = np.maximum(counts, 0)
    return found
