"""A column of values by place, of any polars type, that can be read and written at many places."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.engine.keys import grown
from streamlab.engine.watermark import Int64s

_SMALLEST = 16


class Cells:
    """Values that start as null. Numbers and times lie in arrays, all else as Python values."""

    def __init__(self, dtype: pl.DataType) -> None:
        """No places yet."""
        self._dtype = dtype
        self._physical = _physical(dtype)
        kind: Any = object if self._physical is None else _numpy(self._physical)
        self._values: NDArray[Any] = np.zeros(0, kind)
        self._there: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._beside = 0  # bytes of Python values

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self._values.nbytes + self._there.nbytes + self._beside

    def read(self, at: Int64s) -> pl.Series:
        """The values at these places."""
        there = self._there[at]
        if self._physical is None:
            return pl.Series(self._values[at].tolist(), dtype=self._dtype)
        values = pl.Series(self._values[at], dtype=self._physical)
        if not there.all():
            values = values.set(pl.Series(~there), None)
        return values.cast(self._dtype)

    def write(self, at: Int64s, values: pl.Series, room: int) -> None:
        """Put values at places that differ; `room`: places there are in all."""
        if room > len(self._values):
            room = max(room, 2 * len(self._values), _SMALLEST)
            self._values, self._there = (
                grown(self._values, room),
                grown(self._there, room),
            )
        if self._physical is None:
            self._put_objects(at, values.to_list())
        there = values.is_not_null().to_numpy()
        self._there[at] = there
        if self._physical is None:
            return
        plain = values.to_physical().cast(self._physical)
        blank = plain.fill_null(False if self._physical == pl.Boolean else 0)
        self._values[at] = blank.to_numpy()

    def widen(self, width: int, wider: int, rows: int) -> None:
        """Places lie in rows of `width`: give each row `wider` ones."""
        columns = []
        for column in (self._values, self._there):
            larger = np.zeros((rows, wider), column.dtype)
            full = min(rows, len(column) // width) if width else 0
            if full:
                larger[:full, :width] = column[: full * width].reshape(-1, width)
            columns.append(larger.ravel())
        self._values, self._there = columns

    def _put_objects(self, at: Int64s, values: list[Any]) -> None:
        for place, value in zip(at.tolist(), values, strict=True):
            before = sys.getsizeof(self._values[place]) if self._there[place] else 0
            after = 0 if value is None else sys.getsizeof(value)
            self._beside += after - before
            self._values[place] = value


def _physical(dtype: pl.DataType) -> pl.DataType | None:
    """The type of numbers that stands for `dtype`; None if there is none that numpy knows."""
    if dtype.is_nested() or isinstance(dtype, (pl.Decimal, pl.Int128)):
        return None
    if dtype.is_numeric() or dtype == pl.Boolean:
        return dtype
    if isinstance(dtype, (pl.Date, pl.Datetime, pl.Duration, pl.Time)):
        return pl.Series([], dtype=dtype).to_physical().dtype
    return None


def _numpy(dtype: pl.DataType) -> Any:
    return pl.Series([], dtype=dtype).to_numpy().dtype
