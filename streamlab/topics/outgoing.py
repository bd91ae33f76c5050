"""Rows on their way to a topic, from the forms in which users have them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from streamlab.errors import ColumnNotFoundError, EncodeError, UsageError
from streamlab.formats.base import Format
from streamlab.records import Outgoing


def outgoing_rows(rows: Any, key: Any, timestamp: Any, fmt: Format) -> Outgoing:
    """Rows as the user has them: a frame, a list of dicts, or a list of bytes."""
    if isinstance(rows, pl.LazyFrame):
        rows = rows.collect()
    if isinstance(rows, pl.DataFrame):
        values: list[bytes | None] = list(fmt.encode(rows))
        frame: pl.DataFrame | None = rows
    else:
        listed = list(rows)
        values, frame = _payloads_of(listed, fmt)
    return Outgoing(
        values,
        keys=_keys(key, frame, len(values)),
        timestamps_ms=_stamps(timestamp, frame, len(values)),
    )


def _payloads_of(
    listed: list[Any], fmt: Format
) -> tuple[list[bytes | None], pl.DataFrame | None]:
    if all(row is None or isinstance(row, bytes) for row in listed):
        return list(listed), None
    if all(isinstance(row, str) for row in listed):
        return [row.encode() for row in listed], None
    if not all(isinstance(row, dict) for row in listed):
        raise EncodeError(
            "rows are a polars frame, a list of dicts, or a list of bytes sent as they are; "
            f"this is a list of {', '.join(sorted({type(r).__name__ for r in listed}))}."
        )
    if fmt.name != "json":
        frame = pl.DataFrame(listed)
        return list(fmt.encode(frame)), frame
    texts = [json.dumps(row, default=_plain, ensure_ascii=False) for row in listed]
    frame = pl.DataFrame(listed, strict=False, infer_schema_length=None)
    return [text.encode() for text in texts], frame


def _plain(value: Any) -> Any:
    """What JSON lacks: times as ISO text."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise EncodeError(
        f"{value!r} of type {type(value).__name__} can't be written as JSON."
    )


def _keys(
    key: Any, frame: pl.DataFrame | None, count: int
) -> list[bytes | None] | None:
    if key is None:
        return None
    values = _column(key, "key", frame, count)
    return [
        None if v is None else v if isinstance(v, bytes) else str(v).encode()
        for v in values
    ]


def _stamps(timestamp: Any, frame: pl.DataFrame | None, count: int) -> list[int] | None:
    if timestamp is None:
        return None
    values = pl.Series(_column(timestamp, "timestamp", frame, count))
    if values.dtype == pl.Datetime:
        values = values.dt.epoch("ms")
    if not values.dtype.is_integer():
        raise UsageError("timestamp= is a column of datetimes, or of ms since 1970.")
    return [int(v) for v in values]


def _column(
    name: Any, what: str, frame: pl.DataFrame | None, count: int
) -> Iterable[Any]:
    """A column by name, or one value per row."""
    if isinstance(name, str):
        if frame is None:
            raise UsageError(f"{what}={name!r} names a column, and bytes have none.")
        if name not in frame.columns:
            raise ColumnNotFoundError.among(name, "the rows to send", frame.columns)
        return frame[name].to_list()
    values = list(name)
    if len(values) != count:
        raise UsageError(f"{what}= has {len(values)} values for {count} rows.")
    return values


def piece(outgoing: Outgoing, start: int, stop: int) -> Outgoing:
    """Rows `start` to `stop`."""
    cut = [None if column is None else column[start:stop] for column in outgoing]
    return Outgoing(*cut)  # type: ignore[arg-type]
