"""Where the state of each (window, key) stands: one look-up a key and batch, then columns."""

from __future__ import annotations

import heapq
import sys
from array import array
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.engine.watermark import Int64s

_NAN = float("nan")  # one object, so that a dictionary finds it again by identity
_ENTRY_BYTES = (
    112  # a dictionary's entry, its share of empty ones, and the boxed slot number
)
_SMALLEST = 64


class Slots:
    """(window start, key) → slot number; freed slots are used again.

    A dictionary per window, so that a closing window leaves whole; the keys are plain values,
    which the garbage collector does not walk.
    """

    def __init__(self, dtypes: Sequence[pl.DataType]) -> None:
        """`dtypes`: types of the key columns."""
        self._dtypes = list(dtypes)
        self._windows: dict[int, dict[Hashable, int]] = {}
        self._order: list[tuple[int, int]] = []  # a heap of (end, start)
        self._key_bytes = 0
        self._clear()

    def _clear(self) -> None:
        self._free = array("q")
        self._next = 0
        self.starts: Int64s = np.zeros(_SMALLEST, np.int64)
        self.ends: Int64s = np.zeros(_SMALLEST, np.int64)
        self._keys: NDArray[Any] = np.empty(_SMALLEST, object)

    def __contains__(self, start: int) -> bool:
        """Whether a window that starts then is open."""
        return start in self._windows

    @property
    def capacity(self) -> int:
        """Slots there is room for."""
        return len(self.starts)

    @property
    def used(self) -> int:
        """Slots in use: one per (open window, key)."""
        return self._next - len(self._free)

    @property
    def bytes(self) -> int:
        """Bytes held, dictionaries and keys included."""
        columns = self.starts.nbytes + self.ends.nbytes + self._keys.nbytes
        lists = self._free.itemsize * len(self._free) + sys.getsizeof(self._order)
        held = self.used * _ENTRY_BYTES + len(self._windows) * sys.getsizeof({0: 0})
        return columns + lists + held + self._key_bytes

    def place(
        self, starts: Int64s, ends: Int64s, keys: pl.DataFrame
    ) -> tuple[Int64s, Int64s]:
        """The slot of each (window, key), and those that are new."""
        return self.put(starts, ends, plain(keys, len(starts)))

    def put(
        self, starts: Int64s, ends: Int64s, wanted: Sequence[Hashable]
    ) -> tuple[Int64s, Int64s]:
        """The same for keys that `plain` has made."""
        found = np.empty(len(wanted), np.int64)
        fresh: list[int] = []
        for at, (start, key) in enumerate(zip(starts.tolist(), wanted, strict=True)):
            window = self._windows.get(start)
            if window is None:
                window = self._windows[start] = {}
                heapq.heappush(self._order, (int(ends[at]), start))
            slot = window.get(key, -1)
            if slot < 0:
                slot = window[key] = self._take()
                fresh.append(at)
            found[at] = slot
        new = found[fresh]
        self._grow()
        self.starts[new], self.ends[new] = starts[fresh], ends[fresh]
        for at in fresh:
            self._keys[found[at]] = wanted[at]
            self._key_bytes += sized(wanted[at])
        return found, new

    def pop_until(self, end: int) -> Int64s:
        """Let go of all windows that end at or before `end`; their slots.

        The slots stay readable until they are given to `release`.
        """
        gone: list[int] = []
        while self._order and self._order[0][0] <= end:
            gone.extend(self._pop())
        return np.array(gone, np.int64)

    def pop_oldest(self, most: int) -> tuple[Int64s, int | None]:
        """Let go of the oldest windows until at most `most` slots are used, but of the newest
        never; their slots and the latest end among them.
        """
        gone: list[int] = []
        latest = None
        while self.used - len(gone) > most and len(self._windows) > 1:
            latest = self._order[0][0]
            gone.extend(self._pop())
        return np.array(gone, np.int64), latest

    def find(self, start: int, keys: pl.DataFrame) -> Int64s:
        """The slot of each key of a window; -1 where there is none."""
        window = self._windows.get(start, {})
        wanted = plain(keys, keys.height)
        each = (window.get(key, -1) for key in wanted)
        return np.fromiter(each, np.int64, len(wanted))

    def discard(self, slots: Int64s) -> None:
        """Let go of single keys; as with windows, the slots are readable until `release`."""
        starts, keys = self.starts[slots].tolist(), self._keys[slots].tolist()
        for start, key in zip(starts, keys, strict=True):
            del self._windows[start][key]
        empty = {start for start in starts if not self._windows[start]}
        for start in empty:
            del self._windows[start]
        if empty:
            self._order = [each for each in self._order if each[1] not in empty]
            heapq.heapify(self._order)

    def release(self, slots: Int64s) -> None:
        """Give slots of popped windows back."""
        for key in self._keys[slots].tolist():
            self._key_bytes -= sized(key)
        self._keys[slots] = None
        self._free.extend(slots.tolist())
        if not self._windows:
            self._clear()

    def all(self) -> Int64s:
        """Slots of all open windows."""
        each = (slot for window in self._windows.values() for slot in window.values())
        return np.fromiter(each, np.int64, self.used)

    def keys(self, slots: Int64s, names: Sequence[str]) -> pl.DataFrame:
        """The key columns of `slots`."""
        return restored(self._keys[slots].tolist(), names, self._dtypes)

    def _pop(self) -> list[int]:
        _, start = heapq.heappop(self._order)
        return list(self._windows.pop(start).values())

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self._next += 1
        return self._next - 1

    def _grow(self) -> None:
        if self._next <= self.capacity:
            return
        room = max(2 * self.capacity, self._next)
        self.starts, self.ends = grown(self.starts, room), grown(self.ends, room)
        self._keys = grown(self._keys, room)


