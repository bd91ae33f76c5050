"""Partial states of aggregations: numpy columns by slot, merged with a batch's aggregates.

Each class keeps one kind. `exprs` says what to take from a group of the batch, `merge` puts
that beside what there is (slots are distinct), `read` gives the finished aggregate in polars'
own type. Nulls and NaN follow polars: nulls never count, and min and max are NaN only where
there is nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.engine.keys import grown, sized
from streamlab.engine.watermark import Int64s
from streamlab.plans.aggregates import Partial

Column = NDArray[Any]


class State(Protocol):
    """Partial state of one aggregation, for all slots."""

    def exprs(self, value: pl.Expr) -> Sequence[pl.Expr]:
        """What to take from each group of the batch; `value` is its rows' input."""
        ...

    def merge(self, slots: Int64s, parts: Sequence[pl.Series]) -> None:
        """Add a batch's groups; `parts` are the columns of `exprs`, one row per slot."""
        ...

    def parts(self, slots: Int64s) -> Sequence[pl.Series]:
        """What is there, as `merge` takes it: for slots that another one absorbs."""
        ...

    def read(self, slots: Int64s) -> pl.Series:
        """The finished aggregates."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes held."""
        ...

    def grow(self, room: int) -> None:
        """Make place for `room` slots."""
        ...

    def reset(self, slots: Int64s) -> None:
        """Make `slots` as if nothing had been added."""
        ...


class _Columns:
    """Columns with a start value each; what all kinds share."""

    def __init__(self, **starts: tuple[Any, Any]) -> None:
        """Name → (numpy type, value that adding nothing leaves)."""
        self._starts = {name: start for name, (_, start) in starts.items()}
        self._held: dict[str, Column] = {
            name: np.full(0, start, dtype) for name, (dtype, start) in starts.items()
        }

    @property
    def bytes(self) -> int:
        return sum(column.nbytes for column in self._held.values())

    def grow(self, room: int) -> None:
        for name, column in self._held.items():
            self._held[name] = grown(column, room)

    def reset(self, slots: Int64s) -> None:
        for name, column in self._held.items():
            column[slots] = self._starts[name]


class Sum(_Columns):
    """Sums and counts. Integers wrap as polars' do."""

    def __init__(self, partial: Partial) -> None:
        self._kind, self._result = partial.kind, partial.result
        self._dtype = _numpy_type(partial.result)
        wide = np.float64 if self._dtype.kind == "f" else np.int64
        super().__init__(total=(np.uint64 if self._dtype == np.uint64 else wide, 0))

    def exprs(self, value: pl.Expr) -> Sequence[pl.Expr]:
        if self._kind == "count":
            return [value.count()]
        if self._kind == "len":
            return [value.len()]
        if self._dtype.kind == "f":
            return [value.cast(pl.Float64).sum()]
        return [value.sum()]

    def merge(self, slots: Int64s, parts: Sequence[pl.Series]) -> None:
        total = self._held["total"]
        total[slots] += _numbers(parts[0]).to_numpy().astype(total.dtype)

    def parts(self, slots: Int64s) -> Sequence[pl.Series]:
        return [pl.Series(self._held["total"][slots])]

    def read(self, slots: Int64s) -> pl.Series:
        values = self._held["total"][slots].astype(self._dtype)
        return pl.Series(values).cast(self._result)


def _numbers(part: pl.Series) -> pl.Series:
    """Temporal values as integers; `to_physical` would run a query, 0.2 ms."""
    return part.cast(pl.Int64) if part.dtype.is_temporal() else part


class Extreme(_Columns):
    """The least or the greatest value."""

    def __init__(self, partial: Partial) -> None:
        self._result, self._least = partial.result, partial.kind == "min"
        super().__init__(
            value=(_numpy_type(partial.result), 0), there=(np.bool_, False)
        )

    def exprs(self, value: pl.Expr) -> Sequence[pl.Expr]:
        return [value.min() if self._least else value.max()]

    def merge(self, slots: Int64s, parts: Sequence[pl.Series]) -> None:
        there = parts[0].is_not_null().to_numpy()
        slots, values = slots[there], parts[0].drop_nulls().to_physical().to_numpy()
        held, known = self._held["value"], self._held["there"]
        # fmin and fmax pass over NaN, as polars does; for whole numbers they are plain.
        better = (np.fmin if self._least else np.fmax)(held[slots], values)
        held[slots] = np.where(known[slots], better, values)
        known[slots] = True

    def parts(self, slots: Int64s) -> Sequence[pl.Series]:
        values, there = self._held["value"][slots], self._held["there"][slots]
        return [_masked(pl.Series(values), there)]

    def read(self, slots: Int64s) -> pl.Series:
        values, there = self._held["value"][slots], self._held["there"][slots]
        return _masked(pl.Series(values), there).cast(self._result)


