"""What stands behind a program's consumer on the I/O loop: fetches, commits, notices new topics."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from streamlab.backends.base import Connection, Consumer, GroupConsumer
from streamlab.clocks import SYSTEM
from streamlab.errors import (
    BrokerError,
    GroupBusyError,
    StreamlabError,
    StreamStoppedError,
)
from streamlab.records import Committed, Mark, Partition, Resolved
from streamlab.runtime.loop import CLOSE_SECONDS, Supervised, io
from streamlab.topics.ledger import Ledger
from streamlab.topics.names import Names

LISTEN = 0.25  # seconds a silent receive may take; bounds how long a seek waits for it
LOOK_SECONDS = 3.0  # between looks for new partitions and topics
# How long a message in the program's hands may hold up partitions that others are to have.
FINISH_SECONDS = 1.0
log = logging.getLogger("streamlab")


class Share(NamedTuple):
    """How a pump's messages are shared, and committed.

    Attributes:
        group: None commits nothing.
        member: of that group, if its topics are shared.
        committed: what the group had committed at the beginning.
        every: seconds between commits; None leaves them to the program.
    """

    group: str | None = None
    member: GroupConsumer | None = None
    committed: Resolved | None = None
    every: float | None = None


class Pump:
    """One consumer's task; owned by the I/O loop.

    Attributes:
        low: with so many messages left, or fewer, more are fetched.
        trouble: why a periodic commit failed; None once one has succeeded.
    """

    def __init__(
        self,
        connection: Connection,
        consumer: Consumer,
        ledger: Ledger,
        names: Names,
        share: Share,
        *,
        topics: tuple[str, ...],
        most: int,
        ahead: bool,
        follow: bool,
    ) -> None:
        """Make it; `begin` starts it.

        Args:
            connection: where commits by hand go.
            consumer: what is read.
            ledger: where it goes.
            names: what topics were asked for.
            share: how it is shared and committed.
            topics: those that `names` stands for now.
            most: how many messages to fetch at once.
            ahead: fetch before they are asked for.
            follow: read partitions and topics that come to be.
        """
        self.trouble: str | None = None
        self._connection, self._consumer, self._ledger = connection, consumer, ledger
        self._names, self._share = names, share
        self._most, self.low = most, most // 2 if ahead else 0
        self._ahead, self._follow = ahead, follow
        self._commands: deque[
            tuple[Callable[[], Awaitable[None]], asyncio.Future[None]]
        ]
        self._commands = deque()
        self._wanted = asyncio.Event()
        self._asked = ahead
        self._closing = False
        self._task: Supervised | None = None
        self._over = False
        self._topics = topics
        self._committed: dict[Partition, object] = dict(share.committed or {})
        self._committing = asyncio.Lock()
        self._looked = self._saved = SYSTEM.running()

    # -- asked by the program ---------------------------------------------------------------

    def want(self) -> None:
        """The program waits for messages, or will soon."""
        self._asked = True
        self._wanted.set()

    async def do(self, command: Callable[[], Awaitable[None]]) -> None:
        """Run a command between two fetches."""
        if self._over:
            raise self._ledger.error or self._stopped()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commands.append((command, done))
        self._wanted.set()
        await done

    async def assign(self, start: Resolved) -> None:
        """Read these too, or from elsewhere."""

        async def command() -> None:
            await self._consumer.assign(start)
            self._ledger.move(start)

        await self.do(command)

    async def unassign(self, partition: Partition) -> None:
        """Read this one no more."""

        async def command() -> None:
            await self._consumer.unassign([partition])
            self._ledger.drop([partition])
            self._ledger.forget([partition])
            self._committed.pop(partition, None)

        await self.do(command)

    async def commit(self) -> None:
        """Commit what is done, as far as it isn't already."""
        async with self._committing:  # two at once could overtake one another
            self._saved = SYSTEM.running()
            if self._share.member is not None:
                done = self._ledger.done()
                await self._commit_marks(self._share.member, done)
            elif self._share.group is not None:
                await self._commit_places(self._share.group)
        self.trouble = None

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Others are to have these: finish what is in hand and commit it."""
        reached = self._ledger.drop(partitions)
        give_up = SYSTEM.running() + FINISH_SECONDS
        # The acks come from another loop, so they are looked for.
        while self._ledger.is_open(partitions) and SYSTEM.running() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        marks = self._ledger.low(reached)
        self._ledger.forget(partitions)
        if self._share.member is not None and not self._closing:
            await self._commit_marks(self._share.member, marks)
        for partition in partitions:
            self._committed.pop(partition, None)

    # -- its task ---------------------------------------------------------------------------

    def begin(self, name: str) -> None:
        """Start to fetch, as a task of that name."""
        # What it raises reaches the program through the ledger.
        self._task = io().spawn(self._run(), name=name, failed=lambda _: None)

    async def _run(self) -> None:
        try:
            while not self._closing:
                await self._step()
        except StreamlabError as error:
            # One that is being closed may say so.
            self._ledger.finish(None if self._closing else error)
        except asyncio.CancelledError:
            self._ledger.finish()
            raise
        except Exception as error:
            self._ledger.finish(error)
            raise
        finally:
            self._over = True
            while self._commands:
                _, done = self._commands.popleft()
                if not done.done():
                    done.set_exception(self._stopped())

    async def close(self, *, crash: bool) -> None:
        """End: politely, or as in a crash."""
        self._closing = True
        self._wanted.set()
        self._ledger.finish()
        if self._task is not None:
            # The consumer is this task's: it is closed once nobody reads from it.
            await self._task.ended(4 * LISTEN)
            self._task.cancel()
            await self._task.ended(LISTEN)
        member = self._share.member
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                if crash and member is not None:
                    await member.abandon()
                else:
                    await self._consumer.aclose()

    def forgotten(self) -> None:
        """The program has let go of its consumer without ending it; from any thread."""
        if not self._closing and io().running:
            closing = self.close(crash=False)
            io().spawn(closing, name="closing a consumer", failed=lambda _: None)

    async def _step(self) -> None:
        self._wanted.clear()
        while self._commands:
            await _answer(*self._commands.popleft())
        await self._look_after()
        ended = self._consumer.ended
        if ended and not self._ledger.ended:
            self._ledger.finish()
        hungry = len(self._ledger) <= self.low and (self._ahead or self._asked)
        if ended or not hungry:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LISTEN)
            return
        blocks = await self._consumer.receive(self._most, LISTEN)
        self._asked = self._asked and not blocks
        self._ledger.put(blocks, self._consumer.state())

    async def _look_after(self) -> None:
        """What is due: a commit, a look for new partitions."""
        now = SYSTEM.running()
        every = self._share.every
        if every is not None and now - self._saved >= every:
            try:
                await self.commit()
            except GroupBusyError:
                raise
            except BrokerError as error:
                self.trouble = f"not committed: {error}"
        if self._follow and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            # A broker that is away just now says so in other places.
            with suppress(BrokerError):
                await self._grow()

    async def _grow(self) -> None:
        if self._share.member is not None:
            if not self._names.patterns:
                return
            topics = await self._names.current()
            if topics != self._topics:
                await self._share.member.subscribe(topics)
            self._topics = topics
            return
        known = self._consumer.state()
        if known and (new := await self._names.grown(known)):
            await self._consumer.assign(new)

    # -- committing -------------------------------------------------------------------------

    async def _commit_marks(
        self, member: GroupConsumer, marks: dict[Partition, Mark]
    ) -> None:
        new = {p: mark for p, mark in marks.items() if self._committed.get(p) != mark}
        if new:
            await member.commit(new)
            self._committed |= new

    async def _commit_places(self, group: str) -> None:
        done = {p: mark.next for p, mark in self._ledger.done().items()}
        new = {p: at for p, at in done.items() if self._committed.get(p) != at}
        if new:
            await self._connection.commit(
                group, {p: Committed(at) for p, at in new.items()}
            )
            self._committed |= new

    def _stopped(self) -> StreamStoppedError:
        return StreamStoppedError(
            f"{', '.join(self._names.given)}: this consumer was ended."
        )


async def _answer(
    command: Callable[[], Awaitable[None]], done: asyncio.Future[None]
) -> None:
    try:
        await command()
    except Exception as error:  # noqa: BLE001 - it is the asker's
        if not done.done():
            done.set_exception(error)
    else:
        if not done.done():
            done.set_result(None)
