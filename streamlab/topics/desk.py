"""Everything a topic does on the I/O loop: sampling, reading a stretch, sending, resolving.

`topics.py` is its front: plain calls for cells, twins for async code.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl

from streamlab import positions
from streamlab.backends.base import Connection, PartitionInfo
from streamlab.changes import HIDDEN_SCHEMA
from streamlab.clocks import SYSTEM, Clock
from streamlab.errors import (
    BrokerError,
    ConnectError,
    EncodeError,
    TooMuchDataError,
    UsageError,
)
from streamlab.formats.base import Format
from streamlab.formats.infer import Chosen, choose
from streamlab.frames.feedspec import Start
from streamlab.intake import Intake
from streamlab.plugins import load
from streamlab.records import (
    Earliest,
    Newest,
    Partition,
    Position,
    Records,
    Resolved,
    offset_rank,
)
from streamlab.topics import asking
from streamlab.topics.asking import REQUEST_SECONDS
from streamlab.topics.names import Names
from streamlab.topics.outgoing import outgoing_rows, piece

T = TypeVar("T")
SAMPLE_NEWEST, SAMPLE_OLDEST, SAMPLE_SECONDS = 1_000, 100, 2.0
SEND_ROWS = 10_000
READ_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: the rows, and the rejected records."""

    rows: pl.DataFrame
    errors: pl.DataFrame


