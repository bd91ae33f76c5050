"""Text: the payload as one String column, as it is.

An empty payload is an empty text; a null one (a tombstone) and what is not UTF-8 are rejected.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from streamlab.errors import EncodeError, UsageError
from streamlab.formats.base import Decoded, Inferred, Rejected

COLUMN = "text"


class Text:
    """The format "text"."""

    name = "text"

    def fits(self, sample: Sequence[bytes | None]) -> float:
        payloads = [payload for payload in sample if payload is not None]
        good = sum(_reason(payload) is None for payload in payloads)
        return good / len(payloads) if payloads else 0.0

    def infer(self, sample: Sequence[bytes | None]) -> Inferred:
        first = next((each for each in sample if each and _reason(each) is None), b"")
        schema = pl.Schema({COLUMN: pl.String()})
        return Inferred(schema, {}, {COLUMN: 1.0}, {COLUMN: shown(first.decode())})

    def decode(self, values: Sequence[bytes | None], schema: pl.Schema) -> Decoded:
        column = only_column(schema, pl.String(), self.name)
        try:
            # polars checks the whole block at once, and refuses it as a whole.
            text = pl.Series(column, values, dtype=pl.Binary).cast(pl.String)
        except pl.exceptions.PolarsError:
            text = None
        if text is not None and not text.null_count():
            return Decoded(text.to_frame(), None, [], {}, {})
        bad = {i: reason for i, v in enumerate(values) if (reason := _reason(v))}
        kept = [i for i in range(len(values)) if i not in bad]
        good = pl.Series(column, [values[i] for i in kept], dtype=pl.Binary).cast(
            pl.String
        )
        rejected = [Rejected(i, reason) for i, reason in bad.items()]
        return Decoded(
            good.to_frame(), pl.Series(kept, dtype=pl.UInt32), rejected, {}, {}
        )

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        column = sole_column(frame, pl.String(), self.name)
        return [text.encode() for text in column]


def make() -> Text:
    """The format, for `plugins`."""
    return Text()


def shown(text: str) -> str:
    """A value as an example for the card."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"


def only_column(schema: pl.Schema, dtype: pl.DataType, name: str) -> str:
    """The one column of a format that has just one.

    Raises:
        UsageError: the schema has others, or another type.
    """
    if list(schema.values()) != [dtype]:
        raise UsageError(
            f"format={name!r} gives one column of type {dtype}, not {dict(schema)!r}."
        )
    return next(iter(schema))


def sole_column(frame: pl.DataFrame, dtype: pl.DataType, name: str) -> pl.Series:
    """The one column of a frame to be written.

    Raises:
        EncodeError: there are others, or another type, or nulls.
    """
    if frame.dtypes != [dtype]:
        raise EncodeError(
            f"format={name!r} writes one column of type {dtype}; these rows have "
            f"{', '.join(f'{n} ({t})' for n, t in frame.schema.items()) or 'none'}. "
            'Several columns: format="json".'
        )
    column = frame.to_series()
    if column.null_count():
        raise EncodeError(
            f"format={name!r} has no word for null, and {column.name!r} holds some."
        )
    return column


def _reason(payload: bytes | None) -> str | None:
    if payload is None:
        return "empty payload (tombstone)"
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{payload[error.start]:02x} at {error.start}"
    return None
