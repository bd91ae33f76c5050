"""Sharing topics on Redis: a member of a group, all of whose members read all streams.

Who asks first is given an entry, and has it until it is acknowledged. A member that closes
without having done so keeps it if it was named, for it may come back under its name; the others
take over what one of no name leaves at their next look, and what a silent member has
(`claim_idle`, 60 s) as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Mapping,
    Sequence,
)
from typing import Any

import hiredis

from streamlab.backends.redis import groupfacts as redis_groupfacts
from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis.catalogue import Catalogue
from streamlab.backends.redis.groupfacts import LEFT
from streamlab.backends.redis.ids import Id
from streamlab.backends.redis.ledger import Ledger
from streamlab.backends.redis.lines import Lines, Question, question
from streamlab.backends.redis.merge import Merge
from streamlab.backends.redis.route import Route
from streamlab.backends.redis.sharer import Sharer
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError, ModeError
from streamlab.records import Mark, Partition, PartitionState, Records, Resolved

_DISCOVER_S = 5.0
_STUCK_S = 300.0  # Kafka's max.poll.interval
# Not the very last id: Redis takes that for ">", and would hand out new entries.
_BEHIND_ALL = redis_ids.text(redis_ids.before(redis_ids.LAST))
_CLOSE_S = 1.5
_ACKED = 10_000  # ids in one XACK: the server does nothing else meanwhile
_PAGE = 1_000
_TRIES = 5
_LONG_AGO_MS = 86_400_000
_numbers = itertools.count(1)
# Where a topic's partitions begin for a group that is new; {} where the topic is not there.
Begin = Callable[[str], Awaitable[Resolved]]


def own_name() -> str:
    """Host, process and number: what a member without a name is called."""
    return f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"


class RedisGroupConsumer:
    """One member; owned by one task."""

    def __init__(
        self,
        route: Route,
        catalogue: Catalogue,
        *,
        group: str,
        name: str | None,
        begin: Begin,
        forget: Callable[[RedisGroupConsumer], None],
    ) -> None:
        """Not a member yet: `subscribe` makes it one.

        Args:
            route: the way to the streams.
            catalogue: knows what streams there are.
            group: to be a member of; made if it isn't there.
            name: what it is called there; None makes one that nobody will use again.
            begin: where streams begin that the group has not read.
            forget: called once it is closed.
        """
        self.name = name or own_name()
        self.rebalances = 0
        self.news = ""
        self._comes_back = name is not None
        self._route, self._catalogue = route, catalogue
        self._group = group
        self._begin = begin
        self._forget = forget
        self._lines = Lines(route)
        self._ledger = Ledger()
        self._merge = Merge()
        self._sharers: dict[Hashable, Sharer] = {}
        self._topics: tuple[str, ...] = ()
        self._streams: dict[Partition, str] = {}
        self._states: dict[Partition, PartitionState] = {}
        self._looked_at = self._called_at = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[list[Partition]] | None = None
        self._closed = False

    # ---- what a backend must do ---------------------------------------------

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        if self._closed:
            return ()
        self._called_at = SYSTEM.running()
        await self._discover()
        sharers = [*self._sharers.values()]
        blocks = await self._merge.receive(sharers, max_records, max_wait)
        for block in blocks:
            last: Any = block.offsets[-1]
            before = self._states[block.partition]
            self._states[block.partition] = before._replace(
                next=redis_ids.text(redis_ids.after(redis_ids.pair(last))),
                handed_out=before.handed_out + len(block.values),
            )
        return blocks

    def state(self) -> Mapping[Partition, PartitionState]:
        held = {block.partition for block in self._merge.held}
        waits = {
            partition: sharer.waits and partition not in held
            for sharer in self._sharers.values()
            for partition in sharer.keys.values()
        }
        return {
            partition: self._states[partition]._replace(
                caught_up=waiting, behind=0 if waiting else None
            )
            for partition, waiting in waits.items()
        }

    @property
    def ended(self) -> bool:
        return self._closed

    @property
    def lost(self) -> int:
        return 0

    @property
    def skipped(self) -> int:
        """Entries without the payload field: passed over, not delivered."""
        return sum(sharer.skipped for sharer in self._sharers.values())

    @property
    def trouble(self) -> str | None:
        return next((s.trouble for s in self._sharers.values() if s.trouble), None)

    async def assign(self, start: Resolved) -> None:
        raise self._refusal("assign", [*start])

    async def unassign(self, partitions: Collection[Partition]) -> None:
        raise self._refusal("unassign", partitions)

    async def commit(self, upto: Mapping[Partition, Mark]) -> None:
        due = [
            (key, entries)
            for partition, mark in upto.items()
            for key, entries in self._ledger.due(partition, mark.handed_out)
        ]
        useless = self._ledger.useless()
        try:
            await self._acknowledge([*due, *useless.items()])
        except BaseException:
            for key, entries in useless.items():
                self._ledger.pass_over(key, entries)
            raise
        for partition, mark in upto.items():
            self._ledger.settle(partition, mark.handed_out)

    async def subscribe(self, topics: Sequence[str]) -> None:
        await self._merge.settle_all()
        before, self._topics = self._topics, tuple(topics)
        left = [p for p in self._streams if p.topic not in self._topics]
        for partition in left:
            await self._leave(partition)
        for topic in self._topics:
            began = await self._begin(topic)
            if (
                before and topic not in before
            ):  # nothing of it was there to be passed over
                began = dict.fromkeys(began, "0-1")
            await self._enter(began or {Partition(topic, 0): "0-1"})
        self._looked_at = self._called_at = SYSTEM.running()
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())

    async def abandon(self) -> None:
        await self._end()

    async def aclose(self) -> None:
        if self._closed:
            return
        # Whoever is silent is taken over all the same, only later.
        try:
            with contextlib.suppress(BrokerError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._fall_silent()
                    await self._merge.settle_all()
                    await asyncio.gather(*(s.aclose() for s in self._sharers.values()))
                    await self._acknowledge([*self._ledger.useless().items()])
                    for stream in self._streams.values():
                        await self._depart(stream)
        finally:
            await self._end()

    # ---- within -------------------------------------------------------------

    def _refusal(self, call: str, partitions: Collection[Partition]) -> ModeError:
        names = ", ".join(f"{p.topic}/{p.number}" for p in partitions)
        return ModeError(
            f"{call}({names}): the members of group {self._group!r} share all partitions. "
            f"Read without a group, or with mode='resumable', to {call} them by hand."
        )

    def _claimed(self, owner: bytes, count: int, *, first: bool) -> None:
        """Records of a silent member were taken over."""
        name = owner.decode(errors="backslashreplace")
        whose = "members that left" if owner == LEFT else name
        self.rebalances += first
        self.news = f"took over {count} records of {whose}"

    async def _beat(self) -> None:
        """Be heard of while the caller is busy with what it has: silence would mean death.

        A caller that never comes back for more is as good as dead.
        """
        while True:
            await SYSTEM.sleep(self._lines.settings.claim_idle / 4)
            if SYSTEM.running() - self._called_at > _STUCK_S:
                continue
            words = ("XREADGROUP", "GROUP", self._group, self.name, "COUNT", 1)
            with contextlib.suppress(BrokerError):
                # Own entries behind the last id there can be: none, but it asked.
                await self._lines.ask_all(
                    [
                        question(name, *words, "STREAMS", name, _BEHIND_ALL)
                        for name in self._streams.values()
                    ]
                )

    async def _discover(self) -> None:
        """Now and then look for streams that have come since, and share them.

        A look goes on beside the reading: while the server is silent it takes seconds, in which
        the readers would not notice that it is.
        """
        if self._looking is None and SYSTEM.running() - self._looked_at >= _DISCOVER_S:
            self._looked_at = SYSTEM.running()
            self._looking = asyncio.create_task(self._new_streams())
        if self._looking is None or not self._looking.done():
            return
        looked, self._looking = self._looking, None
        # The readers lose the server too, and say so.
        with contextlib.suppress(ConnectionError):
            # They came while we were looking: all that is in them is new.
            if new := {p: "0-1" for p in looked.result() if p.topic in self._topics}:
                await self._merge.settle_all()
                await self._enter(new)

    async def _new_streams(self) -> list[Partition]:
        """Partitions whose streams are not shared yet, or are other ones by now."""
        found: list[Partition] = []
        for topic in self._topics:
            for partition in await self._catalogue.partitions(topic):
                stream = self._catalogue.streams[partition]
                if self._streams.get(partition) != stream:
                    found.append(partition)
        return found

    async def _enter(self, start: Resolved) -> None:
        """Be a member on these streams; groups that are not there begin at `start`."""
        known = self._catalogue.streams
        streams = {p: known.get(p) or self._catalogue.name_for(p) for p in start}
        questions: list[Question] = []
        for partition, stream in streams.items():
            place = redis_ids.wire(redis_ids.before(redis_ids.given(start[partition])))
            words = ("XGROUP", "CREATE", stream, self._group, place, "MKSTREAM")
            questions.append(question(stream, *words))
            joining = ("XGROUP", "CREATECONSUMER", stream, self._group, self.name)
            questions.append(question(stream, *joining))
            questions.append(question(stream, "XINFO", "GROUPS", stream))
        replies = await self._lines.ask_all(questions)
        for n, (partition, stream) in enumerate(streams.items()):
            made, joined, groups = replies[3 * n : 3 * n + 3]
            if not _says(made, "BUSYGROUP"):
                self._lines.good(made, partition.topic)
            self._lines.good(joined, partition.topic)
            self._share(partition, stream, self._began(groups, partition))

    def _began(self, groups: Any, partition: Partition) -> Id:
        name = self._group.encode()
        there = redis_groupfacts.groups(self._lines.good(groups, partition.topic))
        return next((g.last for g in there if g.name == name), redis_ids.NONE)

    def _share(self, partition: Partition, stream: str, began: Id) -> None:
        old = self._streams.get(partition)
        if old == stream:
            return
        if old is not None:
            self._sharers[self._route.together(old)].leave(old.encode())
        place = self._route.together(stream)
        if place not in self._sharers:
            self._sharers[place] = Sharer(
                self._route.reader(stream),
                self._catalogue.shapes,
                group=self._group,
                name=self.name,
                ledger=self._ledger,
                claimed=self._claimed,
            )
        self._sharers[place].share(stream.encode(), partition, began)
        self._streams[partition] = stream
        first = redis_ids.text(redis_ids.after(began))
        state = PartitionState(first, caught_up=False, ended=False, behind=None)
        self._states.setdefault(partition, state)

    async def _leave(self, partition: Partition) -> None:
        stream = self._streams.pop(partition)
        sharer = self._sharers[self._route.together(stream)]
        sharer.leave(stream.encode())
        if not sharer.keys:
            del self._sharers[self._route.together(stream)]
            await sharer.aclose()
        kept = [b for b in self._merge.held if b.partition != partition]
        self._merge.held.clear()
        self._merge.held.extend(kept)

    async def _acknowledge(self, due: Sequence[tuple[bytes, Sequence[bytes]]]) -> None:
        questions = [
            question(key.decode(), "XACK", key, self._group, *ids[i : i + _ACKED])
            for key, ids in due
            for i in range(0, len(ids), _ACKED)
        ]
        for reply in await self._lines.ask_all(questions):
            self._lines.good(reply)

    async def _depart(self, stream: str) -> None:
        """Leave no trace, but for what others, or we once back, have to do."""
        for _ in range(_TRIES):
            page = await self._left(stream)
            if page and self._comes_back:
                return
            while page:
                words = ("XCLAIM", stream, self._group, LEFT, 0)
                old = ("IDLE", _LONG_AGO_MS, "JUSTID")
                await self._lines.ask(stream, *words, *page, *old)
                page = await self._left(stream)
            # A read that still waits over there may be given something meanwhile, and who
            # takes a member away takes its entries too. Only a new entry can wake that read.
            removing = ("XGROUP", "DELCONSUMER", stream, self._group, self.name)
            commands = (("MULTI",), removing, ("EXEC",))
            replies = await self._lines.ask_all(
                [question(stream, *words) for words in commands]
            )
            if replies[-1] is not None:
                return

    async def _left(self, stream: str) -> list[bytes]:
        """Entries this member has; whatever is added to the stream from now on is noticed."""
        words = ("XPENDING", stream, self._group, "-", "+", _PAGE, self.name)
        _, page = await self._lines.ask_all(
            [question(stream, "WATCH", stream), question(stream, *words)]
        )
        return [entry[0] for entry in self._lines.good(page)]

    async def _fall_silent(self) -> None:
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._forget(self)
        beside = [t for t in (self._beating, self._looking) if t is not None]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await self._merge.settle_all()
        await asyncio.gather(*(sharer.aclose() for sharer in self._sharers.values()))
        await self._lines.aclose()


def _says(reply: Any, word: str) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(word)
