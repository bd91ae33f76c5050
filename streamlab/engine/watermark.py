"""The watermark: how far event time has certainly come, judged row by row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlab.engine.outcome import Batch

Int64s = NDArray[np.int64]
NONE = int(np.iinfo(np.int64).min)  # "no watermark yet"; earlier than every event time
FOREVER = int(np.iinfo(np.int64).max)  # nothing comes any more
_RUNS = 64  # so many pieces of a block are looked at one by one
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(mark: int) -> datetime | None:
    """As a watermark is shown; None before there is one, and when nothing comes any more."""
    if mark in {NONE, FOREVER}:
        return None
    return _EPOCH + timedelta(microseconds=mark)


def less(mark: int, span: int) -> int:
    """`mark - span`, where "none yet" and "for ever" stay what they are."""
    return mark if mark in {NONE, FOREVER} else mark - span


@dataclass(slots=True)
class Watermark:
    """Minimum over the partitions that hold it of their newest event time; it never goes back.

    Judging by row, not by batch, is what makes the verdict "late" independent of how the
    stream was cut.

    Attributes:
        mark: where it stands, in the unit of the times given; NONE before there is one.
        newest: newest event time of each partition.
        runs: rows of a block that are of one partition are looked at together if there are
            fewer such runs than this; else partition by partition.
    """

    mark: int = NONE
    newest: dict[int, int] = field(default_factory=dict)
    runs: int = _RUNS

    def advance(
        self,
        times: Int64s,
        parts: NDArray[Any],
        good: NDArray[np.bool_],
        holding: frozenset[int],
    ) -> Int64s:
        """Take a block of rows; the watermark as it stands after each of them.

        Args:
            times: event time per row.
            parts: partition number per row.
            good: rows that count; others (no time, a time in the future) move nothing.
            holding: partitions that hold the watermark back. If there are none, it is the
                newest event time there is.
        """
        seen = times if good.all() else np.where(good, times, NONE)
        edges = np.flatnonzero(parts[1:] != parts[:-1]) + 1
        # Records come in blocks of one partition, as brokers hand them over.
        if len(edges) < self.runs:
            marks = self._by_run(seen, parts, edges.tolist(), holding)
        else:
            marks = self._by_part(seen, parts, holding)
        marks = np.maximum.accumulate(np.maximum(marks, self.mark))
        self.mark = max(self.mark, self._now(holding))
        return marks

    def _by_run(
        self,
        seen: Int64s,
        parts: NDArray[Any],
        edges: list[int],
        holding: frozenset[int],
    ) -> Int64s:
        """The mark at each row, for rows of which long runs are of one partition."""
        marks = np.empty(len(seen), np.int64)
        for start, stop in pairwise([0, *edges, len(seen)] if len(seen) else [0]):
            part = int(parts[start])
            line = np.maximum.accumulate(seen[start:stop])
            np.maximum(line, self.newest.get(part, NONE), out=line)
            others = [at for other, at in self.newest.items() if other != part]
            if not holding:
                np.maximum(line, max(others, default=NONE), out=marks[start:stop])
            else:
                still = [self.newest.get(each, NONE) for each in holding - {part}]
                least = min(still, default=FOREVER)
                mine = line if part in holding else np.full_like(line, least)
                np.minimum(mine, least, out=marks[start:stop])
            self.newest[part] = int(line[-1])
        return marks

    def _by_part(
        self, seen: Int64s, parts: NDArray[Any], holding: frozenset[int]
    ) -> Int64s:
        """The same for rows of partitions in any order."""
        before = dict(self.newest)
        running: dict[int, Int64s] = {}
        for part in np.unique(parts).tolist():
            line = np.maximum.accumulate(np.where(parts == part, seen, NONE))
            running[part] = np.maximum(line, before.get(part, NONE))
            self.newest[part] = int(running[part][-1])
        return self._together(running, before, holding, len(seen))

    def follow(
        self, times: Int64s, parts: NDArray[Any], good: NDArray[np.bool_], batch: Batch
    ) -> Int64s:
        """`advance` over the rows of a batch; rows in order are as of one partition."""
        if batch.frontier is None:
            return self.advance(times, parts, good, batch.holding)
        marks = self.advance(times, np.zeros_like(parts), good, frozenset({0}))
        if batch.frontier != FOREVER:  # no time; that it is the end, `final` says
            self.mark = max(self.mark, batch.frontier)
        return marks

    def copy(self) -> Watermark:
        """A second one that stands where this stands."""
        return Watermark(self.mark, dict(self.newest), self.runs)

    @staticmethod
    def _together(
        running: dict[int, Int64s],
        before: dict[int, int],
        holding: frozenset[int],
        length: int,
    ) -> Int64s:
        """Minimum over `holding` at every row; maximum over all if nobody holds."""
        if not holding:
            start = max(before.values(), default=NONE)
            marks = np.full(length, start, np.int64)
            for line in running.values():
                np.maximum(marks, line, out=marks)
            return marks
        still = [before.get(part, NONE) for part in holding if part not in running]
        marks = np.full(length, min(still, default=FOREVER), np.int64)
        for part, line in running.items():
            if part in holding:
                np.minimum(marks, line, out=marks)
        return marks

    def _now(self, holding: frozenset[int]) -> int:
        if not holding:
            return max(self.newest.values(), default=NONE)
        return min(self.newest.get(part, NONE) for part in holding)
