"""What functions that look back remember, per key, and how they go on from there.

Each is given the new rows' inputs and gives its column for them. polars does the work, on what is
remembered with the new rows behind it; what it makes of the remembered ones is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.engine.cells import Cells
from streamlab.engine.keys import grown
from streamlab.engine.watermark import Int64s
from streamlab.plans.looking_back import INPUT, Look

SLOT = "__slot"  # number of the row's key
Commit = Callable[[], None]


class Given(NamedTuple):
    """New rows of a look.

    Attributes:
        inputs: its columns, `INPUT`0 … .
        slots: each row's key, as a number; None if it runs over all rows.
        keys: keys there are.
    """

    inputs: pl.DataFrame
    slots: Int64s | None
    keys: int

    @property
    def numbers(self) -> Int64s:
        """Each row's key; 0 for all rows."""
        return (
            np.zeros(self.inputs.height, np.int64) if self.slots is None else self.slots
        )


class Memory(Protocol):
    """What one look remembers."""

    @property
    def bytes(self) -> int:
        """Bytes held."""
        ...

    def step(self, given: Given) -> tuple[pl.Series, Commit]:
        """The look's column for new rows, and what makes it remember them."""
        ...


class LastRows:
    """The last rows of each key: for functions that look back by a number of rows."""

    def __init__(self, look: Look, dtypes: Sequence[pl.DataType]) -> None:
        """`dtypes`: of the inputs."""
        self._call = look.call
        self._most = look.memory.rows
        self._cells = [Cells(dtype) for dtype in dtypes]
        self._width = 0
        self._counts = np.zeros(0, np.int64)

    @property
    def bytes(self) -> int:
        return self._counts.nbytes + sum(each.bytes for each in self._cells)

    def step(self, given: Given) -> tuple[pl.Series, Commit]:
        self._counts = _room(self._counts, given.keys)
        slots = given.numbers
        touched = np.unique(slots)
        counts = self._counts[touched]
        before = int(counts.sum())
        places = _runs(touched * self._width, counts)
        kept = [
            cells.read(places).alias(name)
            for cells, name in zip(self._cells, given.inputs.columns, strict=True)
        ]
        whole = (
            pl.concat([pl.DataFrame(kept), given.inputs]) if before else given.inputs
        )
        groups = np.concatenate([np.repeat(touched, counts), slots])
        found = evaluated(self._call, whole, None if given.slots is None else groups)

        def commit() -> None:
            self._remember(whole, groups, touched)

        return found[before:], commit

    def _remember(self, whole: pl.DataFrame, groups: Int64s, touched: Int64s) -> None:
        order = np.argsort(groups, kind="stable")
        sizes = np.unique(groups, return_counts=True)[1]
        left = np.minimum(sizes, self._most)
        rows = order[_runs(np.cumsum(sizes) - left, left)]
        self._widen(int(left.max(initial=0)))
        at = _runs(touched * self._width, left)
        for cells, name in zip(self._cells, whole.columns, strict=True):
            cells.write(at, whole.get_column(name).gather(rows), self._room)
        self._counts[touched] = left

    @property
    def _room(self) -> int:
        return len(self._counts) * self._width

    def _widen(self, wanted: int) -> None:
        """Make place for so many rows of a key."""
        if wanted > self._width:
            width = min(self._most, max(wanted, 2 * self._width))
            for cells in self._cells:
                cells.widen(self._width, width, len(self._counts))
            self._width = width


class LastResult:
    """The last result that is not null: for functions that go on from it (`cum_sum` …)."""

    def __init__(self, look: Look, dtype: pl.DataType, *, timed: bool) -> None:
        """`dtype`: of the result. `timed`: the second input stands beside it."""
        self._call = look.call
        self._dtype = dtype
        self._timed = timed
        self._result = Cells(dtype)
        self._beside: Cells | None = None
        self._there = np.zeros(0, np.bool_)

    @property
    def bytes(self) -> int:
        beside = 0 if self._beside is None else self._beside.bytes
        return self._there.nbytes + self._result.bytes + beside

    def step(self, given: Given) -> tuple[pl.Series, Commit]:
        self._there = _room(self._there, given.keys)
        slots = given.numbers
        touched = np.unique(slots)
        known = touched[self._there[touched]]
        first, *others = given.inputs.get_columns()
        columns = [first.cast(self._dtype)]
        if len(known):
            columns[0] = self._result.read(known).alias(first.name).append(columns[0])
        if self._timed:
            columns.append(self._with_times(others[0], known))
        groups = np.concatenate([known, slots])
        alone = None if given.slots is None else groups
        found = evaluated(self._call, pl.DataFrame(columns), alone)

        def commit() -> None:
            self._remember(found, columns[1:], groups)

        return found[len(known) :], commit

    def _with_times(self, times: pl.Series, known: Int64s) -> pl.Series:
        if self._beside is None:
            self._beside = Cells(times.dtype)
        return self._beside.read(known).alias(times.name).append(times)

    def _remember(
        self, found: pl.Series, beside: Sequence[pl.Series], groups: Int64s
    ) -> None:
        rows = np.flatnonzero(found.is_not_null().to_numpy())
        last = np.full(len(self._there), -1, np.int64)
        last[groups[rows]] = rows  # of equal places the last one stays
        at = np.flatnonzero(last >= 0)
        self._result.write(at, found.gather(last[at]), len(self._there))
        if self._beside is not None:
            self._beside.write(at, beside[0].gather(last[at]), len(self._there))
        self._there[at] = True


class Counted:
    """How many there were: `cum_count`."""

    def __init__(self, look: Look) -> None:
        """Nothing counted."""
        self._call = look.call
        self._before = np.zeros(0, np.int64)

    @property
    def bytes(self) -> int:
        return self._before.nbytes

    def step(self, given: Given) -> tuple[pl.Series, Commit]:
        self._before = _room(self._before, given.keys)
        slots = given.numbers
        mine = evaluated(self._call, given.inputs, given.slots)
        whole = self._before[slots] + mine.to_numpy()

        def commit() -> None:
            self._before[slots] = whole  # of equal places the last one stays

        return pl.Series(mine.name, whole).cast(mine.dtype), commit


def evaluated(call: pl.Expr, inputs: pl.DataFrame, groups: Int64s | None) -> pl.Series:
    """A look's function over rows in order, in each group by itself."""
    if groups is not None:
        inputs = inputs.hstack([pl.Series(SLOT, groups)])
        call = call.over(SLOT)
    try:
        return inputs.select(call.alias(INPUT)).to_series()
    except (
        pl.exceptions.PanicException
    ) as error:  # no `Exception`: it would end the thread
        raise pl.exceptions.ComputeError(str(error)) from error


def _runs(starts: Int64s, lengths: Int64s) -> Int64s:
    """The numbers from each start on, so many each, one run after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    places: Int64s = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return places


def _room(column: NDArray[Any], room: int) -> NDArray[Any]:
    """`column` with place for so many keys."""
    if room <= len(column):
        return column
    return grown(column, max(room, 2 * len(column)))
