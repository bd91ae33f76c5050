"""The schema that a sample of JSON objects suggests.

Whole numbers are Int64; among fractions, Float64; beyond 2^63, String. Otherwise a field has
the type of at least 95 % of its values, and records with another will be rejected: the note
says so. Under 95 % it is String, holding JSON text. Objects are a Struct of all fields seen,
lists of one type a List. No time is guessed into a column, only noted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from streamlab.formats.base import Inferred
from streamlab.formats.fields import column_of
from streamlab.formats.times import MICROS, MILLIS, SECONDS

ENOUGH = 0.95
_INT64 = range(-(2**63), 2**63)
# Objects with more keys than this, most of them rare, are maps: a struct would never end.
_MOST_FIELDS = 256
_DEEPEST = 16
# Numbers are taken for times only if all of them lie in these years.
_FROM, _TO = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2001, 2100))
_WORDS = {
    "number": "numbers",
    "text": "text",
    "bool": "true or false",
    "object": "objects",
    "list": "lists",
}
_KINDS: dict[type, str] = {str: "text", dict: "object", list: "list"}
_KIND_OF: dict[object, str] = {
    pl.Int64: "number",
    pl.Float64: "number",
    pl.Boolean: "bool",
    pl.Struct: "object",
    pl.List: "list",
}


class Guess(NamedTuple):
    """A field's type, and a remark if there is something to say."""

    dtype: pl.DataType
    note: str = ""


def objects(sample: Sequence[bytes | None]) -> list[dict[str, Any]]:
    """The sample's payloads that are JSON objects."""
    return [found for payload in sample if (found := _object(payload)) is not None]


def infer(sample: Sequence[bytes | None]) -> Inferred:
    """The schema that the sample's objects suggest."""
    records = objects(sample)
    schema: dict[str, pl.DataType] = {}
    notes: dict[str, str] = {}
    present: dict[str, float] = {}
    examples: dict[str, str] = {}
    for field, values in _by_field(records).items():
        column = column_of(field)
        guess = guess_type(values)
        schema[column] = guess.dtype
        said = guess.note or looks_like_time(column, values)
        renamed = f"the field {field!r}, renamed" if column != field else ""
        if note := "; ".join(filter(None, (renamed, said))):
            notes[column] = note
        present[column] = len(values) / len(records)
        examples[column] = _example(values, guess.dtype)
    return Inferred(pl.Schema(schema), notes, present, examples)


def _example(values: Sequence[Any], dtype: pl.DataType) -> str:
    """A value that will not be rejected, if there is one."""
    there = [value for value in values if value is not None]
    kind = _KIND_OF.get(dtype.base_type())
    fitting = (value for value in there if kind in (None, _kind(value)))
    return next(map(_shown, fitting), "")


def guess_type(values: Sequence[Any], level: int = 0) -> Guess:
    """The type of a field from its values; nulls say nothing.

    Args:
        values: as Python's `json` gives them.
        level: how many structs and lists the field lies in.
    """
    there = [value for value in values if value is not None]
    if not there:
        return Guess(pl.String(), "always null so far" if values else "")
    if level > _DEEPEST:
        return Guess(pl.String(), "nested deeply: kept as JSON text")
    kinds = Counter(map(_kind, there))
    kind, count = kinds.most_common(1)[0]
    if count < ENOUGH * len(there):
        shares = ", ".join(
            f"{_percent(n, len(there))} {_WORDS[k]}" for k, n in kinds.most_common()
        )
        return Guess(pl.String(), f"mixed ({shares}): kept as JSON text")
    guess = _of_kind(kind, [value for value in there if _kind(value) == kind], level)
    if count == len(there):
        return guess
    return Guess(
        guess.dtype, "; ".join(filter(None, (_others(guess, kind, there), guess.note)))
    )


def looks_like_time(column: str, values: Sequence[Any]) -> str:
    """A remark if the values look like times; "" otherwise."""
    there = [value for value in values if value is not None]
    if not there:
        return ""
    units = {_epoch_unit(value) for value in there}
    if len(units) == 1 and (unit := units.pop()):
        name, scale = unit
        when = datetime.fromtimestamp(there[0] / scale, UTC)
        return (
            f'looks like epoch {name} ({when:%Y-%m-%d %H:%M:%S} UTC): time="{column}"'
        )
    good = sum(_is_iso(value) for value in there)
    if good < ENOUGH * len(there):
        return ""
    first = next(value for value in there if _is_iso(value))
    return f'looks like ISO time ({first[:19]}): time="{column}"'


def _object(payload: bytes | None) -> dict[str, Any] | None:
    if payload is None:
        return None
    try:
        found = _DECODER.decode(payload.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _by_field(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            fields.setdefault(name, []).append(value)
    return fields


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return _KINDS[type(value)]


def _of_kind(kind: str, values: list[Any], level: int) -> Guess:
    if kind == "number":
        return _number(values)
    if kind == "object":
        return _struct(values, level + 1)
    if kind == "list":
        return _list(values, level + 1)
    return Guess(pl.Boolean() if kind == "bool" else pl.String())


def _number(values: list[Any]) -> Guess:
    if any(isinstance(value, float) for value in values):
        return Guess(pl.Float64())
    if all(value in _INT64 for value in values):
        return Guess(pl.Int64())
    return Guess(pl.String(), "whole numbers beyond 2^63: kept as text")


def _struct(values: list[dict[str, Any]], level: int) -> Guess:
    fields = _by_field(values)
    if not fields:
        return Guess(pl.String(), "empty objects: kept as JSON text")
    if len(fields) > _MOST_FIELDS:
        return Guess(
            pl.String(), f"objects with {len(fields)} different keys: kept as JSON text"
        )
    guesses = {name: guess_type(inner, level) for name, inner in fields.items()}
    remarks = [f"{name}: {guess.note}" for name, guess in guesses.items() if guess.note]
    dtype = pl.Struct({name: guess.dtype for name, guess in guesses.items()})
    return Guess(dtype, "; ".join(remarks))


def _list(values: list[list[Any]], level: int) -> Guess:
    inner = [item for items in values for item in items if item is not None]
    if len({_kind(item) for item in inner}) > 1:
        return Guess(pl.String(), "mixed lists: kept as JSON text")
    guess = guess_type(inner, level)
    return Guess(pl.List(guess.dtype), guess.note)


def _others(guess: Guess, kind: str, values: list[Any]) -> str:
    """What becomes of the few values of another kind."""
    odd = [value for value in values if _kind(value) != kind]
    said = f"{_percent(len(odd), len(values))} are {_WORDS[_kind(odd[0])]} ({_shown(odd[0], quoted=True)})"
    return f"{said} → JSON text" if guess.dtype == pl.String else f"{said} → rejected"


def _epoch_unit(value: Any) -> tuple[str, int] | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    units = ((SECONDS, "s", 1), (MILLIS, "ms", 10**3), (MICROS, "µs", 10**6))
    name, scale = next(
        ((n, s) for limit, n, s in units if abs(value) < limit), ("ns", 10**9)
    )
    return (name, scale) if _FROM <= value / scale < _TO else None


def _is_iso(value: Any) -> bool:
    if (
        not isinstance(value, str)
        or len(value) < len("2026-11-22")
        or value[4:5] != "-"
    ):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2g} %"


def _shown(value: Any, *, quoted: bool = False) -> str:
    text = (
        value
        if isinstance(value, str) and not quoted
        else json.dumps(value, ensure_ascii=False)
    )
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"


def _refuse(word: str) -> None:
    raise ValueError(word)


_DECODER = json.JSONDecoder(parse_constant=_refuse)
