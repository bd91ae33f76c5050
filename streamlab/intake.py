"""Intake: blocks of raw records to rows, each record accounted for.

A record becomes a row or a reject, here and nowhere else: received = decoded + rejected, each
counted at its own place. Everything is done on whole blocks; nothing stands for one record.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from streamlab import entry_ids
from streamlab.changes import HIDDEN_SCHEMA, ROW, SEQ, TIME
from streamlab.errors import ColumnNotFoundError, UsageError
from streamlab.formats.base import Decoded, Extra, Format, Rejected
from streamlab.formats.fields import TAKEN, column_of
from streamlab.formats.times import MAX_US, MIN_US, UTC_US, can_be_time, to_utc
from streamlab.records import (
    HEADERS,
    KEY,
    OFFSET,
    PARTITION,
    PAYLOAD,
    REASON,
    TIMESTAMP,
    TOPIC,
    Offset,
    Partition,
    Records,
)

_HEADER = pl.Struct({"name": pl.String(), "value": pl.Binary()})
_Ints = npt.NDArray[np.int64]
_NO_INTS, _NO_PARTS = np.empty(0, np.int64), np.empty(0, np.int32)


class Taken(NamedTuple):
    """What some blocks of records became.

    Attributes:
        rows: payload columns, then the metadata columns asked for, then the hidden ones.
        rejected: `_topic` (if there are several), `_partition`, `_offset`, `_timestamp`,
            `_reason`, `_payload` (Binary, whole; null for a tombstone), then the hidden ones,
            with the broker's timestamp as event time. In the order of the blocks.
        received: records in the blocks.
        decoded: those that became rows; received = decoded + rejected.height.
        missing: column → in how many rows the payload lacked the field.
        extra: field outside the schema → how often it came, and where first ("p3 @ 7843112").
        tombstones: of records with a key and no value, which are among the rejected too: `_key`,
            and in `__row` how many of `rows` came before; None for none, or if `_key` is not
            asked for.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame
    received: int
    decoded: int
    missing: Mapping[str, int]
    extra: Mapping[str, tuple[int, str]]
    tombstones: pl.DataFrame | None = None


class _Kept(NamedTuple):
    """Good rows so far: their columns, their event times, their places (None: all)."""

    frame: pl.DataFrame
    times: pl.Series | None
    places: npt.NDArray[np.uint32] | None
    rejected: list[Rejected]


