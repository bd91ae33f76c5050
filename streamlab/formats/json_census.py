"""Which fields the records lacked and which they had beyond the schema, counted exactly.

The parser says neither: a missing field and a null look alike, an unknown one vanishes. The
common case is settled by counting: if no cell is null, every record has every field; if then
the block holds no more `":` than that makes, there is nothing else in it. Only records that
this does not settle are read again with Python's `json`, all in one call (1 µs a record).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from streamlab.formats.base import Extra
from streamlab.formats.json_depth import top_names
from streamlab.formats.json_wire import Wire


class Census(NamedTuple):
    """Field → how many records lack it; unknown field → how often and in which line first.

    A field inside a struct is named by its path, "address.street".
    """

    missing: Mapping[str, int]
    extra: Mapping[str, Extra]


_NOTHING = Census({}, {})


def census(
    frame: pl.DataFrame, lines: Sequence[bytes], block: bytes, wire: Wire
) -> Census:
    """Count for a parsed block; `lines` are the frame's rows, `block` is them joined."""
    rows = _unsettled(frame, lines, block)
    if not len(rows):
        return _NOTHING
    asked = [lines[row] for row in rows] if len(rows) < len(lines) else lines
    count = _Count({}, {})
    count.objects("", list(zip(rows, _objects(asked), strict=True)), wire.fields)
    return Census(count.missing, count.extra)


def _unsettled(
    frame: pl.DataFrame, lines: Sequence[bytes], block: bytes
) -> Sequence[int]:
    """Rows that counting alone does not settle."""
    everyone = range(len(lines))
    holes = [column for column in frame if column.null_count()]
    if holes:
        lacking = np.zeros(len(lines), dtype=bool)
        for column in holes:
            lacking |= column.is_null().to_numpy()
        if lacking.mean() > 0.5:
            return everyone
        whole = np.flatnonzero(~lacking)
        frame, block = frame[whole], b"\n".join([lines[row] for row in whole.tolist()])
    else:
        lacking = np.zeros(0, dtype=bool)
    expected = sum(_keys(column) for column in frame)
    if _key_marks(block) == expected:
        return np.flatnonzero(lacking).tolist()
    return everyone


def _keys(column: pl.Series) -> float:
    """How many keys this column takes in the document; infinite if that can't be told.

    The column itself has no null. Nulls inside a struct may be missing fields.
    """
    if column.null_count():
        return np.inf
    if isinstance(column.dtype, pl.Struct):
        fields = (column.struct.field(field.name) for field in column.dtype.fields)
        return len(column) + sum(_keys(field) for field in fields)
    if isinstance(column.dtype, pl.List) and column.dtype.inner.is_nested():
        inner = column.explode(empty_as_null=False)
        return len(column) + _keys(inner) - len(inner)
    return len(column)


def _key_marks(block: bytes) -> float:
    """How many `":` the block holds, an upper limit of its keys.

    Infinite if a colon follows white space, for then keys may be written otherwise.
    """
    text = np.frombuffer(block, np.uint8)
    before = text[:-1][text[1:] == ord(":")]
    if (before <= ord(" ")).any():
        return np.inf
    return int(np.count_nonzero(before == ord('"')))


def _objects(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(b"[" + b",".join(lines) + b"]")
    except RecursionError:
        return [_object(line) for line in lines]
    return found


def _object(line: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except RecursionError:
        # Nested more deeply than Python reads, and polars' own inference never comes back.
        return dict.fromkeys(top_names(line))
    return found


class _Count(NamedTuple):
    """Counts under way: missing fields by name, extra ones by path ("address.street")."""

    missing: dict[str, int]
    extra: dict[str, Extra]

    def objects(
        self,
        path: str,
        found: Sequence[tuple[int, dict[str, Any]]],
        fields: Mapping[str, Any],
    ) -> None:
        """Compare objects, each with its row, with the fields they should have."""
        # Sets of keys are few, however many the objects.
        shapes: dict[tuple[str, ...], list[int]] = {}
        for row, each in found:
            shapes.setdefault(tuple(each), [0, row])[0] += 1
        for shape, (count, first) in shapes.items():
            for name in () if path else fields.keys() - shape:
                self.missing[name] = self.missing.get(name, 0) + count
            for name in (key for key in shape if key not in fields):
                before = self.extra.get(path + name, Extra(0, first))
                total = Extra(before.count + count, min(before.index, first))
                self.extra[path + name] = total
        for name, dtype in fields.items():
            if dtype.is_nested():
                values = [(row, each.get(name)) for row, each in found]
                self.inside(f"{path}{name}", values, dtype)

    def inside(self, path: str, found: list[tuple[int, Any]], dtype: Any) -> None:
        """Go on in the structs that a field holds."""
        while isinstance(dtype, pl.List):
            dtype = dtype.inner
            found = [(row, item) for row, items in found for item in items or ()]
        if isinstance(dtype, pl.Struct):
            there = [(row, each) for row, each in found if each is not None]
            self.objects(f"{path}.", there, dict(dtype))
