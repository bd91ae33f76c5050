"""JSON: one object a record, one record a row.

What a second reader must know to come to the same rows:

- A payload is UTF-8 without a byte order mark and holds exactly one JSON object (RFC 8259) and
  white space. Everything else is rejected: null and blank payloads; arrays, texts, numbers at
  the top; a second document; NaN and Infinity; a raw line break inside a text; an escaped
  surrogate without its other half; a number that overflows a double (1e400); an integer below
  -2^127 or from 2^128 on; nesting beyond the parser's 1,024 levels, and beyond 200 in a record
  that has a backslash or more than 32 colons while the schema has a String in it. All this
  holds for fields outside the schema too.
- Of a repeated key the first value counts, at every level, and only that one is checked.
- A missing field and a null are both null. `missing` counts the first, per column.
- Fields outside the schema are left out and counted in `extra`, also those inside structs
  ("address.street"; inside a list of structs once per element).
- Types are never bent. Int64 takes integers of its range and nothing else (no 1.0, no "1", no
  true); Float64 takes any number, the nearest double; Boolean takes true and false; List and
  Struct take arrays and objects whose parts fit. What does not fit rejects the record. Narrow
  integers and Float32 reject what is out of range.
- String takes texts as they are and everything else as JSON text: true, false; integers as
  their digits; other numbers as the shortest digits that give the same double, without exponent
  and trailing ".0" (1.50 → 1.5, 1.0 → 1, 1e3 → 1000, -0.0 → -0); arrays and objects with ", "
  and ": " between, keys in the order of the document, repeated ones kept, texts in them escaped
  as `json.dumps(…, ensure_ascii=False)` does, null inside as null.
- Datetime (read as UTC if it has no zone, both ways) and Date are read from text and numbers by
  the rule of `times`; a Date must fall on midnight UTC.
- A column called like one of ours plus `_` is the field without that `_` (`fields`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.formats import json_read, json_sample, json_write
from streamlab.formats.base import Decoded, Extra, Inferred, Rejected
from streamlab.formats.fields import field_of
from streamlab.formats.json_census import Census, census
from streamlab.formats.json_texts import mend, occurrences
from streamlab.formats.json_why import empty, lone_surrogate
from streamlab.formats.json_wire import Wire, finish


class Lines(NamedTuple):
    """Payloads ready for the parser, one line each.

    Attributes:
        lines: the payloads, without line breaks.
        block: them joined.
        places: their places in the block of records; None if none was left out.
        bad: place → reason of those left out.
    """

    lines: Sequence[bytes]
    block: bytes
    places: list[int] | None
    bad: dict[int, str]


class Json:
    """The format "json"; what it reads and refuses stands on top of this page."""

    name = "json"

    def fits(self, sample: Sequence[bytes | None]) -> float:
        payloads = [payload for payload in sample if empty(payload) is None]
        return len(json_sample.objects(payloads)) / len(payloads) if payloads else 0.0

    def infer(self, sample: Sequence[bytes | None]) -> Inferred:
        return json_sample.infer(sample)

    def decode(self, values: Sequence[bytes | None], schema: pl.Schema) -> Decoded:
        wire = Wire.of(schema)
        if not values:
            return Decoded(pl.DataFrame(schema=schema), None, [], {}, {})
        parsed, ready = _parsed(_lines(values), wire)
        mended, bad = mend(parsed, ready.lines, ready.block, wire)
        frame, misfits = finish(mended, wire)
        bad |= misfits
        if bad:
            good = np.setdiff1d(np.arange(parsed.height), list(bad))
            frame, parsed, ready = frame[good], parsed[good], _without(ready, bad)
        counted = census(parsed, ready.lines, ready.block, wire)
        return _decoded(frame, ready, counted, schema)

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        return json_write.encode(frame)


def make() -> Json:
    """The format, for `plugins`."""
    return Json()


def _lines(values: Sequence[bytes | None]) -> Lines:
    """Leave out what is no line of JSON, and make each of the others exactly one line."""
    try:
        block = b"\n".join(values)  # type: ignore[arg-type]  # None is found by trying
    except TypeError:
        return _picked(values)
    if b"\\" in block and any(map(lone_surrogate, values)):  # type: ignore[arg-type]
        return _picked(values)
    lines: Sequence[bytes] = values  # type: ignore[assignment]  # join has seen them all
    if occurrences(block, b"\n") >= len(lines):
        lines = [_one_line(line) for line in lines]
        block = b"\n".join(lines)
    return Lines(lines, block, None, {})


def _picked(values: Sequence[bytes | None]) -> Lines:
    bad: dict[int, str] = {}
    lines, places = [], []
    for place, payload in enumerate(values):
        reason = empty(payload)
        if payload is not None and reason is None:
            reason = lone_surrogate(payload)
            if reason is None:
                lines.append(_one_line(payload))
                places.append(place)
        if reason is not None:
            bad[place] = reason
    return Lines(lines, b"\n".join(lines), places, bad)


def _one_line(payload: bytes) -> bytes:
    # A carriage return is white space to JSON just as the break is, and just as wrong inside a
    # text; a space would turn a broken text into a good one.
    return payload.replace(b"\n", b"\r")


def _parsed(ready: Lines, wire: Wire) -> tuple[pl.DataFrame, Lines]:
    """Parse, and leave out the lines that the parser refuses."""
    if not ready.lines:
        return pl.DataFrame(schema=wire.fields), ready
    frame = json_read.attempt(ready.block, wire)
    if frame is not None and frame.height == len(ready.lines):
        return frame, ready
    if ready.places is None and any(map(empty, ready.lines)):
        # The parser skips blank lines without a word.
        return _parsed(_picked(ready.lines), wire)
    sifted = json_read.sift(ready.lines, wire)
    return sifted.frame, _without(ready, sifted.bad)


def _without(ready: Lines, bad: Mapping[int, str]) -> Lines:
    """Leave out more lines; `bad` goes by their number among the lines there are."""
    places = range(len(ready.lines)) if ready.places is None else ready.places
    left = [
        (place, line)
        for i, (place, line) in enumerate(zip(places, ready.lines, strict=True))
        if i not in bad
    ]
    lines = [line for _, line in left]
    reasons = ready.bad | {places[i]: reason for i, reason in bad.items()}
    return Lines(lines, b"\n".join(lines), [place for place, _ in left], reasons)


def _decoded(
    frame: pl.DataFrame, ready: Lines, counted: Census, schema: pl.Schema
) -> Decoded:
    """Back from numbers among the lines to places in the block, from fields to columns."""
    places = ready.places
    extra = counted.extra
    if places is not None:
        extra = {name: Extra(n, places[first]) for name, (n, first) in extra.items()}
    missing = {
        column: counted.missing[field]
        for column in schema
        if (field := field_of(column)) in counted.missing
    }
    rejected = [Rejected(place, ready.bad[place]) for place in sorted(ready.bad)]
    kept = None if places is None else pl.Series(places, dtype=pl.UInt32)
    return Decoded(frame, kept, rejected, missing, extra)
