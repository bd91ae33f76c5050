"""Messages one by one, for async programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from streamlab import positions
from streamlab.backends.base import Connection
from streamlab.clocks import SYSTEM
from streamlab.durations import seconds
from streamlab.errors import StreamStoppedError, UsageError
from streamlab.records import (
    AtTime,
    Committed,
    Offset,
    Partition,
    PartitionState,
    Position,
)
from streamlab.runtime.loop import io
from streamlab.topics.ledger import Ledger
from streamlab.topics.message import Message
from streamlab.topics.modes import Mode, needs_group, needs_own
from streamlab.topics.names import Names
from streamlab.topics.pump import Pump


class Consumer:
    """Reads topics message by message; its coroutines belong on one loop, the program's own.

    `async for message in consumer` and `await consumer.next()` hand out one message,
    `next_batch` many. A message counts as done ("acked") once the next is asked for, so
    `commit()` covers what the program has finished, never what is in its hands; `ack(message)`
    says so earlier. With `acks="manual"` only `ack` counts, in any order: a commit goes up to the
    first message of a partition that is not acked.

    Attributes:
        mode: "real-time", "resumable" or "load-balanced".
        group: its name; None in real time.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        ledger: Ledger,
        pump: Pump,
        *,
        mode: Mode,
        group: str | None,
        start: Position,
        manual: bool,
        backend: Any,
    ) -> None:
        """Not called by users: see `Broker.consumer`."""
        self.mode: Mode = mode
        self.group = group
        self._connection, self._names = connection, names
        self._ledger, self._pump = ledger, pump
        self._start, self._manual = start, manual
        self._backend = backend
        self._closed = False

    # -- taking ---------------------------------------------------------------------------

    async def next(self) -> Message:
        """The next message; waits for it.

        Raises:
            StreamStoppedError: the consumer was ended, or has reached `until`.
            BrokerError: the broker can't be read any more.
        """
        return (await self._some(1, None))[0]

    async def next_batch(
        self, max_records: int = 1_000, max_wait: Any = None
    ) -> list[Message]:
        """As many messages as there are, at most `max_records`; waits for the first.

        Args:
            max_records: how many at most.
            max_wait: seconds, or a span ("500ms"), after which to return []; None waits.

        Raises:
            StreamStoppedError, BrokerError: as `next`.
        """
        return await self._some(max_records, seconds(max_wait, "max_wait"))

    async def __aiter__(self) -> AsyncIterator[Message]:
        try:
            while True:
                yield await self.next()
        except StreamStoppedError:
            return

    async def _some(self, most: int, wait: float | None) -> list[Message]:
        if not self._manual:
            self._ledger.ack_handed_out()
        if found := self._take(most):
            return found
        try:
            async with asyncio.timeout(wait):
                while True:
                    # Looked at first: what came just before the end is still to be taken.
                    over = self._closed or self._ledger.ended
                    if found := self._take(most):
                        return found
                    self._check(over=over)
                    self._want()
                    await self._ledger.more()
        except TimeoutError:
            return []

    def _take(self, most: int) -> list[Message]:
        found = self._ledger.take(most)
        left, low = len(self._ledger), self._pump.low
        if left <= low < left + len(found):
            self._want()
        return found

    def _check(self, *, over: bool) -> None:
        """Raise if nothing will come."""
        if over and self._ledger.error is not None:
            raise self._ledger.error
        if over:
            why = "was ended" if self._closed else "has reached its end"
            raise StreamStoppedError(
                f"{', '.join(self._names.given)}: this consumer {why}; no message is left."
            )
        if self.mode != "load-balanced" and not self._backend.state():
            raise UsageError(
                "no partition is assigned: assign(topic, partition) brings one back."
            )

    def _want(self) -> None:
        io().post(self._pump.want)

    # -- what is done -----------------------------------------------------------------------

    def ack(self, message: Message) -> None:
        """This message is done. Harmless if it is already, or if others have it by now.

        Raises:
            ModeError: the reader is real-time.
        """
        self._needs_group("ack")
        self._ledger.ack(message)

    async def commit(self) -> None:
        """Let the broker keep what is done: after a restart, nothing of that comes again.

        Raises:
            ModeError: the reader is real-time.
            BrokerError: it was not kept.
        """
        self._needs_group("commit")
        await io().bridge(self._pump.commit())

    def done(self) -> dict[Partition, Committed]:
        """What a commit would say, what is in hand included; for a transaction.

        Raises:
            ModeError: the reader is real-time, or shares its topics.
        """
        self._needs_group("commit")
        self._needs_own("committing within a transaction")
        marks = self._ledger.done(in_hand=not self._manual)
        return {p: Committed(mark.next) for p, mark in marks.items()}

    # -- going elsewhere ----------------------------------------------------------------------

    async def seek(self, time: datetime | timedelta | str) -> None:
        """Go on at the first message at or after a time, in every partition.

        Args:
            time: an aware datetime, text with its zone, or a span back ("15m").
        """
        position = positions.parse(time, what="seek", clock=SYSTEM)
        if not isinstance(position, AtTime):
            raise UsageError(
                f"seek({time!r}): seek goes to a time. Anywhere else: rewind({time!r})."
            )
        await self._move("seek", position)

    async def rewind(self, position: Any) -> None:
        """Go on at a position, the message there included: "earliest", "latest", -100,
        {partition: offset}, a time.
        """
        parsed = positions.parse(position, what="rewind", clock=SYSTEM)
        await self._move("rewind", parsed)

    async def assign(
        self, topic: str, partition: int = 0, start: Any | None = None
    ) -> None:
        """Read this partition too, or again.

        Args:
            topic: its name.
            partition: its number.
            start: where from; None is where its group is, or where this consumer began.
        """
        self._needs_own("assign")
        await io().bridge(self._assign(Partition(topic, partition), start))

    async def unassign(self, topic: str, partition: int = 0) -> None:
        """Read this partition no more.

        Raises:
            UsageError: it isn't read.
        """
        self._needs_own("unassign")
        await io().bridge(self._unassign(Partition(topic, partition)))

    async def _move(self, what: str, position: Position) -> None:
        self._needs_own(what)
        await io().bridge(self._go(position))

    async def _go(self, position: Position) -> None:
        read = self._backend.state()
        topics = sorted({p.topic for p in read})
        start: dict[Partition, Offset] = {}
        for topic in topics:
            start.update(await self._connection.resolve(topic, position))
        await self._pump.assign({p: at for p, at in start.items() if p in read})

    async def _assign(self, partition: Partition, start: Any) -> None:
        position = self._start
        if start is not None:
            position = positions.parse(start, what="start", clock=SYSTEM)
        there = await self._connection.resolve(partition.topic, position)
        if partition not in there:
            numbers = ", ".join(str(p.number) for p in sorted(there))
            raise UsageError(
                f"assign({partition.topic!r}, {partition.number}): {partition.topic} has no "
                f"such partition. There are: {numbers}."
            )
        at: Offset = there[partition]
        if self.group is not None and start is None:
            done = await self._connection.committed(self.group, partition.topic)
            at = done[partition].next if partition in done else at
        await self._pump.assign({partition: at})

    async def _unassign(self, partition: Partition) -> None:
        read = self._backend.state()
        if partition not in read:
            listed = ", ".join(f"{p.topic} p{p.number}" for p in sorted(read))
            raise UsageError(
                f"unassign({partition.topic!r}, {partition.number}): this consumer doesn't "
                f"read that. It reads: {listed or 'nothing'}."
            )
        await self._pump.unassign(partition)

    # -- how it goes --------------------------------------------------------------------------

    @property
    def state(self) -> Mapping[Partition, PartitionState]:
        """How far the program is in each partition it reads."""
        return self._ledger.states()

    @property
    def lag(self) -> int | None:
        """How many messages are still ahead; None if the broker doesn't tell."""
        behind = [state.behind for state in self.state.values()]
        if any(count is None for count in behind):
            return None
        return sum(count or 0 for count in behind)

    @property
    def lost(self) -> int:
        """Messages that were asked for and that the broker no longer had."""
        return int(self._backend.lost)

    @property
    def trouble(self) -> str | None:
        """Why nothing comes just now, or why nothing was committed; None if all is well."""
        return self._backend.trouble or self._pump.trouble

    @property
    def member(self) -> str | None:
        """What it is called in the group it shares; None if it shares none."""
        return None if self.mode != "load-balanced" else str(self._backend.name)

    @property
    def rebalances(self) -> int:
        """How often partitions came or went since it joined its group."""
        return int(self._backend.rebalances) if self.mode == "load-balanced" else 0

    @property
    def news(self) -> str:
        """The last such event in a clause, or ""."""
        return str(self._backend.news) if self.mode == "load-balanced" else ""

    # -- its end ------------------------------------------------------------------------------

    async def end(self, *, crash: bool = False) -> None:
        """Commit what is done, leave the group and close; may be called twice.

        Args:
            crash: be gone as in a crash: nothing committed, nobody told. For trying out what
                comes again.

        Raises:
            BrokerError: it was closed, but what was done could not be committed.
        """
        if self._closed:
            return
        self._closed = True
        commits = self.group is not None and not crash and self._ledger.error is None
        await io().bridge(self._end(commits=commits, crash=crash))

    async def _end(self, *, commits: bool, crash: bool) -> None:
        try:
            if commits:
                await self._pump.commit()
        finally:
            await self._pump.close(crash=crash)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.end()

    def _needs_group(self, what: str) -> None:
        if self.group is None:
            raise needs_group(what)

    def _needs_own(self, what: str) -> None:
        if self.mode == "load-balanced":
            raise needs_own(what, self.group or "")

    def __repr__(self) -> str:
        group = f", group={self.group!r}" if self.group else ""
        return f"<Consumer {', '.join(self._names.given)} ({self.mode}{group})>"
