"""JSON text in String columns, where the parser's own would be wrong.

Where the schema says String, the parser writes a list or an object down as text. It leaves
backslashes, most control characters and the quotes of keys unescaped, and shuffles the keys of
objects with more than 32 of them. Those records are written here, in the parser's own style:
", " and ": " between, every key in its place, numbers as the parser prints them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from streamlab.formats.json_depth import depth
from streamlab.formats.json_wire import Wire, leaves

# The parser keeps the order of keys up to this many.
_ORDERED = 32
# Python's reader recurses; this stays clear of its limit wherever we are called from.
_DEEPEST = 200


class Mended(NamedTuple):
    """The frame with right texts, and row → reason for what is nested too deeply for text."""

    frame: pl.DataFrame
    bad: dict[int, str]


class Pairs(list[tuple[str, Any]]):
    """An object's fields as they stand in the document, repeated ones included."""

    def first(self, name: str) -> Any:
        """The first value of a field, as the parser takes it; None if there is none."""
        return next((value for key, value in self if key == name), None)


def mend(
    frame: pl.DataFrame, lines: Sequence[bytes], block: bytes, wire: Wire
) -> Mended:
    """Put right what the parser wrote as text; `lines` are the frame's rows, joined `block`."""
    texts = [
        name
        for name, dtype in wire.fields.items()
        if any(leaf == pl.String for leaf in leaves(dtype))
    ]
    if not texts or not _has_containers(block, len(lines)):
        return Mended(frame, {})
    rows = [row for row, line in enumerate(lines) if _at_risk(line)]
    deep = (row for row in rows if _too_deep(lines[row]))
    bad = dict.fromkeys(deep, "nested too deeply for text")
    rows = [row for row in rows if row not in bad]
    if not rows:
        return Mended(frame, bad)
    records = [json.loads(lines[row], object_pairs_hook=Pairs) for row in rows]
    return Mended(
        frame.with_columns(_mend(frame[name], rows, records) for name in texts), bad
    )


def json_text(value: Any) -> str:
    """A list or an object (as `Pairs`) as the text it has in a String column."""
    if isinstance(value, Pairs):
        inside = (f"{_quoted(name)}: {json_text(item)}" for name, item in value)
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, list):
        return f"[{', '.join(json_text(item) for item in value)}]"
    if isinstance(value, str):
        return _quoted(value)
    return number_text(value) if isinstance(value, float) else json.dumps(value)


def number_text(value: float) -> str:
    """The shortest digits that give this float again, without exponent and without ".0"."""
    digits = format(Decimal(repr(value)), "f")
    return digits.removesuffix(".0")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _has_containers(block: bytes, lines: int) -> bool:
    return (b"[" in block or occurrences(block, b"{") > lines) and (
        b"\\" in block or occurrences(block, b":") > _ORDERED
    )


def occurrences(block: bytes, byte: bytes) -> int:
    """How often a byte occurs; `bytes.count` takes five times as long where it is frequent."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == byte[0]))


def _at_risk(line: bytes) -> bool:
    return (b"\\" in line or line.count(b":") > _ORDERED) and (
        b"[" in line or line.count(b"{") > 1
    )


def _too_deep(line: bytes) -> bool:
    brackets = line.count(b"[") + line.count(b"{")
    return brackets > _DEEPEST and depth(line) > _DEEPEST


def _mend(column: pl.Series, rows: list[int], records: list[Pairs]) -> pl.Series:
    """The column with the texts of these rows written anew."""
    old = column.gather(rows).to_list()
    raw = [record.first(column.name) for record in records]
    new = [
        _texts(cell, value, column.dtype) for cell, value in zip(old, raw, strict=True)
    ]
    changed = [
        (row, value)
        for row, value, was in zip(rows, new, old, strict=True)
        if value != was
    ]
    if not changed:
        return column
    values = pl.Series(column.name, [value for _, value in changed], dtype=column.dtype)
    # Not scatter: it does not know nested types.
    place = pl.int_range(len(column), eager=True).to_numpy().copy()
    place[[row for row, _ in changed]] = range(len(column), len(column) + len(changed))
    return pl.concat([column, values]).gather(place)


def _texts(cell: Any, value: Any, dtype: Any) -> Any:
    """The parsed `cell`, its texts replaced where the document (`value`) has a container."""
    if cell is None:
        return None
    if dtype == pl.String:
        return json_text(value) if isinstance(value, list) else cell
    if isinstance(dtype, pl.Struct):
        return {
            field.name: _texts(cell[field.name], value.first(field.name), field.dtype)
            for field in dtype.fields
        }
    if isinstance(dtype, pl.List):
        return [
            _texts(item, raw, dtype.inner)
            for item, raw in zip(cell, value, strict=True)
        ]
    return cell
