"""Rows in order that are looked up by key and time, however many there are of them.

They lie in runs of growing size. A run is searched in two steps, both of them binary searches over
numbers: from a time to a place in the run, and from (key, place) to a row. So a look-up costs what
it looks for, not what is kept, and rows are copied a logarithmic number of times.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.engine.keys import plain
from streamlab.engine.rawrows import own_buffers
from streamlab.engine.watermark import Int64s

_LARGEST_MERGE = 262_144
_ENTRY_BYTES = 250  # a key: a dictionary's entries there and back, and the value itself
_CROWD = 1_024  # rows among which it pays to look for those that were replaced
NOWHERE = -1


def columns_of(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Some columns; `rows[names]` takes no names at all for no rows at all."""
    return pl.DataFrame([rows.get_column(name) for name in names])


class Numbers:
    """Key ↔ number, for as long as rows of the key are held; numbers are not used again."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._keys: dict[int, Hashable] = {}
        self._rows: dict[int, int] = {}
        self._next = 0

    @property
    def bytes(self) -> int:
        """Bytes held, about."""
        return len(self._keys) * _ENTRY_BYTES

    def find(self, keys: pl.DataFrame, height: int) -> Int64s:
        """Numbers of keys; `NOWHERE` for one that has none, or has a null in it."""
        if not keys.width:
            return np.zeros(height, np.int64)
        numbers = self._numbers
        found = [numbers.get(key, NOWHERE) for key in plain(keys, height)]
        return np.array(found, np.int64)

    def give(self, keys: pl.DataFrame, height: int) -> Int64s:
        """The same for rows that are to be held: keys without a null get a number."""
        if not keys.width:
            return np.zeros(height, np.int64)
        numbers = self._numbers
        holes = _null(keys)
        found = np.empty(height, np.int64)
        for place, key in enumerate(plain(keys, height)):
            number = numbers.get(key, NOWHERE)
            if number == NOWHERE and not holes[place]:
                number = numbers[key] = self._next
                self._keys[number] = key
                self._next += 1
            found[place] = number
        return found

    def hold(self, numbers: Int64s, sign: int) -> None:
        """Rows of these keys have come (1) or have gone (-1)."""
        if not self._keys:
            return
        distinct, counts = np.unique(numbers, return_counts=True)
        for number, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            left = self._rows.get(number, 0) + sign * count
            if left:
                self._rows[number] = left
            else:
                del self._rows[number]
                del self._numbers[self._keys.pop(number)]


def _null(keys: pl.DataFrame) -> NDArray[np.bool_]:
    found = np.zeros(keys.height, np.bool_)
    for column in keys.get_columns():
        if column.null_count():
            found |= column.is_null().to_numpy()
    return found


class _Run:
    """Rows in order, searched by key and time."""

    def __init__(self, rows: pl.DataFrame, times: Int64s, numbers: Int64s) -> None:
        """`numbers`: of their keys."""
        self.rows, self.held = own_buffers(rows)
        self.times, self.numbers = times, numbers
        self.first = 0  # rows before this one are gone
        self._span = max(len(times), 1)
        self._codes: Int64s = np.sort(numbers * self._span + np.arange(len(times)))
        self.held += 3 * times.nbytes
        self.crowded = len(times) >= _CROWD  # with rows that newer ones may replace

    @property
    def left(self) -> int:
        return len(self.times) - self.first

    def before(self, numbers: Int64s, times: Int64s) -> Int64s:
        """Each key's last row not later than its time; `NOWHERE` if there is none."""
        at = self.cut(numbers, times, "right") - 1
        return self._checked(at, numbers)

    def after(self, numbers: Int64s, times: Int64s) -> Int64s:
        """Each key's first row not earlier than its time."""
        return self._checked(self.cut(numbers, times, "left"), numbers)

    def cut(self, numbers: Int64s, times: Int64s, side: str) -> Int64s:
        """Where each (key, time) stands among the sorted codes."""
        places = np.searchsorted(self.times, times, side)  # type: ignore[call-overload]  # "left" or "right"
        wanted: Int64s = numbers * self._span + places
        return np.searchsorted(self._codes, wanted, "left")

    def rows_at(self, codes: Int64s) -> Int64s:
        """Places in the run of sorted codes."""
        return self._codes[codes] % self._span

    def _checked(self, at: Int64s, numbers: Int64s) -> Int64s:
        inside = (at >= 0) & (at < len(self._codes))
        codes = self._codes[np.where(inside, at, 0)]
        same = inside & (codes // self._span == numbers)
        places = codes % self._span
        return np.where(same & (places >= self.first), places, NOWHERE)

    def newest_of_each(self, time: int) -> Int64s:
        """Places of the rows less those that a later one of their key, up to `time`, replaces."""
        places = self._codes % self._span
        keys = self._codes // self._span
        replaced = np.zeros(len(places), np.bool_)
        replaced[:-1] = (keys[1:] == keys[:-1]) & (self.times[places[1:]] <= time)
        kept = np.sort(places[~replaced])
        return kept[kept >= self.first]


class Found(NamedTuple):
    """Matches of rows that were looked up.

    Attributes:
        asked: place of each row that found something, ascending, once per match.
        rows: place of the match in `table`.
        table: what was found, in no order; its first row is all null, for who found nothing.
    """

    asked: Int64s
    rows: Int64s
    table: pl.DataFrame


class _Best:
    """For each row that asks, the nearest so far: its run, its place there, how far it is."""

    def __init__(self, height: int, tolerance: int) -> None:
        self.run: Int64s = np.full(height, NOWHERE, np.int64)
        self.place: Int64s = np.zeros(height, np.int64)
        self._away: Int64s = np.full(height, tolerance, np.int64)

    def look(
        self, at: int, run: _Run, place: Int64s, times: Int64s, *, last: bool
    ) -> None:
        """Rows of one more run; of equally near ones the last shall win, or the first."""
        away = np.abs(run.times[place] - times)
        better = (place != NOWHERE) & (away <= self._away)
        if not last:
            better &= (self.run == NOWHERE) | (away < self._away)
        self.run[better] = at
        self.place[better] = place[better]
        self._away[better] = away[better]


class Lookup:
    """The rows; see the module's docstring."""

    def __init__(
        self, blank: pl.DataFrame, by: Sequence[str], show: Sequence[str]
    ) -> None:
        """Nothing is there yet.

        Args:
            blank: what rows look like.
            by: key columns; rows with a null there are never found, and not kept.
            show: columns that are kept.
        """
        self._by, self._show = list(by), list(show)
        self._nothing = columns_of(blank, self._show).clear(1)
        self._runs: list[_Run] = []
        self._numbers = Numbers()

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return sum(run.held for run in self._runs) + self._numbers.bytes

    @property
    def height(self) -> int:
        """Rows held."""
        return sum(run.left for run in self._runs)

    def add(self, rows: pl.DataFrame, times: Int64s) -> None:
        """Rows that come after all that are there."""
        numbers = self._numbers.give(columns_of(rows, self._by), rows.height)
        shown = columns_of(rows, self._show)
        good = numbers != NOWHERE
        if not good.all():
            shown, times, numbers = shown.filter(good), times[good], numbers[good]
        if len(times):
            self._numbers.hold(numbers, 1)
            self._runs.append(_Run(shown.rechunk(), times, numbers))

    def settle(self, oldest: int, newest: int | None = None) -> None:
        """Forget what nobody can ask for any more, and put small runs together.

        Args:
            oldest: rows earlier than this are not asked for.
            newest: of rows up to this, only the last of each key is; None is all.
        """
        for run in self._runs:
            before = run.first
            run.first = int(np.searchsorted(run.times, oldest, "left"))
            run.first = max(before, run.first)
            if run.first > before:
                self._numbers.hold(run.numbers[before : run.first], -1)
        self._runs = [run for run in self._runs if run.left]
        for at, run in enumerate(self._runs):
            thin = 2 * run.left < len(run.times)
            past = newest is not None and run.crowded and run.times[-1] <= newest
            if thin or past:
                self._runs[at] = self._rewritten([run], newest)
        for at in range(len(self._runs) - 2, -1, -1):
            large, small = self._runs[at : at + 2]
            both = large.left + small.left
            if large.left <= 2 * small.left and both <= _LARGEST_MERGE:
                self._runs[at : at + 2] = [self._rewritten([large, small], newest)]

    def asof(
        self, keys: pl.DataFrame, times: Int64s, strategy: str, tolerance: int
    ) -> Found:
        """For each (key, time) the nearest row, as polars' `join_asof` chooses it."""
        numbers = self._numbers.find(keys, len(times))
        best = _Best(len(times), tolerance)
        for at, run in enumerate(self._runs):  # the older ones first
            if strategy != "forward":
                best.look(at, run, run.before(numbers, times), times, last=True)
            if strategy == "forward":
                best.look(at, run, run.after(numbers, times), times, last=False)
            elif strategy == "nearest":
                place = run.after(numbers, times)
                # Of several rows of one time the last is the nearest.
                then = np.where(place == NOWHERE, times, run.times[place])
                place = np.where(place == NOWHERE, NOWHERE, run.before(numbers, then))
                best.look(at, run, place, times, last=True)
        return self._gathered(best)

    def within(self, keys: pl.DataFrame, times: Int64s, tolerance: int) -> Found:
        """For each (key, time) all rows at most `tolerance` away, in order."""
        numbers = self._numbers.find(keys, len(times))
        none = np.empty(0, np.int64)
        asked, places, tables = [none], [none], [self._nothing]
        offset = 1
        for run in self._runs:
            low = run.cut(numbers, times - tolerance, "left")
            high = run.cut(numbers, times + tolerance, "right")
            counts = np.where(numbers == NOWHERE, 0, np.maximum(high - low, 0))
            if not counts.any():
                continue
            ends = np.cumsum(counts)
            codes = np.arange(ends[-1]) + np.repeat(low - (ends - counts), counts)
            found = run.rows_at(codes)
            asked.append(np.repeat(np.arange(len(times)), counts))
            distinct, inverse = np.unique(found, return_inverse=True)
            tables.append(run.rows[distinct])
            places.append(inverse + offset)
            offset += len(distinct)
        who, what = np.concatenate(asked), np.concatenate(places)
        order = np.argsort(who, kind="stable")  # runs are in order already
        return Found(who[order], what[order], pl.concat(tables))

    def _gathered(self, best: _Best) -> Found:
        places = np.empty(len(best.run), np.int64)
        tables, offset = [self._nothing], 1
        for at, run in enumerate(self._runs):
            mine = np.flatnonzero(best.run == at)
            if len(mine):
                distinct, inverse = np.unique(best.place[mine], return_inverse=True)
                tables.append(run.rows[distinct])
                places[mine] = inverse + offset
                offset += len(distinct)
        asked = np.flatnonzero(best.run != NOWHERE)
        return Found(asked, places[asked], pl.concat(tables))

    def _rewritten(self, runs: Sequence[_Run], newest: int | None) -> _Run:
        """Neighbouring runs as one, without what is gone."""
        rows = pl.concat([run.rows.slice(run.first) for run in runs], rechunk=True)
        times = np.concatenate([run.times[run.first :] for run in runs])
        numbers = np.concatenate([run.numbers[run.first :] for run in runs])
        run = _Run(rows, times, numbers)
        if newest is None or len(times) < _CROWD:
            return run
        run.crowded = bool(times[-1] > newest)
        kept = run.newest_of_each(newest)
        if len(kept) * 2 > len(times):
            return run
        gone = np.ones(len(times), np.bool_)
        gone[kept] = False
        self._numbers.hold(numbers[gone], -1)
        left = _Run(rows[kept], times[kept], numbers[kept])
        left.crowded = run.crowded
        return left
