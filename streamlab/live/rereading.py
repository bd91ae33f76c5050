"""The records of a source once more, by another road: read anew, decoded by Python's own parsers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from streamlab import parity
from streamlab.changes import HIDDEN, PART, SEQ, STAMP, TIME
from streamlab.errors import ParityError
from streamlab.frames.feed import Feed
from streamlab.records import (
    HEADERS,
    KEY,
    OFFSET,
    PARTITION,
    TIMESTAMP,
    TOPIC,
    Offset,
    Partition,
    Records,
)
from streamlab.runtime.loop import io

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# An integer is read by its magnitude: seconds, milliseconds, microseconds, else nanoseconds.
MAGNITUDES = ((10**11, 10**6), (10**14, 10**3), (10**17, 1))


def rows_again(
    frame: Any,
    done: Mapping[Partition, Offset],
    since: Mapping[Partition, Offset] | None,
    rejected: int,
) -> pl.DataFrame:
    """The source's rows from its beginning (or `since`) up to `done`, decoded by reference."""
    feed: Feed = frame._feed  # noqa: SLF001
    desk = frame._topic.desk  # noqa: SLF001
    start = {p: (since or {}).get(p, at) for p, at in feed.spec.start.items()}
    blocks: list[Records] = io().call(
        _collect(desk, start, done), twin="check_parity() on a thread of its own"
    )
    intake = feed.pipeline.intake
    parts = []
    again = 0
    for block in blocks:
        part, dropped = _decode(block, desk, intake)
        parts.append(part)
        again += dropped
    if since is None and again != rejected:
        raise ParityError(
            f"Python's own parser rejects {again} records, the live source {rejected}."
        )
    if not parts:
        return feed.pipeline.root.held.frame().clear()
    return pl.concat(parts)


async def _collect(desk: Any, start: Any, done: Any) -> list[Records]:
    found: list[Records] = []
    async for blocks in desk.stretch(start, done):
        found.extend(blocks)
    return found


def _decode(block: Records, desk: Any, intake: Any) -> tuple[pl.DataFrame, int]:
    """One block's rows with the hidden columns, and how many records were rejected."""
    frame, bad = parity.decode_reference(block.values, desk.schema, desk.format.name)
    dropped = set(bad)
    places = [i for i in range(len(block.values)) if i not in dropped]
    stamps, numbers = _coordinates(block)
    times = [stamps[i] * 1000 for i in places]
    if desk.time is not None:
        read = [moment_us(value) for value in frame[desk.time].to_list()]
        wrong = [isinstance(value, str) for value in read]
        kept = [i for i, w in enumerate(wrong) if not w]
        frame, places = frame[kept], [places[i] for i in kept]
        times = [read[i] for i in kept]  # type: ignore[misc]
        dropped_times = len(read) - len(kept)
    else:
        dropped_times = 0
    hidden = pl.DataFrame(
        {
            TIME: pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            PART: pl.Series(
                [intake.number(block.partition)] * len(places), dtype=pl.Int32
            ),
            STAMP: pl.Series([stamps[i] for i in places], dtype=pl.Int64),
            SEQ: pl.Series([numbers[i] for i in places], dtype=pl.Int64),
        }
    )
    if desk.time is not None:
        frame = frame.with_columns(hidden[TIME].alias(desk.time))
    types = intake.schema
    meta = [pl.Series(n, _meta(n, block, places), dtype=types[n]) for n in desk.meta]
    return frame.hstack([*meta, *hidden.select(HIDDEN)]), len(dropped) + dropped_times


def _meta(name: str, block: Records, places: Sequence[int]) -> list[Any]:
    """One metadata column of the records at `places`."""
    stamps, _ = _coordinates(block)
    keys = block.keys or [None] * len(stamps)
    headers = block.headers or [()] * len(stamps)
    columns: dict[str, Sequence[Any]] = {
        TOPIC: [block.partition.topic] * len(stamps),
        PARTITION: [block.partition.number] * len(stamps),
        OFFSET: [_text(o) if isinstance(o, bytes) else o for o in block.offsets],
        TIMESTAMP: [EPOCH + timedelta(milliseconds=ms) for ms in stamps],
        KEY: [None if key is None else _text(key) for key in keys],
        HEADERS: [[{"name": k, "value": v} for k, v in each] for each in headers],
    }
    return [columns[name][place] for place in places]


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _coordinates(block: Records) -> tuple[list[int], list[int]]:
    """Broker time and offset (on Redis the id's two halves) of each record."""
    stamps = block.timestamps_ms
    if stamps is not None and not isinstance(block.offsets[0], bytes):
        return list(stamps), [int(o) for o in block.offsets]
    halves = [bytes(o).split(b"-") for o in block.offsets]
    if (
        stamps is not None
    ):  # ids that count nanoseconds: intake folds the rest into one number
        rest = [(int(a) % 1_000_000) << 16 | int(b) for a, b in halves]
        return list(stamps), rest
    return [int(a) for a, _ in halves], [int(b) for _, b in halves]


def moment_us(value: object) -> int | str | None:
    """An event time in µs since 1970 UTC; text if it can't be read, None for none."""
    if value is None:
        return None
    if isinstance(value, date):
        return _of_date(value)
    if isinstance(value, (int, float)):
        return _by_magnitude(value)
    try:
        return moment_us(datetime.fromisoformat(str(value)))
    except ValueError:
        return str(value)


def _of_date(value: date) -> int:
    if not isinstance(value, datetime):
        return (value - EPOCH.date()).days * 86_400_000_000
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def _by_magnitude(value: float) -> int | None:
    if not math.isfinite(value):
        return None
    for limit, factor in MAGNITUDES:
        if abs(value) < limit:
            return math.floor(value * factor)
    # An integer of nanoseconds has more digits than a float.
    return value // 1000 if type(value) is int else math.floor(value / 1000)