class Desk:
    """A topic's work on the I/O loop; made by `Topic`, used by one call at a time or by many."""

    def __init__(
        self,
        connection: Connection,
        names: Sequence[str],
        *,
        format_name: str | None,
        schema: Mapping[str, Any] | None,
        time: str | None,
        meta: tuple[str, ...],
        patterns: bool = False,
    ) -> None:
        """Remember what was asked for; nothing is read yet."""
        self.connection = connection
        self.names = tuple(names)
        self.time = time
        self.meta = meta
        self.ids_are_text = connection.ids_are_text
        self._names = Names(connection, names, patterns=patterns)
        self._format_name = format_name
        self._schema = None if schema is None else pl.Schema(schema)
        self._chosen: Chosen | None = None
        self._format: Format | None = None

    @property
    def several(self) -> bool:
        """Whether there may be more than one topic."""
        return self._names.one is None

    @property
    def chosen(self) -> Chosen | None:
        """What the sample said, if one was taken."""
        return self._chosen

    async def info(self) -> list[PartitionInfo]:
        """One line per partition of every topic."""
        names = await self.current_names()
        lines = [await self.within(self.connection.info(name)) for name in names]
        return list(itertools.chain(*lines))

    async def current_names(self) -> tuple[str, ...]:
        """The topics there are now that the names or patterns stand for.

        Raises:
            TopicNotFoundError: nothing matches a pattern.
        """
        return await self.within(self._names.current())

    async def grown(self, known: Collection[Partition]) -> Resolved:
        """Where partitions begin that are not among `known`, those of new topics too."""
        return await self.within(self._names.grown(known))

    async def resolve(self, value: Any, what: str, clock: Clock = SYSTEM) -> Resolved:
        """One offset per partition for a `start` or `until` as the user wrote it."""
        position: Position = positions.parse(value, what=what, clock=clock)
        found: dict[Partition, Any] = {}
        for name in await self.current_names():
            found.update(await self.within(self.connection.resolve(name, position)))
        return found

    async def begin(self, start: Any, clock: Clock) -> Start:
        """Where a live source begins, and what is there by then."""
        at = await self.resolve(start, "start", clock)
        lines = await self.info()
        first = {line.partition: line.first for line in lines}
        newest = [line.newest_ms for line in lines if line.newest_ms is not None]
        return Start(
            at=at,
            from_start=all(
                offset_rank(at[p]) <= offset_rank(first.get(p, at[p])) for p in at
            ),
            empty=frozenset(x.partition for x in lines if x.first == x.next),
            newest_ms=max(newest, default=None),
        )

    async def within(self, work: Awaitable[T]) -> T:
        """`work`, or an error once the broker has been silent for too long."""
        return await asking.within(self.connection, work)

    # -- decoding ----------------------------------------------------------------------

    async def learn(self) -> None:
        """Sample both ends, if format or schema are still to be found out."""
        if self._schema is not None and self._format_name is not None:
            return
        if self._chosen is not None and self._chosen.inferred.schema:
            return
        self.decide(await self.sample())

    async def sample(self) -> list[bytes | None]:
        """Payloads from both ends, so that drift shows: the newest first."""
        earliest = await self.resolve(Earliest(), "start")
        newest = await self.resolve(Newest(SAMPLE_NEWEST), "start")
        end = await self.resolve("latest", "until")
        oldest = await self._payloads(earliest, newest, SAMPLE_OLDEST)
        recent = await self._payloads(newest, end, SAMPLE_NEWEST)
        return recent[::-1] + oldest

    async def _payloads(
        self, start: Resolved, stop: Resolved, most: int
    ) -> list[bytes | None]:
        found: list[bytes | None] = []
        if not _room(start, stop):
            return found
        consumer = await self.connection.consumer(start, stop)
        give_up = SYSTEM.running() + SAMPLE_SECONDS
        try:
            while (
                not consumer.ended and len(found) < most and SYSTEM.running() < give_up
            ):
                for block in await consumer.receive(most - len(found), 0.2):
                    found.extend(block.values)
        finally:
            await consumer.aclose()
        return found

    def decide(self, sample: Sequence[bytes | None]) -> None:
        """Choose format and schema from a sample; a given one stays."""
        self._chosen = choose(sample, self._format_name)

    @property
    def format(self) -> Format:
        """The format: the given one, the sample's, or json until there is a sample."""
        if self._format is None or self._chosen is not None:
            if self._chosen is not None:
                self._format = self._chosen.format
            else:
                made: Format = load("formats", self._format_name or "json").make()
                self._format = made
        return self._format

    @property
    def schema(self) -> pl.Schema | None:
        """The payload's columns; None before the first record told them."""
        if self._schema is not None:
            return self._schema
        if self._chosen is None or not self._chosen.inferred.schema:
            return None
        return self._chosen.inferred.schema

    def intake(
        self,
        *,
        meta: tuple[str, ...] | None = None,
        partitions: Collection[Partition] = (),
    ) -> Intake | None:
        """A decoder for this topic; None before the schema is known.

        `partitions` are numbered as they rise, whichever sends first: it is what decides between
        rows of equal time.
        """
        schema = self.schema
        if schema is None:
            return None
        return Intake(
            self.format,
            schema,
            time=self.time,
            meta=self.meta if meta is None else meta,
            partitions=sorted(partitions),
            ids_are_text=self.ids_are_text,
            several_topics=self.several,
        )

    def discover(
        self, blocks: Sequence[Records], partitions: Collection[Partition] = ()
    ) -> Intake:
        """A decoder from the first records of a topic that was empty before."""
        self.decide(list(itertools.chain(*(block.values for block in blocks))))
        intake = self.intake(partitions=partitions)
        if intake is None:
            raise EncodeError(
                f"none of the first records of {', '.join(self.names)} has a field; say "
                'what they are: sl.topic(…, format="raw").'
            )
        return intake

    # -- a bounded read ------------------------------------------------------------------

    async def read(
        self,
        start: Any,
        until: Any,
        *,
        max_rows: int | None,
        max_bytes: int,
        timeout: float | None,  # noqa: ASYNC109 - in the message, with the user's own number
        meta: tuple[str, ...] | None = None,
    ) -> Reading:
        """All records of [start, until), decoded."""
        begin = await self.resolve(start, "start")
        end = await self.resolve(until, "until")
        await self.learn()
        intake = self.intake(meta=meta)
        if intake is None:
            return Reading(pl.DataFrame(), pl.DataFrame())
        if max_rows is None:
            await self._refuse_too_much(begin, max_bytes)
        work = self._read(begin, end, intake, max_rows, max_bytes)
        try:
            rows, errors = await asyncio.wait_for(work, timeout)
        except TimeoutError:
            raise ConnectError(
                f"reading {', '.join(self.names)} took longer than timeout={timeout:g} s."
            ) from None
        return Reading(rows.drop(list(HIDDEN_SCHEMA)), errors.drop(list(HIDDEN_SCHEMA)))

    async def _read(
        self,
        begin: Resolved,
        end: Resolved,
        intake: Intake,
        max_rows: int | None,
        max_bytes: int,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        rows = [intake.take([]).rows]
        errors = [intake.take([]).rejected]
        held = count = 0
        async for blocks in self.stretch(begin, end):
            taken = await asyncio.to_thread(intake.take, blocks)
            rows.append(taken.rows)
            errors.append(taken.rejected)
            held += int(taken.rows.estimated_size())
            count += taken.rows.height
            if held > max_bytes or (max_rows is not None and count > max_rows):
                raise self._too_much(f"more than {count - 1:,} records", held)
        return pl.concat(rows), pl.concat(errors)

    async def stretch(
        self, begin: Resolved, end: Resolved
    ) -> AsyncIterator[Sequence[Records]]:
        """The records of [begin, end) in pieces; an error after 10 s without progress."""
        if not _room(begin, end):
            return
        consumer = await self.connection.consumer(begin, end)
        try:
            while not consumer.ended:
                blocks = await self._progress(consumer)
                if blocks:
                    yield blocks
        finally:
            await consumer.aclose()

    async def _progress(self, consumer: Any) -> Sequence[Records]:
        """The next blocks; may be () at the end only."""
        give_up = SYSTEM.running() + REQUEST_SECONDS
        while not consumer.ended:
            blocks: Sequence[Records] = await consumer.receive(READ_ROWS, 1.0)
            if blocks:
                return blocks
            if SYSTEM.running() > give_up and not consumer.ended:
                why = f": {consumer.trouble}" if consumer.trouble else ""
                raise ConnectError(
                    f"{self.connection.place} has sent nothing for "
                    f"{REQUEST_SECONDS:g} s{why}."
                )
        return ()

    async def _refuse_too_much(self, begin: Resolved, max_bytes: int) -> None:
        """Refuse before starting, if the broker can tell how much it would be."""
        lines = await self.info()
        whole = sum(line.bytes or 0 for line in lines)
        records = sum(line.records or 0 for line in lines)
        first = {line.partition: line.first for line in lines}
        from_start = all(
            offset_rank(begin[p]) <= offset_rank(first.get(p, begin[p])) for p in begin
        )
        if from_start and whole > max_bytes:
            raise self._too_much(
                f"{records:,} records, about {whole / 1e9:.1f} GB", whole
            )

    def _too_much(self, amount: str, whole: int) -> TooMuchDataError:
        name = ", ".join(self.names)
        return TooMuchDataError(
            f"{name} holds {amount}; read() stops at its limit. The newest 100 000: "
            'read(start=-100_000). The last hour: read(start="1h"). All of it, without '
            'keeping it: live(start="earliest", keep="256MB"). Really all: '
            f'read(max_bytes="{whole // 10**9 + 1}GB").'
        )

    # -- sending -------------------------------------------------------------------------

    async def send(self, rows: Any, key: Any, timestamp: Any) -> int:
        """Write rows to the topic; returns how many the broker acknowledged."""
        topic = self._names.one
        if topic is None:
            raise UsageError(f"send to one topic, not to {', '.join(self.names)}.")
        outgoing = outgoing_rows(rows, key, timestamp, self.format)
        if not outgoing.values:
            return 0
        producer = await self.connection.producer(topic)
        sent = 0
        try:
            for at in range(0, len(outgoing.values), SEND_ROWS):
                part = piece(outgoing, at, at + SEND_ROWS)
                sent += len((await producer.send(part)).offsets)
        except BrokerError as error:
            error.add_note(f"{sent} of {len(outgoing.values)} rows were acknowledged.")
            raise
        finally:
            await producer.aclose()
        return sent


def _room(begin: Resolved, end: Resolved) -> bool:
    """Whether there is anything between two positions."""
    return any(offset_rank(begin[p]) < offset_rank(end.get(p, begin[p])) for p in begin)
