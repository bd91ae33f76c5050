"""Functions that look back by time: rows as old as that are kept, and no older ones."""

from __future__ import annotations

from collections import deque

import numpy as np
import polars as pl

from streamlab.durations import UNIT_US
from streamlab.engine.lookback import SLOT, Commit, Given, LastResult, evaluated
from streamlab.engine.rawrows import own_buffers
from streamlab.engine.watermark import NONE
from streamlab.errors import UsageError
from streamlab.plans.looking_back import Look
from streamlab.plans.looks import Duration

_CLOCK = "__clock"
_FEW = 16  # pieces; so many are put together, so that a batch finds few
# A month has 31 days at most, and a day 25 hours; what is kept too long does no harm.
_MONTH, _DAY = 31 * UNIT_US["d"], 25 * UNIT_US["h"]


class RecentRows:
    """Rows less than a span old, of all keys, in pieces by age."""

    def __init__(self, look: Look, span: Duration) -> None:
        """`span`: how far back a window reaches."""
        self._call = look.call
        self._by = look.inputs[1].meta.output_name()
        self._span = span
        self._pieces: deque[tuple[pl.DataFrame, int, int]] = deque()  # newest, bytes
        self._newest = NONE

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return sum(held for _, _, held in self._pieces)

    def step(self, given: Given) -> tuple[pl.Series, Commit]:
        """See `Memory`."""
        new = given.inputs.hstack([pl.Series(SLOT, given.numbers)])
        clock = clock_of(given.inputs.to_series(1))
        if not new.height:
            return self._evaluated(new, given), lambda: None
        # Rows of one time must be there together: each is in the others' windows.
        if clock.min() <= self._newest:  # type: ignore[operator] # not null: it has rows
            raise out_of_order(self._by)
        kept = self._kept(given)
        whole = pl.concat([*kept, new]) if kept else new
        found = self._evaluated(whole, given)[whole.height - new.height :]

        def commit() -> None:
            self._remember(new, clock)

        return found, commit

    def _evaluated(self, rows: pl.DataFrame, given: Given) -> pl.Series:
        slots = None if given.slots is None else rows.get_column(SLOT).to_numpy()
        return evaluated(self._call, rows.drop(SLOT), slots)

    def _kept(self, given: Given) -> list[pl.DataFrame]:
        """Rows of the keys at hand."""
        pieces = [rows.drop(_CLOCK) for rows, _, _ in self._pieces]
        if given.slots is None or not pieces:
            return pieces
        wanted = np.zeros(given.keys, np.bool_)
        wanted[given.slots] = True
        return [
            rows.filter(pl.Series(wanted[rows.get_column(SLOT).to_numpy()]))
            for rows in pieces
        ]

    def _remember(self, new: pl.DataFrame, clock: pl.Series) -> None:
        self._newest = int(clock.max())  # type: ignore[arg-type] # not null: it has rows
        self._put(new.hstack([clock.alias(_CLOCK)]))
        from_ = self._newest - self._width()
        while self._pieces and self._pieces[0][1] <= from_:
            self._pieces.popleft()
        if len(self._pieces) >= _FEW:
            self._merge(from_)

    def _merge(self, from_: int) -> None:
        """Put the newest pieces together, those that are not much larger than what follows."""
        rows = [self._pieces.pop()[0]]
        while self._pieces and self._pieces[-1][0].height <= 2 * sum(
            each.height for each in rows
        ):
            rows.insert(0, self._pieces.pop()[0])
        oldest = rows[0]
        if not self._pieces:
            rows[0] = oldest.filter(pl.col(_CLOCK) > from_)
        self._put(pl.concat(rows))

    def _put(self, rows: pl.DataFrame) -> None:
        own, held = own_buffers(rows.rechunk())
        newest = int(own.get_column(_CLOCK).max())  # type: ignore[arg-type] # it has rows
        self._pieces.append((own, newest, held))

    def _width(self) -> int:
        """How far back, in the unit of the clock."""
        span = self._span
        if span.parsed_int:
            return span.nsecs
        days = span.weeks * 7 + span.days
        return span.months * _MONTH + days * _DAY + span.nsecs // 1000 + 1


class LastDecayed(LastResult):
    """The last result and its time: for what decays with time."""

    def __init__(self, look: Look, dtype: pl.DataType) -> None:
        """`dtype`: of the result."""
        super().__init__(look, dtype, timed=True)
        self._by = look.inputs[1].meta.output_name()
        self._newest = NONE

    def step(self, given: Given) -> tuple[pl.Series, Commit]:
        """See `Memory`."""
        clock = clock_of(given.inputs.to_series(1)).drop_nulls().to_numpy()
        if len(clock) and (clock[0] < self._newest or (np.diff(clock) < 0).any()):
            raise out_of_order(self._by)
        found, inner = super().step(given)

        def commit() -> None:
            inner()
            if len(clock):
                self._newest = int(clock[-1])

        return found, commit


def clock_of(times: pl.Series) -> pl.Series:
    """Times as µs, or integers as they are."""
    if times.dtype == pl.Date:
        times = times.cast(pl.Datetime("us"))
    if isinstance(times.dtype, pl.Datetime):
        times = times.dt.cast_time_unit("us")
    return times.cast(pl.Int64)


def out_of_order(by: str) -> UsageError:
    """The column that a function goes by does not rise with event time."""
    return UsageError(
        f"{by!r} does not rise with event time, so rows of other batches could belong to the "
        "same window. Write the column that event time is in: time= of the topic."
    )
