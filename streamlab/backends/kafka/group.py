"""A member of a Kafka group as a consumer: what is ours is read as by any other reader.

Kafka takes all partitions away at each rebalance and gives out shares anew (its "eager" way). A
partition begins at its commit, even if it comes back to the member that just had it: what that
member had read beyond its commit comes again, and is never lost.

Where a group has not committed, its start is resolved once, by the member who joins first, and
committed. Otherwise "latest" would be a later place for each member that takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial

from streamlab.backends.base import Consumer, Revoked
from streamlab.backends.kafka import admin as kafka_admin
from streamlab.backends.kafka.clerk import Clerk
from streamlab.backends.kafka.membership import Membership
from streamlab.backends.kafka.news import News
from streamlab.backends.kafka.options import Settings
from streamlab.clocks import SYSTEM
from streamlab.errors import (
    BrokerError,
    ConnectError,
    ModeError,
    TopicNotFoundError,
)
from streamlab.records import (
    Earliest,
    Mark,
    Offset,
    Partition,
    PartitionState,
    Position,
    Records,
    Resolved,
)

log = logging.getLogger("streamlab")
Resolve = Callable[[str, Position], Awaitable[Resolved]]
# A rebalance waits for a receive under way, so that none may take long.
_SLICE_S = 0.2
_JOIN_S = 5.0
_AGAIN_S = 0.5
_numbers = itertools.count(1)


class KafkaGroupConsumer:
    """Reads its share of some topics; owned by one task, but for what the group does to it."""

    def __init__(
        self,
        settings: Settings,
        clerk: Clerk,
        reader: Consumer,
        *,
        group: str,
        start: Position,
        revoked: Revoked,
        resolve: Resolve,
        name: str | None = None,
    ) -> None:
        """Not joined yet.

        Args:
            settings: of the connection.
            clerk: asks the brokers.
            reader: reads what is ours; has nothing to read yet.
            group: its name.
            start: where partitions begin that the group has not committed.
            revoked: awaited before partitions are taken away.
            resolve: finds the offsets of a position.
            name: what this member is called; None makes one up.
        """
        self._clerk = clerk
        self._reader = reader
        self._group = group
        self._start = start
        self._revoked = revoked
        self._resolve = resolve
        self._name = name or f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        self._membership = Membership(settings, group, self._name, self)
        self._news = News(partial(kafka_admin.describe, clerk, group), self._name)
        self._begin: dict[Partition, Offset] = {}
        self._owned: frozenset[Partition] = frozenset()
        self._last: frozenset[Partition] | None = None
        self._handed_out: Counter[Partition] = Counter()
        self._rebalances = 0
        self._reading = asyncio.Lock()
        self._ready = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None
        self._failure: BrokerError | None = None
        self._trouble: str | None = None
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def rebalances(self) -> int:
        return self._rebalances

    @property
    def news(self) -> str:
        return self._news.text

    @property
    def ended(self) -> bool:
        return self._closed

    @property
    def closed(self) -> bool:
        """Whether it has left its group."""
        return self._closed

    @property
    def lost(self) -> int:
        return self._reader.lost

    @property
    def trouble(self) -> str | None:
        waiting = not (self._ready.is_set() or self._closed)
        return (
            self._membership.trouble
            or self._trouble
            or self._reader.trouble
            or (
                f"group {self._group!r} is dividing its partitions" if waiting else None
            )
        )

    async def join(self, topics: Sequence[str]) -> None:
        """Become a member; waits some seconds for the first share.

        Raises:
            BrokerError: the cluster can't be reached, or doesn't let us in.
        """
        try:
            await self._note_begin(topics)
            await self._membership.join(topics)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_JOIN_S):
                    while not self._ready.is_set():
                        self._check()
                        await self._until_ready(_SLICE_S)
        except BaseException:
            await self.aclose()
            raise

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        end = SYSTEM.running() + max_wait
        while not self._closed:
            self._check()
            left = max(0.0, end - SYSTEM.running())
            if not self._ready.is_set():
                await self._until_ready(min(left, _SLICE_S))
            elif blocks := await self._read(max_records, min(left, _SLICE_S)):
                return blocks
            if SYSTEM.running() >= end:
                break
        return ()

    def state(self) -> Mapping[Partition, PartitionState]:
        given = self._handed_out
        return {
            p: each._replace(handed_out=given[p])
            for p, each in self._reader.state().items()
            if p in self._owned
        }

    async def commit(self, upto: Mapping[Partition, Mark]) -> None:
        done = {p: int(mark.next) for p, mark in upto.items() if p in self._owned}
        if done:
            await self._membership.commit(done)

    async def subscribe(self, topics: Sequence[str]) -> None:
        self._ready.clear()
        await self._membership.subscribe(topics)

    async def assign(self, start: Resolved) -> None:
        del start
        raise self._refusal("assign()")

    async def unassign(self, partitions: Collection[Partition]) -> None:
        del partitions
        raise self._refusal("unassign()")

    async def abandon(self) -> None:
        await self._end(self._membership.abandon())

    async def aclose(self) -> None:
        await self._end(self._membership.leave())

    # ---- what the membership tells ---------------------------------------------

    async def taken(self, partitions: frozenset[Partition]) -> None:
        """All partitions go once this returns."""
        self._ready.clear()
        await self._unsettle()
        # After it was mended the membership no longer knows what is ours.
        partitions |= self._owned
        if partitions:
            async with self._reading:
                pass  # whoever is being handed records has noted them after this
            try:
                async with asyncio.timeout(self._membership.patience):
                    await self._revoked(partitions)
            except TimeoutError:
                log.warning(
                    "group %s: finishing partitions took too long; they went unfinished",
                    self._group,
                )
            except Exception:
                log.exception("group %s: finishing partitions failed", self._group)
        self._owned = frozenset()
        async with self._reading:
            await self._reader.unassign(tuple(self._reader.state()))

    def given(self, partitions: frozenset[Partition]) -> None:
        """These partitions are ours."""
        self._owned = partitions
        if self._last is not None and self._last != partitions:
            self._rebalances += 1
        self._last = partitions
        if self._settling is not None:
            self._settling.cancel()
        # No heartbeat goes out before this returns, so the rest is done in the background.
        self._settling = asyncio.create_task(
            self._settle(partitions), name=f"kafka group {self._group}"
        )
        self._membership.well()
        self._news.look()

    async def _settle(self, partitions: frozenset[Partition]) -> None:
        """Find where they begin and read from there."""
        while True:
            try:
                await self._settle_once(partitions)
            except ConnectError as error:
                self._trouble = str(error)
                await SYSTEM.sleep(_AGAIN_S)
            except BrokerError as error:
                self._failure = error
                return
            else:
                self._trouble = None
                return

    async def _settle_once(self, partitions: frozenset[Partition]) -> None:
        committed = await kafka_admin.all_committed(self._clerk, self._group)
        start = {p: committed[p].next for p in partitions if p in committed}
        fresh = await self._first_places(partitions - start.keys())
        if fresh:
            await self._membership.commit({p: int(at) for p, at in fresh.items()})
        async with self._reading:
            await self._reader.assign({**start, **fresh})
        self._ready.set()

    async def _first_places(
        self, partitions: Collection[Partition]
    ) -> dict[Partition, Offset]:
        """Where partitions begin that the group never committed."""
        found = {p: self._begin[p] for p in partitions if p in self._begin}
        # What came to be after the group began belongs to it from the first record on.
        for topic in {p.topic for p in partitions if p not in found}:
            earliest = await self._resolve(topic, Earliest())
            found |= {
                p: at
                for p, at in earliest.items()
                if p in partitions and p not in found
            }
        return found

    # ---- within -------------------------------------------------------------------

    async def _note_begin(self, topics: Sequence[str]) -> None:
        for topic in topics:
            # A topic that isn't there yet is read from its first record on.
            with contextlib.suppress(TopicNotFoundError):
                self._begin.update(await self._resolve(topic, self._start))

    async def _read(self, max_records: int, max_wait: float) -> Sequence[Records]:
        async with self._reading:
            if not self._ready.is_set():
                return ()
            blocks = await self._reader.receive(max_records, max_wait)
        for block in blocks:
            self._handed_out[block.partition] += len(block.values)
        return blocks

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._membership.check()

    async def _until_ready(self, most: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), most)

    async def _unsettle(self) -> None:
        task, self._settling = self._settling, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _end(self, going: Awaitable[None]) -> None:
        self._closed = True
        self._ready.clear()
        await self._unsettle()
        await asyncio.gather(going, self._reader.aclose(), self._news.aclose())

    def _refusal(self, call: str) -> ModeError:
        return ModeError(
            f"{call}: who reads what of group {self._group!r} is the broker's to say. "
            "Without a group, partitions can be chosen: leave group= out."
        )