class Mean(_Columns):
    """Float sum and count: an integer sum could overflow where polars' mean doesn't."""

    def __init__(self, partial: Partial) -> None:
        self._result = partial.result
        super().__init__(total=(np.float64, 0.0), count=(np.int64, 0))

    def exprs(self, value: pl.Expr) -> Sequence[pl.Expr]:
        return [value.cast(pl.Float64).sum(), value.count()]

    def merge(self, slots: Int64s, parts: Sequence[pl.Series]) -> None:
        self._held["total"][slots] += parts[0].to_numpy()
        self._held["count"][slots] += parts[1].to_numpy()

    def parts(self, slots: Int64s) -> Sequence[pl.Series]:
        return [pl.Series(self._held[name][slots]) for name in ("total", "count")]

    def read(self, slots: Int64s) -> pl.Series:
        total, count = self._held["total"][slots], self._held["count"][slots]
        mean = total / np.maximum(count, 1)
        return _masked(pl.Series(mean), count > 0).cast(self._result)


class Spread(_Columns):
    """Variance and standard deviation: count, mean and squared distance, merged by Chan's
    formula (a sum of squares would lose all digits of values far from zero).
    """

    def __init__(self, partial: Partial) -> None:
        self._result, self._ddof = partial.result, partial.ddof
        self._root = partial.kind == "std"
        super().__init__(
            count=(np.int64, 0), mean=(np.float64, 0.0), squares=(np.float64, 0.0)
        )

    def exprs(self, value: pl.Expr) -> Sequence[pl.Expr]:
        wide = value.cast(pl.Float64)
        return [wide.count(), wide.mean(), wide.var(ddof=0)]

    def merge(self, slots: Int64s, parts: Sequence[pl.Series]) -> None:
        new_count = parts[0].to_numpy().astype(np.int64)
        # By the count: of a lone null behind a filter polars says that it varies by 0.
        there = new_count > 0
        slots, new_count = slots[there], new_count[there]
        new_mean = parts[1].to_numpy()[there]
        new_squares = parts[2].to_numpy()[there] * new_count
        count, mean, squares = (
            self._held[name] for name in ("count", "mean", "squares")
        )
        old = count[slots]
        both = old + new_count
        with np.errstate(invalid="ignore", over="ignore"):
            apart = new_mean - mean[slots]
            merged_mean = mean[slots] + apart * (new_count / both)
            across = apart * apart * (old * (new_count / both))
            merged = squares[slots] + new_squares + across
            merged[~np.isfinite(merged_mean)] = np.nan
        first = old == 0
        mean[slots] = np.where(first, new_mean, merged_mean)
        squares[slots] = np.where(first, new_squares, merged)
        count[slots] = both

    def parts(self, slots: Int64s) -> Sequence[pl.Series]:
        count, mean, squares = (
            self._held[name][slots] for name in ("count", "mean", "squares")
        )
        there, each = count > 0, squares / np.maximum(count, 1)
        masked = [_masked(pl.Series(values), there) for values in (mean, each)]
        return [pl.Series(count), *masked]

    def read(self, slots: Int64s) -> pl.Series:
        freedom = self._held["count"][slots] - self._ddof
        spread = self._held["squares"][slots] / np.maximum(freedom, 1)
        spread = np.sqrt(spread) if self._root else spread
        return _masked(pl.Series(spread), freedom > 0).cast(self._result)


