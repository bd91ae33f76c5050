"""FRAME: what a source may commit, and doing it.

A commit says "nothing before it is needed again": it passes neither the published version, nor
what a sink or a loop has not finished, nor the oldest record that an open window needs.
Everything here belongs to the I/O loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from streamlab.backends.base import Connection, Consumer, GroupConsumer
from streamlab.clocks import SYSTEM
from streamlab.engine.needs import Low, needed_by_both
from streamlab.errors import BrokerError
from streamlab.frames.feedspec import Sharing
from streamlab.frames.memo import written
from streamlab.frames.pipeline import Pipeline
from streamlab.records import Committed, Mark, Offset, Partition, offset_rank

EVERY = 5.0  # seconds between two commits; the kernel may be killed at any time
_PATIENCE = 60.0  # seconds to wait for windows of an earlier reading to be made again
_MOST_CUTS = 1_000


class Cut(NamedTuple):
    """Where a source stood after one micro-batch.

    Attributes:
        number: of the micro-batch.
        marks: how far it was in each partition.
        low: what the plans still needed then; None before there were any.
    """

    number: int
    marks: Mapping[Partition, Mark]
    low: Low | None


class Commits:
    """The commits of one reading.

    Attributes:
        done: what was committed last, per partition.
        trouble: why the last commit failed, or None.
    """

    def __init__(
        self,
        sharing: Sharing,
        connection: Connection,
        pipeline: Pipeline,
        now: Callable[[], Awaitable[Low | None]],
    ) -> None:
        """Nothing is committed yet.

        Args:
            sharing: for whom.
            connection: where.
            pipeline: whose.
            now: what the plans need at this moment.
        """
        self._now = now
        self._last: Cut | None = None
        self._renewed = False
        self.done: Mapping[Partition, Committed | Mark] = {}
        self.trouble: str | None = None
        self._sharing = sharing
        self._connection = connection
        self._pipeline = pipeline
        self._cuts: deque[Cut] = deque()
        self._newest = 0
        self._lock = asyncio.Lock()
        self._began = SYSTEM.running()

    def add(self, cut: Cut) -> None:
        """A micro-batch was published."""
        self._newest, self._last = cut.number, cut
        self._cuts.append(cut)
        if len(self._cuts) > _MOST_CUTS:
            # A loop that takes long for an iteration: any earlier place is as safe.
            self._cuts = deque([*list(self._cuts)[:-1:2], cut])

    def renewed(self) -> None:
        """A frame was made between two micro-batches, which may need records seen before."""
        self._renewed = True

    def unsure(self) -> None:
        """The broker may have come back older: it may not have what was committed last."""
        self.done = {}

    async def commit(self, consumer: Consumer) -> None:
        """Commit as much as can be.

        Raises:
            BrokerError: it was not committed.
        """
        async with self._lock:
            if self._renewed and self._last is not None:
                self._renewed = False
                await self._look_again(self._last)
            cut = self._ready()
            if cut is None:
                return
            try:
                await self._commit(cut, consumer)
            except BrokerError as error:
                self.trouble = str(error)
                self._cuts.appendleft(cut)
                raise
            self.trouble = None

    async def begin(self, start: Mapping[Partition, Offset]) -> None:
        """Commit where a group begins that has no commit: what comes before the first one
        would be lost if this reading broke off, for the next would start anew. Likewise where
        what it has committed is not there any more.
        """
        past = self._sharing.past.committed.keys() - self._sharing.gone.keys()
        fresh = {
            p: Committed(offset, written(offset, {}))
            for p, offset in start.items()
            if p not in past
        }
        if fresh and self._sharing.mode == "resumable":
            await self._connection.commit(self._sharing.group, fresh)

    async def _look_again(self, last: Cut) -> None:
        low = await self._now()
        cuts = self._cuts or [last]
        self._cuts = deque(
            cut._replace(low=needed_by_both(cut.low, low)) for cut in cuts
        )

    def _ready(self) -> Cut | None:
        """The newest micro-batch that everybody is done with."""
        until = self._pipeline.outlets.finished(self._newest)
        found: Cut | None = None
        while self._cuts and self._cuts[0].number <= until:
            cut = self._cuts.popleft()
            # Partitions that have gone meanwhile are only in the earlier ones.
            marks = cut.marks if found is None else {**found.marks, **cut.marks}
            found = cut._replace(marks=marks)
        if found is None or found.low is None or not found.low.missing:
            return found
        if SYSTEM.running() - self._began > _PATIENCE:
            return found
        self._cuts.appendleft(found)
        return None

    async def _commit(self, cut: Cut, consumer: Consumer) -> None:
        if self._sharing.mode == "load-balanced":
            if cut.marks != self.done:
                await sharer(consumer).commit(cut.marks)
            self.done = cut.marks
            return
        done = self._low(cut)
        changed = {p: each for p, each in done.items() if self.done.get(p) != each}
        if changed:
            await self._connection.commit(self._sharing.group, changed)
        self.done = done

    def _low(self, cut: Cut) -> dict[Partition, Committed]:
        """Per partition the first record that is still needed."""
        intake, low = self._pipeline.intake, cut.low
        found: dict[Partition, Committed] = {}
        for partition, mark in cut.marks.items():
            need: Offset = mark.next
            if intake is not None and low is not None:
                place = low.oldest.get(intake.number(partition))
                if place is not None:
                    oldest = intake.offset(*place)
                    need = min(need, oldest, key=offset_rank)
            plans = {} if low is None else low.plans
            found[partition] = Committed(need, written(mark.next, plans))
        return found


def sharer(consumer: Consumer) -> GroupConsumer:
    """The consumer as a member of a group, which it is in that mode."""
    return consumer  # type: ignore[return-value]  # made by `group_consumer`