class Intake:
    """One source's way from records to rows. Owned by the source; `take` is pure CPU."""

    def __init__(
        self,
        format: Format,  # noqa: A002  # what users call it, everywhere
        schema: pl.Schema,
        *,
        time: str | None = None,
        meta: tuple[str, ...] = (),
        partitions: Sequence[Partition] = (),
        ids_are_text: bool = False,
        several_topics: bool = False,
    ) -> None:
        """Prepare, and refuse at once what can't work.

        Args:
            format: reads the payloads.
            schema: column → type. A name that is ours ("_key") means the payload's field of
                that name, which becomes the column "_key_".
            time: the column that holds event time; None for the broker's timestamp.
            meta: metadata columns wanted, out of `records.META`.
            partitions: those known so far; they are numbered in this order.
            ids_are_text: offsets are entry ids such as b"1767225600000-3" (Redis).
            several_topics: whether places and rejects must name the topic.

        Raises:
            ColumnNotFoundError: `time` names no column.
            UsageError: `time` is of a type that holds no times, or the format can't read the
                schema.
        """
        self._format = format
        self._numbers: dict[Partition, int] = {}
        self._meta = meta
        self.ids_are_text = ids_are_text  # a place is a time and a number, as on Redis
        self._in_nanoseconds = False
        self._several_topics = several_topics
        for partition in partitions:
            self.number(partition)
        self._types = _meta_types(ids_are_text=ids_are_text)
        self._no_rejects = self._without_rejects()
        self._payload = _renamed(schema)
        self._time = None if time == TIMESTAMP else time
        self._check_time(self._time)
        format.decode([], self._payload)

    @property
    def schema(self) -> pl.Schema:
        """Column → type of the rows, without hidden columns."""
        columns: dict[str, pl.DataType] = dict(self._payload)
        if self._time is not None:
            columns[self._time] = UTC_US
        return pl.Schema(columns | {name: self._types[name] for name in self._meta})

    @property
    def partitions(self) -> list[Partition]:
        """Partitions by their number."""
        return list(self._numbers)

    def number(self, partition: Partition) -> int:
        """The partition's number in `__part`; a new one gets the next."""
        return self._numbers.setdefault(partition, len(self._numbers))

    def offset_text(self, stamp: int, seq: int) -> str:
        """A row's offset for people, from its `__stamp` and `__seq`."""
        return str(self.offset(stamp, seq))

    def offset(self, stamp: int, seq: int) -> Offset:
        """A row's offset, from its `__stamp` and `__seq`."""
        if not self.ids_are_text:
            return seq
        if self._in_nanoseconds:
            return entry_ids.unfolded(stamp, seq)
        return f"{stamp}-{seq}"

    def where(self, part: int, stamp: int, seq: int) -> str:
        """A row's place for people, "p3 @ 7843112", from its hidden columns."""
        partition = self.partitions[part]
        topic = f"{partition.topic} " if self._several_topics else ""
        return f"{topic}p{partition.number} @ {self.offset_text(stamp, seq)}"

    def take(self, blocks: Sequence[Records]) -> Taken:
        """Decode blocks; rows come in the order of the blocks. Safe on any one thread."""
        values = _chained([block.values for block in blocks])
        decoded = self._format.decode(values, self._payload)
        hidden = self._hidden(blocks)
        kept = self._with_time(decoded)
        rows = self._rows(blocks, kept, hidden)
        missing, extra = self._counts(decoded, kept, values)
        return Taken(
            rows,
            self._rejects(blocks, kept.rejected, hidden),
            sum(len(block.values) for block in blocks),
            rows.height,
            missing,
            {
                name: (each.count, self._where(hidden, each.index))
                for name, each in extra.items()
            },
            self._tombstones(blocks, values, kept),
        )

    def _tombstones(
        self, blocks: Sequence[Records], values: Sequence[bytes | None], kept: _Kept
    ) -> pl.DataFrame | None:
        if KEY not in self._meta or not kept.rejected or kept.places is None:
            return None
        keys = _chained([_bytes(KEY, block) for block in blocks])
        places = [
            place
            for place, _ in kept.rejected
            if values[place] is None and keys[place] is not None
        ]
        if not places:
            return None
        before = np.searchsorted(kept.places, places).astype(np.int64)
        key = _readable(KEY, [keys[place] for place in places])
        return pl.DataFrame([key, pl.Series(ROW, before)])

    def _without_rejects(self) -> pl.DataFrame:
        named = (TOPIC,) if self._several_topics else ()
        schema = {
            name: self._types[name] for name in (*named, PARTITION, OFFSET, TIMESTAMP)
        }
        schema |= {REASON: pl.String(), PAYLOAD: pl.Binary()}
        return pl.DataFrame(schema=schema | dict(HIDDEN_SCHEMA))

    def _check_time(self, time: str | None) -> None:
        if time is None:
            return
        if time not in self._payload:
            topic = next((p.topic for p in self._numbers), "the payload")
            raise ColumnNotFoundError.among(time, topic, self._payload)
        dtype = self._payload[time]
        if not can_be_time(dtype):
            raise UsageError(
                f"time={time!r}: the column is {dtype}, and times are datetimes, dates, "
                "numbers since 1970 or ISO text."
            )

    def _hidden(self, blocks: Sequence[Records]) -> pl.DataFrame:
        """The hidden columns of all records, with the broker's timestamp as event time."""
        # An empty array first, for there may be no block.
        part, stamp, seq = [_NO_PARTS], [_NO_INTS], [_NO_INTS]
        for block in blocks:
            if self.ids_are_text:
                stamps, seqs = entry_ids.split(block.offsets)  # type: ignore[arg-type]  # Redis's
                if block.timestamps_ms is not None:
                    self._in_nanoseconds = True
                    stamps, seqs = entry_ids.folded(stamps, seqs)
            else:
                stamps = np.asarray(block.timestamps_ms, dtype=np.int64)
                seqs = np.asarray(block.offsets, dtype=np.int64)
            part.append(np.full(len(seqs), self.number(block.partition), np.int32))
            stamp.append(stamps)
            seq.append(seqs)
        stamps = np.concatenate(stamp)
        # Redis takes ids of any size: what no calendar holds stands at the calendar's end.
        us = stamps.clip(MIN_US // 1000, MAX_US // 1000) * 1000
        columns: tuple[npt.NDArray[Any], ...] = (
            us,
            np.concatenate(part),
            stamps,
            np.concatenate(seq),
        )
        series = zip(HIDDEN_SCHEMA.items(), columns, strict=True)
        return pl.DataFrame([pl.Series(n, v).cast(t) for (n, t), v in series])

    def _with_time(self, decoded: Decoded) -> _Kept:
        """Turn the time column into times; a record whose time is none is rejected."""
        frame, rejected = decoded.frame, list(decoded.rejected)
        places = None if decoded.kept is None else decoded.kept.to_numpy()
        if self._time is None:
            return _Kept(frame, None, places, rejected)
        column = frame[self._time]
        times = column if column.dtype == UTC_US else to_utc(column)
        frame = frame.clone().replace_column(frame.get_column_index(self._time), times)
        if times.null_count() == column.null_count():
            return _Kept(frame, times, places, rejected)
        wrong = (times.is_null() & column.is_not_null()).to_numpy()
        places = np.arange(len(wrong), dtype=np.uint32) if places is None else places
        rejected += [
            Rejected(
                place,
                f"{self._time}: {value!r} is not a time (ISO text, or a number since 1970)",
            )
            for place, value in zip(
                places[wrong].tolist(), column.filter(wrong), strict=True
            )
        ]
        rejected.sort()
        right = ~wrong
        return _Kept(frame.filter(right), times.filter(right), places[right], rejected)

    def _rows(
        self, blocks: Sequence[Records], kept: _Kept, hidden: pl.DataFrame
    ) -> pl.DataFrame:
        meta = [self._meta_column(name, blocks, hidden) for name in self._meta]
        after = [*meta, *hidden]
        if kept.places is not None:
            after = list(pl.DataFrame(after)[kept.places])
        if kept.times is not None:
            after[len(meta)] = kept.times.alias(TIME)
        return pl.DataFrame([*kept.frame, *after])

    def _meta_column(
        self, name: str, blocks: Sequence[Records], hidden: pl.DataFrame
    ) -> pl.Series:
        """One metadata column of all records."""
        dtype = self._types[name]
        if name == TIMESTAMP:
            return hidden[TIME].cast(dtype).alias(name)
        if name == OFFSET and not self.ids_are_text:
            return hidden[SEQ].alias(name)
        if name == HEADERS:
            return pl.Series(
                name, _chained([_headers(block) for block in blocks]), dtype=dtype
            )
        if name in (KEY, OFFSET):
            return _readable(name, _chained([_bytes(name, block) for block in blocks]))
        of = [
            b.partition.topic if name == TOPIC else b.partition.number for b in blocks
        ]
        counts = [len(block.values) for block in blocks]
        return pl.Series(name, np.repeat(of, counts).tolist(), dtype=dtype)

    def _rejects(
        self,
        blocks: Sequence[Records],
        rejected: Sequence[Rejected],
        hidden: pl.DataFrame,
    ) -> pl.DataFrame:
        if not rejected:
            return self._no_rejects
        starts = list(accumulate((len(block.values) for block in blocks), initial=0))
        found: dict[str, Any] = {TOPIC: [], PARTITION: [], OFFSET: [], PAYLOAD: []}
        for place, _ in rejected:
            number = bisect_right(starts, place) - 1
            block, at = blocks[number], place - starts[number]
            found[TOPIC].append(block.partition.topic)
            found[PARTITION].append(block.partition.number)
            found[OFFSET].append(_shown(block.offsets[at]))
            found[PAYLOAD].append(block.values[at])
        found[REASON] = [reason for _, reason in rejected]
        of = hidden[[place for place, _ in rejected]]
        found |= of.to_dict() | {TIMESTAMP: of[TIME]}
        return pl.DataFrame(
            {name: found[name] for name in self._no_rejects.columns},
            schema_overrides=self._no_rejects.schema,
        )

    def _counts(
        self, decoded: Decoded, kept: _Kept, values: Sequence[bytes | None]
    ) -> tuple[Mapping[str, int], Mapping[str, Extra]]:
        """Missing and extra fields of the rows, without those of records with a bad time."""
        some = decoded.missing or decoded.extra
        if (
            not some
            or kept.places is None
            or len(kept.rejected) == len(decoded.rejected)
        ):
            return decoded.missing, decoded.extra
        # Rare, and only the format can say which records the counts came from.
        places = kept.places.tolist()
        again = self._format.decode([values[place] for place in places], self._payload)
        extra = {
            name: Extra(n, places[first]) for name, (n, first) in again.extra.items()
        }
        return again.missing, extra

    def _where(self, hidden: pl.DataFrame, place: int) -> str:
        _, part, stamp, seq = hidden.row(place)
        return self.where(part, stamp, seq)


def _renamed(schema: Mapping[str, pl.DataType]) -> pl.Schema:
    """The schema with columns of the user's that are called like ours renamed."""
    names = [column_of(name) if name in TAKEN else name for name in schema]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"schema: two columns would be called {name!r}.")
    return pl.Schema(zip(names, schema.values(), strict=True))


