"""FRAME: one reading at the pace of a replay clock.

It reads ahead by itself, a bounded amount, and hands over when the clock tells it to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from streamlab.backends.base import Consumer
from streamlab.frames.ahead import EVER, Ahead
from streamlab.frames.arranging import in_step
from streamlab.frames.feedspec import FeedSpec
from streamlab.frames.fetching import Fetch
from streamlab.frames.pace import ReplayClock
from streamlab.frames.pipeline import Pipeline
from streamlab.frames.silence import Silence
from streamlab.records import Offset, Partition
from streamlab.runtime.worker import Worker

LISTEN = 0.05  # seconds a silent receive may take; a step waits for it at the end of the topic


class Replay(Fetch):
    """A reading that hands over what is due; see `pace.Played`."""

    def __init__(
        self,
        spec: FeedSpec,
        pipeline: Pipeline,
        worker: Worker,
        *,
        clock: ReplayClock,
        **signals: Any,
    ) -> None:
        """Make it; nothing is read before `run`. The other arguments are `Fetch`'s."""
        super().__init__(spec, pipeline, worker, **signals)
        self._take = in_step
        self.asked = self._answers = 0
        self._clock = clock
        self._ahead = Ahead(list(spec.start), spec.stop, pipeline.budget.limit)
        self._idleness = self._silence = Silence(
            list(spec.start), empty=spec.begin.empty, after=spec.idle
        )
        self._orders: asyncio.Queue[tuple[int, asyncio.Future[None]]] = asyncio.Queue()
        self._resting = False
        self.over = False
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        self._clock.join(self)
        try:
            await super().run()
        finally:
            self.over = True
            self._clock.leave(self)
            while not self._orders.empty():
                _done(self._orders.get_nowait()[1])

    # -- as the clock sees it ----------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def tick(self) -> float:
        return self._spec.tick

    @property
    def held(self) -> str:
        return "" if self._flowing.is_set() else "paused"

    @property
    def first(self) -> int | None:
        return self._ahead.first

    @property
    def knows_first(self) -> bool:
        return self._ended or self._ahead.knows_first

    @property
    def through(self) -> int:
        return EVER if self._ended else self._ahead.through

    @property
    def ending(self) -> bool:
        return self._ended and not self._ahead and not self.over

    @property
    def crossing(self) -> bool:
        return self._pipeline.outlets.crossing

    async def crossed(self) -> None:
        while self.crossing:
            await self.moved()

    def ask(self) -> int:
        self._wanted.set()
        return self.asked

    def answered(self, asked: int) -> bool:
        return self._answers > asked or self._resting or self._ended

    def turn(self, moment: int) -> int | None:
        first = self._ahead.first
        if not self.knows_first:
            return None
        # Where it begins before the clock's own time, its silence is counted from there.
        self._silence.begin(moment if first is None else min(first, moment))
        return self._silence.turn(self._ahead.heads())

    def play(self, moment: int) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.over:
            done.set_result(None)
        else:
            self._orders.put_nowait((moment, done))
        return done

    # -- reading ahead -------------------------------------------------------------------------

    async def _fetch(self, consumer: Consumer) -> None:
        """One answer of the broker."""
        await self._flowing.wait()
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            await consumer.assign(fresh)
        if not await self._may_read(consumer):
            return
        if not self._clock.speed and self._answers and self._ahead.through == EVER:
            # All is read, and the clock stands: to ask again is for who moves it.
            await self._wanted.wait()
        self._wanted.clear()
        self.asked += 1
        blocks = await consumer.receive(self._ahead.cap, LISTEN)
        states = consumer.state()
        self._ahead.put(blocks, states)
        self.states = {**self.states, **states}
        self._lost = consumer.lost
        self._answers = self.asked
        self._clock.stir()

    async def _may_read(self, consumer: Consumer) -> bool:
        """Whether more is wanted; else return after some of what was read has been taken.

        Where the clock waits for one partition while others are read far enough ahead, these
        are left out for a while.
        """
        if starved := self._ahead.starved:
            await consumer.assign(starved)
            self._ahead.unpark(starved)
        full = self._ahead.full
        if not full and not (self._ahead.parked and not self._ahead.hungry):
            return True
        if self._ahead.hungry:
            if full:
                await consumer.unassign(full)
                self._ahead.park(full)
            return True
        self._resting = True
        self._clock.stir()
        self._ahead.room.clear()
        await self._ahead.room.wait()
        self._resting = False
        return False

    def _whole(self, consumer: Consumer) -> bool:
        if self._ahead.bounded:
            return self._ahead.done
        return consumer.ended and not self._ahead.parked

    def _stop_reading(self) -> None:
        super()._stop_reading()
        self._clock.stir()

    # -- handing over --------------------------------------------------------------------------

    async def _work(self, consumer: Consumer) -> None:
        """Hand over what the clock asks for."""
        final = False
        while not final:
            moment, done = await self._orders.get()
            try:
                final = await self._play(consumer, moment)
                self.over = self.over or final
            finally:
                _done(done)

    async def _play(self, consumer: Consumer, moment: int) -> bool:
        """Hand over what is due by `moment`; True if that was the last."""
        while self._pipeline.outlets.full:
            await self.moved()
        taken = self._ahead.take(moment)
        for partition, (blocks, last) in taken.items():
            self._silence.hear(partition, last)
            self.hopper.put(blocks)
        final = False
        if taken or self._drained:
            final = await self._hand_over(consumer)
        self._silence.come_to(moment)
        self.idle = self._idleness.idle()
        if not final and self._idleness.holding() != self._holding:
            final = await self._hand_over(consumer)
        return final

    @property
    def _drained(self) -> bool:
        return self._ended and not self._ahead

    def _next(self) -> Mapping[Partition, Offset]:
        return self._ahead.places()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
