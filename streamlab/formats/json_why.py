"""Why a record is no row of the schema, in the user's words.

The verdict is the parser's alone (`json_read`). This page only explains it, and points at the
records of a bad block that are worth asking the parser about one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import polars as pl

from streamlab.formats.json_wire import Wire

_SHOWN = 40
# A surrogate escape that is not half of a pair. The parser turns some of them into "\0" and
# refuses others; Unicode knows none of them as text.
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES = re.compile(rb"(?:%s|\\u(?![dD][89a-fA-F])|\\[^u])" % _PAIR.encode())
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")


def empty(payload: bytes | None) -> str | None:
    """The reason if there is nothing to parse at all."""
    if payload is None:
        return "empty payload (tombstone)"
    return None if payload.strip(b" \t\r\n") else "empty payload"


def lone_surrogate(line: bytes) -> str | None:
    """The reason if an escape is half of a surrogate pair."""
    if not _LONE.search(line):
        return None
    # With every whole escape taken out, from left to right, only the lone ones are left.
    left = _LONE.search(_ESCAPES.sub(b"", line))
    if left is None:
        return None
    return "not valid Unicode: an escape \\ud800…\\udfff stands without its other half"


class Wanted(NamedTuple):
    """A type, unfolded: asking polars' own type objects costs more than the check itself.

    Attributes:
        kind: what Python's `json` makes of a value that fits.
        low, high: the range of an integer, `high` excluded.
        inside: what fields or elements must be.
    """

    kind: type
    name: str = ""
    low: int = 0
    high: int = 0
    inside: Mapping[str, Wanted] = {}

    @classmethod
    def of(cls, dtype: object) -> Wanted:
        """Unfold one of the types that `json_wire` lets through."""
        if isinstance(dtype, pl.Struct):
            fields = {field.name: cls.of(field.dtype) for field in dtype.fields}
            return cls(dict, inside=fields)
        if isinstance(dtype, pl.List):
            return cls(list, inside={"": cls.of(dtype.inner)})
        if dtype == pl.UInt64:
            return cls(int, "UInt64", 0, 2**64)
        if dtype == pl.Int64:
            return cls(int, "Int64", -(2**63), 2**63)
        kinds = {pl.Float64: float, pl.Boolean: bool}
        return cls(next((kind for each, kind in kinds.items() if dtype == each), str))


def wanted(wire: Wire) -> Wanted:
    """What `why` compares records with; made once a block."""
    return Wanted.of(pl.Struct(wire.fields))


def why(line: bytes, want: Wanted) -> str | None:
    """What keeps this record from being a row; None if nothing is seen."""
    try:
        record = _DECODER.decode(line.decode())
        if isinstance(record, dict):
            return _misfit("", record, want)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return _broken(line, error)
    return f'{_kind(record)}, not an object: format="text" keeps such records'


def shorten(error: BaseException) -> str:
    """The parser's own message, for what `why` does not see."""
    first = str(error).partition("\n")[0].removeprefix("error parsing line: ")
    return f"not JSON: {first}"[:200]


def _broken(line: bytes, error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: byte 0x{line[error.start]:02x} at {error.start}"
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"
    if error.msg == "Extra data":
        return f"not one JSON object: more begins at character {error.pos}"
    return f"not JSON: {_lower(error.msg)} at character {error.pos}"


def _misfit(path: str, value: Any, want: Wanted) -> str | None:
    """The first place inside `value` that is not what it should be."""
    kind = want.kind
    if value is None or kind is str:
        return None
    if type(value) is kind:
        return _inside(path, value, want) if want.inside else _range(path, value, want)
    if kind is float and type(value) is int:
        return None
    if kind is int and type(value) is float:
        return f"{path}: {value!r} is not a whole number"
    return _said(path, value, _NAMES[kind])


def _range(path: str, value: Any, want: Wanted) -> str | None:
    if want.kind is not int or want.low <= value < want.high:
        return None
    return f"{path}: {value} does not fit {want.name}"


def _inside(path: str, value: Any, want: Wanted) -> str | None:
    if want.kind is list:
        parts = (
            (f"{path}[{i}]", item, want.inside[""]) for i, item in enumerate(value)
        )
    else:
        dot = f"{path}." if path else ""
        parts = (
            (f"{dot}{name}", value[name], each)
            for name, each in want.inside.items()
            if name in value
        )
    for where, item, each in parts:
        if found := _misfit(where, item, each):
            return found
    return None


def _said(path: str, value: Any, expected: str) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return f"{path}: {shown} is {_kind(value)}, not {expected}"


def _kind(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else _NAMES[type(value)]


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_NAMES = {
    dict: "an object",
    list: "an array",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
