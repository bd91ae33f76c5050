"""Messages on their way from a program to its broker, and their receipts.

Filled on the program's loop, emptied on the I/O loop, in the order of sending; what is waiting
when the broker has answered goes out together.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from typing import NamedTuple

from streamlab.errors import BrokerError
from streamlab.records import Headers, Outgoing, Sent
from streamlab.topics.message import Receipt

# Who waits for a receipt; hardly ever more than one.
Waiters = tuple[tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"], ...]


class Letter(NamedTuple):
    """One message to be sent; `partition` and `timestamp_ms` as wished, or None."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers
    timestamp_ms: int | None
    partition: int | None
    pending: Pending

    @property
    def kind(self) -> tuple[str, bool, bool]:
        """Letters of one kind can go out together, as columns."""
        return (self.topic, self.partition is None, self.timestamp_ms is None)


class Pending:
    """A receipt that is awaited: `receipt = await pending`. It may also be left alone."""

    __slots__ = ("_answer", "_at", "_error", "_lock", "_topic", "_waiters", "seen")

    def __init__(self, topic: str, lock: threading.Lock) -> None:
        """Not called by users: see `Producer.send_soon`."""
        self._topic, self._lock = topic, lock
        self._answer: Sent | None = None
        self._error: BaseException | None = None
        self._at = 0
        self._waiters: Waiters = ()
        self.seen = False

    def done(self) -> bool:
        """Whether the broker has answered."""
        return self._answer is not None or self._error is not None

    @property
    def error(self) -> BaseException | None:
        """Why it was not taken."""
        return self._error

    def receipt(self) -> Receipt:
        """The receipt, once it is done.

        Raises:
            BrokerError: the broker did not take it.
        """
        self.seen = True
        if self._error is not None:
            raise self._error
        answer = self._answer
        if answer is None:
            raise BrokerError(f"{self._topic}: no receipt yet; await it.")
        at = self._at
        return Receipt(
            self._topic,
            answer.partitions[at],
            answer.offsets[at],
            answer.timestamps_ms[at],
        )

    def __await__(self) -> Generator[None, None, Receipt]:
        with self._lock:
            waiter: asyncio.Future[None] | None = None
            if not self.done():
                loop = asyncio.get_running_loop()
                waiter = loop.create_future()
                self._waiters = (*self._waiters, (loop, waiter))
        if waiter is not None:
            yield from waiter
        return self.receipt()

    def settle(
        self, answer: Sent | None, at: int, error: BaseException | None
    ) -> Waiters:
        """The broker has answered; returns who waits for that. With the lock held."""
        self._answer, self._at, self._error = answer, at, error
        waiters, self._waiters = self._waiters, ()
        return waiters


class Outbox:
    """Letters in the order of sending; any thread."""

    def __init__(self) -> None:
        """Begin empty."""
        self.lock = threading.Lock()
        self._letters: list[Letter] = []
        self._failed: list[Pending] = []
        self._open = 0

    def put(self, letter: Letter) -> bool:
        """Add a letter; whether it is the first one, so that somebody must be told."""
        with self.lock:
            self._letters.append(letter)
            self._open += 1
            return len(self._letters) == 1

    def take(self) -> list[Letter]:
        """All that waits."""
        with self.lock:
            letters, self._letters = self._letters, []
            return letters

    @property
    def open(self) -> int:
        """How many letters have no answer yet."""
        return self._open

    def settle(
        self, letters: Sequence[Letter], answer: Sent | None, error: Exception | None
    ) -> None:
        """The broker has answered these."""
        waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        with self.lock:
            self._open -= len(letters)
            for at, letter in enumerate(letters):
                waiters += letter.pending.settle(answer, at, error)
            if error is not None:
                self._failed += [letter.pending for letter in letters]
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for loop, waiter in waiters:
            by_loop.setdefault(loop, []).append(waiter)
        for loop, some in by_loop.items():
            try:
                loop.call_soon_threadsafe(_wake, some)
            except RuntimeError:  # that program's loop is closed
                continue

    def unseen(self) -> BaseException | None:
        """The first failure that nobody has looked at, once."""
        with self.lock:
            failed, self._failed = self._failed, []
        return next((p.error for p in failed if not p.seen), None)


def columns(letters: Sequence[Letter]) -> Outgoing:
    """Letters of one kind as rows."""
    first = letters[0]
    keyed = any(letter.key is not None for letter in letters)
    headed = any(letter.headers for letter in letters)
    stamped, placed = first.timestamp_ms is not None, first.partition is not None
    return Outgoing(
        [letter.value for letter in letters],
        keys=[letter.key for letter in letters] if keyed else None,
        timestamps_ms=[letter.timestamp_ms or 0 for letter in letters]
        if stamped
        else None,
        headers=[[*letter.headers] for letter in letters] if headed else None,
        partitions=[letter.partition or 0 for letter in letters] if placed else None,
    )


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
