"""What stands behind a program's producer on the I/O loop: sends what waits, in large pieces."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from streamlab.backends.base import Connection, Producer, Transactions
from streamlab.errors import BrokerError, UsageError
from streamlab.runtime.loop import io
from streamlab.topics.outbox import Letter, Outbox, columns

PIECE = 10_000  # messages in one request


class Mailer:
    """Sends a producer's letters; owned by the I/O loop.

    Letters of one topic go in the order of sending, of several topics side by side.
    """

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox,
        *,
        partition_by: str | Callable[[bytes | None, bytes | None, int], int],
        partitions: int | None,
        transactions: Transactions | None,
    ) -> None:
        """Make it; the first letter makes a connection."""
        self._connection, self._outbox = connection, outbox
        self._by, self._partitions = partition_by, partitions
        self._transactions = transactions
        self._producers: dict[str, Producer] = {}
        self._turns: dict[str, int] = {}
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()

    def wake(self) -> None:
        """There are letters."""
        if not self._busy:
            self._busy = True
            self._idle.clear()
            io().spawn(self._send_all(), name="producer", failed=lambda _: None)

    async def flush(self) -> None:
        """Until all letters have been answered."""
        while self._outbox.open:
            self.wake()
            await self._idle.wait()

    async def abort(self) -> None:
        """Take a transaction back; what was sent in it has been answered."""
        await self.flush()
        if self._transactions is not None:
            await self._transactions.abort()

    async def close(self) -> None:
        """Give the connections back."""
        for producer in self._producers.values():
            await producer.aclose()
        if self._transactions is not None:
            await self._transactions.aclose()

    async def _send_all(self) -> None:
        letters: Sequence[Letter] = ()
        try:
            while letters := self._outbox.take():
                by_topic: dict[str, list[Letter]] = {}
                for letter in letters:
                    by_topic.setdefault(letter.topic, []).append(letter)
                await asyncio.gather(*map(self._send_topic, by_topic.values()))
        except BaseException as error:
            stopped = BrokerError("it was not sent: the producer was stopped.")
            stopped.__cause__ = error
            self._outbox.settle(
                [x for x in letters if not x.pending.done()], None, stopped
            )
            raise
        finally:
            self._busy = False
            self._idle.set()

    async def _send_topic(self, letters: Sequence[Letter]) -> None:
        for _, alike in itertools.groupby(letters, key=lambda letter: letter.kind):
            some = list(alike)
            for at in range(0, len(some), PIECE):
                await self._send_piece(some[at : at + PIECE])

    async def _send_piece(self, letters: Sequence[Letter]) -> None:
        try:
            producer = await self.producer(letters[0].topic)
            placed = [self._placed(letter, producer.partitions) for letter in letters]
            answer = await producer.send(columns(placed))
        except Exception as error:  # noqa: BLE001 - it is the sender's
            self._outbox.settle(letters, None, error)
        else:
            self._outbox.settle(letters, answer, None)

    async def producer(self, topic: str) -> Producer:
        """The writer to a topic, made on first use."""
        if topic not in self._producers:
            if self._transactions is not None:
                made = await self._transactions.producer(topic)
            else:
                made = await self._connection.producer(
                    topic, partitions=self._partitions
                )
            self._producers[topic] = made
        return self._producers[topic]

    def _placed(self, letter: Letter, partitions: int) -> Letter:
        """A letter with its partition, where that is ours to choose."""
        if letter.partition is not None or self._by == "key":
            return letter
        if isinstance(self._by, str):  # round-robin
            chosen = self._turns.get(letter.topic, 0) % partitions
            self._turns[letter.topic] = chosen + 1
        else:
            chosen = self._by(letter.key, letter.value, partitions)
            if not 0 <= chosen < partitions:
                raise UsageError(
                    f"partition_by chose {chosen!r} for {letter.topic}, which has "
                    f"{partitions} partitions, numbered from 0."
                )
        return letter._replace(partition=chosen)