def grown(column: NDArray[Any], room: int) -> NDArray[Any]:
    """A copy of `column` with place for `room` values."""
    larger = np.zeros(room, column.dtype)
    larger[: len(column)] = column
    return larger


def plain(keys: pl.DataFrame, height: int) -> list[Hashable]:
    """One hashable value per row: the value itself, or a tuple of several (or of none, for
    which the frame can't tell its height).
    """
    columns = [_values(column) for column in keys.get_columns()]
    if not columns:
        return [()] * height
    if len(columns) == 1:
        return columns[0]
    return list(zip(*columns, strict=True))


def coded(keys: pl.DataFrame) -> tuple[Int64s, Int64s]:
    """A number for each distinct row, as they come; each row's number, and the first row of each.

    Args:
        keys: at least one column.
    """
    places = keys.select(pl.int_range(pl.len()).alias("__place")).to_series()
    grouped = keys.hstack([places]).group_by(keys.columns, maintain_order=True)
    lists = grouped.agg("__place").get_column("__place")
    codes = np.empty(keys.height, np.int64)
    numbers = np.repeat(np.arange(len(lists)), lists.list.len().to_numpy())
    codes[lists.explode().to_numpy()] = numbers
    return codes, lists.list.first().to_numpy()


def _values(column: pl.Series) -> list[Hashable]:
    dtype = column.dtype
    if (
        dtype.is_temporal() or dtype.is_nested()
    ):  # python's datetimes would drop nanoseconds
        column = column.to_physical()
    values = column.to_list()
    if dtype.is_float():
        return [_NAN if value != value else value for value in values]  # noqa: PLR0124
    return [_frozen(value) for value in values] if dtype.is_nested() else values


def _frozen(value: Any) -> Hashable:
    if isinstance(value, dict):
        return tuple(_frozen(field) for field in value.values())
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return _NAN if isinstance(value, float) and value != value else value  # noqa: PLR0124


def restored(
    keys: Sequence[Any], names: Sequence[str], dtypes: Sequence[pl.DataType]
) -> pl.DataFrame:
    """The columns that `plain` made these keys of."""
    if len(names) == 1:
        columns: list[Sequence[Any]] = [keys]
    else:
        columns = [[key[place] for key in keys] for place in range(len(names))]
    found = zip(names, columns, dtypes, strict=True)
    return pl.DataFrame([_restored(*each) for each in found])


def _restored(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    if not (dtype.is_temporal() or dtype.is_nested()):
        return pl.Series(name, values, dtype=dtype)
    physical = pl.Series([], dtype=dtype).to_physical().dtype
    thawed = [_thawed(value, physical) for value in values]
    return pl.Series(name, thawed, dtype=physical).cast(dtype)


def _thawed(value: Any, dtype: pl.DataType) -> Any:
    if value is None:
        return None
    if isinstance(dtype, pl.Struct):
        fields = zip(dtype.fields, value, strict=True)
        return {field.name: _thawed(item, _made(field.dtype)) for field, item in fields}
    if isinstance(dtype, (pl.List, pl.Array)):
        return [_thawed(item, _made(dtype.inner)) for item in value]
    return value


def _made(dtype: Any) -> pl.DataType:
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made


def sized(value: Any) -> int:
    """Bytes of a plain value, with what is in it."""
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(map(sized, value.values()))
    if isinstance(value, (tuple, list)):
        return sys.getsizeof(value) + sum(map(sized, value))
    return sys.getsizeof(value)


def sized_all(values: Sequence[Any]) -> int:
    """Bytes of many plain values, most often of one type."""
    if {tuple, list, dict}.isdisjoint(map(type, values)):
        return sum(map(sys.getsizeof, values))
    return sum(map(sized, values))
