"""The watermark: how far event time has certainly come, judged row by row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlab.engine.outcome import Batch

Int64s = NDArray[np.int64]
NONE = int(np.iinfo(np.int64).min)  # "no watermark yet"; earlier than every event time
FOREVER = int(np.iinfo(np.int64).max)  # nothing comes any more


@dataclass(slots=True)
class Watermark:
    """Minimum over the partitions that hold it of their newest event time; it never goes back.

    Judging by row, not by batch, is what makes the verdict "late" independent of how the
    stream was cut.

    Attributes:
        mark: where it stands, in the unit of the times given; NONE before there is one.
        newest: newest event time of each partition.
    """

    mark: int = NONE
    newest: dict[int, int] = field(default_factory=dict)

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
        seen = np.where(good, times, NONE)
        before = dict(self.newest)
        running: dict[int, Int64s] = {}
        for part in np.unique(parts).tolist():
            line = np.maximum.accumulate(np.where(parts == part, seen, NONE))
            running[part] = np.maximum(line, before.get(part, NONE))
            self.newest[part] = int(running[part][-1])
        marks = self._together(running, before, holding, len(times))
        marks = np.maximum.accumulate(np.maximum(marks, self.mark))
        self.mark = max(self.mark, self._now(holding))
        return marks

    def follow(
        self, times: Int64s, parts: NDArray[Any], good: NDArray[np.bool_], batch: Batch
    ) -> Int64s:
        """`advance` over the rows of a batch; rows in order are as of one partition."""
        if batch.frontier is None:
            return self.advance(times, parts, good, batch.holding)
        marks = self.advance(times, np.zeros_like(parts), good, frozenset({0}))
        self.mark = max(self.mark, batch.frontier)
        return marks

    def copy(self) -> Watermark:
        """A second one that stands where this stands."""
        return Watermark(self.mark, dict(self.newest))

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
        marks = np.full(length, min(still, default=np.iinfo(np.int64).max), np.int64)
        for part, line in running.items():
            if part in holding:
                np.minimum(marks, line, out=marks)
        return marks

    def _now(self, holding: frozenset[int]) -> int:
        if not holding:
            return max(self.newest.values(), default=NONE)
        return min(self.newest.get(part, NONE) for part in holding)