class Truth(_Columns):
    """Whether any, or all, are true; nulls are passed over."""

    def __init__(self, partial: Partial) -> None:
        self._any = partial.kind == "any"
        super().__init__(value=(np.bool_, not self._any))

    def exprs(self, value: pl.Expr) -> Sequence[pl.Expr]:
        return [value.any() if self._any else value.all()]

    def merge(self, slots: Int64s, parts: Sequence[pl.Series]) -> None:
        new = parts[0].to_numpy()
        value = self._held["value"]
        value[slots] = (value[slots] | new) if self._any else (value[slots] & new)

    def parts(self, slots: Int64s) -> Sequence[pl.Series]:
        return [pl.Series(self._held["value"][slots])]

    def read(self, slots: Int64s) -> pl.Series:
        return pl.Series(self._held["value"][slots])


_PLAIN = (
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.UInt8,
    pl.UInt16,
    pl.UInt32,
    pl.UInt64,
    pl.Float32,
    pl.Float64,
    pl.Boolean,
)


class Edge(_Columns):
    """The first or the last value in the order of arrival, of any type."""

    def __init__(self, partial: Partial) -> None:
        self._result, self._first = partial.result, partial.kind == "first"
        self._objects = not isinstance(partial.result, _PLAIN)
        dtype = np.object_ if self._objects else _numpy_type(partial.result)
        self._values_bytes = 0
        super().__init__(
            value=(dtype, None if self._objects else 0),
            there=(np.bool_, False),
            filled=(np.bool_, False),
        )

    @property
    def bytes(self) -> int:
        return super().bytes + self._values_bytes

    def exprs(self, value: pl.Expr) -> Sequence[pl.Expr]:
        return [value.first() if self._first else value.last(), value.len()]

    def merge(self, slots: Int64s, parts: Sequence[pl.Series]) -> None:
        some = parts[1].to_numpy() > 0
        if self._first:
            some &= ~self._held["there"][slots]
        slots, values = slots[some], parts[0].filter(pl.Series(some))
        self._held["there"][slots] = True
        self._held["filled"][slots] = values.is_not_null().to_numpy()
        self._held["value"][slots] = self._taken(slots, values)

    def _taken(self, slots: Int64s, values: pl.Series) -> Column:
        if not self._objects:
            zero = False if values.dtype == pl.Boolean else 0
            return values.fill_null(zero).to_numpy()
        physical = values.to_physical() if _is_odd(values.dtype) else values
        found = np.empty(len(values), np.object_)
        found[:] = physical.to_list()
        self._values_bytes += sum(sized(value) for value in found)
        self._values_bytes -= sum(sized(value) for value in self._held["value"][slots])
        return found

    def parts(self, slots: Int64s) -> Sequence[pl.Series]:
        there = self._held["there"][slots].astype(np.int64)
        return [self.read(slots), pl.Series(there)]

    def read(self, slots: Int64s) -> pl.Series:
        values, there = self._held["value"][slots], self._held["filled"][slots]
        if not self._objects:
            return _masked(pl.Series(values), there).cast(self._result)
        if not _is_odd(self._result):
            return pl.Series(values.tolist(), dtype=self._result)
        physical = pl.Series([], dtype=self._result).to_physical().dtype
        return pl.Series(values.tolist(), dtype=physical).cast(self._result)

    def reset(self, slots: Int64s) -> None:
        if self._objects:
            self._values_bytes -= sum(sized(v) for v in self._held["value"][slots])
        super().reset(slots)


def _is_odd(dtype: pl.DataType) -> bool:
    """Whether Python's own values would not be exact."""
    return dtype.is_temporal() or dtype.is_nested()


_KINDS: dict[str, Callable[[Partial], State]] = {
    "sum": Sum,
    "count": Sum,
    "len": Sum,
    "min": Extreme,
    "max": Extreme,
    "mean": Mean,
    "var": Spread,
    "std": Spread,
    "any": Truth,
    "all": Truth,
    "first": Edge,
    "last": Edge,
}


def state_of(partial: Partial) -> State:
    """A state for `partial`, without slots yet."""
    return _KINDS[partial.kind](partial)


def _numpy_type(dtype: pl.DataType) -> np.dtype[Any]:
    if dtype == pl.Boolean:
        return np.dtype(np.bool_)
    found: np.dtype[Any] = pl.Series([], dtype=dtype).to_physical().to_numpy().dtype
    return found


def _masked(values: pl.Series, there: NDArray[np.bool_]) -> pl.Series:
    return values if there.all() else values.set(pl.Series(~there), None)