def _meta_types(*, ids_are_text: bool) -> dict[str, pl.DataType]:
    return {
        TOPIC: pl.String(),
        PARTITION: pl.Int32(),
        OFFSET: pl.String() if ids_are_text else pl.Int64(),
        TIMESTAMP: pl.Datetime("ms", "UTC"),
        KEY: pl.String(),
        HEADERS: pl.List(_HEADER),
    }


def _chained(columns: Sequence[Sequence[Any]]) -> Sequence[Any]:
    return columns[0] if len(columns) == 1 else list(chain.from_iterable(columns))


def _bytes(name: str, block: Records) -> Sequence[Any]:
    column = block.keys if name == KEY else block.offsets
    return [None] * len(block.values) if column is None else column


def _headers(block: Records) -> list[list[dict[str, Any]]]:
    if block.headers is None:
        return [[] for _ in block.values]
    return [[{"name": k, "value": v} for k, v in each] for each in block.headers]


def _readable(name: str, values: Sequence[bytes | None]) -> pl.Series:
    """Bytes as text; a byte that is not UTF-8 shows as its escape, so no two look alike."""
    try:
        return pl.Series(name, values, dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.PolarsError:
        return pl.Series(name, [_shown(value) for value in values], dtype=pl.String)


def _shown(value: bytes | int | None) -> str | int | None:
    return (
        value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    )
