"""A member of a group of the broker in memory: what a load-balanced reader holds."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

from streamlab.backends.base import Revoked
from streamlab.backends.inprocess.log_reader import LogConsumer
from streamlab.backends.memory.groups import Group, Seat
from streamlab.errors import ConnectError, ModeError
from streamlab.records import Mark, Partition, PartitionState, Records, Resolved

_numbers = itertools.count(1)
log = logging.getLogger("streamlab")


class MemoryMember:
    """Shares topics with others; owned by one task.

    Beside it a task of its own says that it lives, gives up what others are to have and takes
    what has become its own.
    """

    def __init__(
        self,
        group: Group,
        reader: LogConsumer,
        topics: Sequence[str],
        begin: Resolved,
        *,
        place: str,
        session: float,
        revoked: Revoked,
        earliest: Callable[[Sequence[str]], Awaitable[Resolved]],
        name: str | None,
    ) -> None:
        """Join; on the loop that will read."""
        self._group, self._reader = group, reader
        self._place = place
        self._revoked, self._earliest = revoked, earliest
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._handed_out: dict[Partition, int] = {}
        self._error: Exception | None = None
        self._gone = False
        named = name or f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        self._seat = Seat(named, tuple(topics), begin, session, self._wake)
        group.join(self._seat)
        self._keeper = self._loop.create_task(self._keep(), name=f"group {group.name}")
        self._keeper.add_done_callback(self._kept)

    # -- reading -------------------------------------------------------------------------

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        blocks = await self._reader.receive(max_records, max_wait)
        for block in blocks:
            before = self._handed_out.get(block.partition, 0)
            self._handed_out[block.partition] = before + len(block.values)
        return blocks

    def state(self) -> Mapping[Partition, PartitionState]:
        return {
            p: state._replace(handed_out=self._handed_out.get(p, 0))
            for p, state in self._reader.state().items()
        }

    @property
    def ended(self) -> bool:
        return False

    @property
    def lost(self) -> int:
        return self._reader.lost

    @property
    def trouble(self) -> str | None:
        return self._reader.trouble

    async def assign(self, start: Resolved) -> None:
        del start
        raise self._not_ours_to_say("assign")

    async def unassign(self, partitions: Collection[Partition]) -> None:
        del partitions
        raise self._not_ours_to_say("unassign")

    # -- the group -----------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._seat.name

    @property
    def rebalances(self) -> int:
        return self._seat.rebalances

    @property
    def news(self) -> str:
        return self._group.news

    async def commit(self, upto: Mapping[Partition, Mark]) -> None:
        if self._gone:
            raise ConnectError(f"{self._place}: {self.name} has left its group.")
        if trouble := self._reader.trouble:
            raise ConnectError(
                f"nobody answers at {self._place}: {trouble}. Nothing was committed."
            )
        self._group.commit_for(self._seat, upto)

    async def subscribe(self, topics: Sequence[str]) -> None:
        new = [topic for topic in topics if topic not in self._seat.topics]
        self._group.subscribe(self._seat, topics, await self._earliest(new))

    async def aclose(self) -> None:
        await self._end()
        self._group.leave(self._seat)

    async def abandon(self) -> None:
        await self._end()
        self._group.crash(self._seat)

    async def _end(self) -> None:
        self._gone = True
        self._keeper.cancel()
        await self._reader.aclose()
        if asyncio.current_task() is not self._keeper:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._keeper], timeout=1)

    def _not_ours_to_say(self, what: str) -> ModeError:
        return ModeError(
            f"{what}: {self.name} shares the group {self._group.name!r} (load-balanced), and "
            'the broker says who reads what. To choose by hand: mode="resumable".'
        )

    # -- the task beside -----------------------------------------------------------------

    def _wake(self) -> bool:
        """Look again; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # its loop is closed: it will never look
            return False
        return True

    async def _keep(self) -> None:
        while not self._gone:
            self._woken.clear()
            giving = self._group.look(self._seat)
            if giving is None:
                # Taken for dead while its loop was busy: what it read belongs to others now.
                await self._give(frozenset(self._reader.state()))
                self._group.join(self._seat)
                self._seat.rebalances += 1
            elif giving:
                await self._give(giving)
                self._group.release(self._seat, giving)
            await self._reader.assign(self._group.take(self._seat))
            await self._rest()

    async def _give(self, partitions: frozenset[Partition]) -> None:
        await self._reader.unassign(partitions)
        try:
            await self._revoked(partitions)
        except Exception as error:  # noqa: BLE001 - raised to who reads; the group goes on
            log.warning("giving up partitions failed: %s", error)
            self._error = error

    async def _rest(self) -> None:
        """Until woken, or until it is time to say that it lives or to look after others."""
        seconds, by_machine = self._group.patience(self._seat)
        clock = self._group.clock()
        sleep = asyncio.sleep if by_machine else clock.sleep
        timer = asyncio.create_task(self._ring(sleep, seconds))
        try:
            await self._woken.wait()
        finally:
            timer.cancel()

    async def _ring(
        self, sleep: Callable[[float], Awaitable[None]], seconds: float
    ) -> None:
        await sleep(seconds)
        self._woken.set()

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        error = None if keeper.cancelled() else keeper.exception()
        if isinstance(error, Exception):
            self._error = error
            self._group.crash(self._seat)
