"""FRAME: one reading of a source, from a start to its end: fetch, pace, hand over, commit.

Everything here belongs to the I/O loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from streamlab.backends.base import Consumer, GroupConsumer
from streamlab.clocks import SYSTEM
from streamlab.engine.needs import Low
from streamlab.errors import BrokerError
from streamlab.frames.committing import EVERY, Commits, Cut, sharer
from streamlab.frames.feedspec import FeedSpec
from streamlab.frames.hopper import Hopper
from streamlab.frames.idleness import Idleness
from streamlab.frames.pipeline import Pipeline, Take
from streamlab.intake import Intake
from streamlab.records import Offset, Partition, PartitionState, Resolved
from streamlab.runtime.loop import CLOSE_SECONDS
from streamlab.runtime.worker import Worker, WorkerClosedError

LISTEN = 0.25  # seconds a silent receive may take; bounds how late idleness is noticed
LOOK_EVERY = 5.0  # seconds between two looks for new partitions
FINISH_S = 1.2  # to finish and commit at a polite stop; the kernel is killed soon after
REVOKE_S = 4.0  # the same before partitions go; less than any broker waits
log = logging.getLogger("streamlab")


class Fetch:
    """One reading; `run` is its task.

    Attributes:
        states: where each partition is, as of the last answer.
        idle: partitions that hold no watermark back.
        hopper: what was read and not handed over yet.
        commits: what was committed; None if nothing is.
        crash: end as if the process had been killed: commit nothing, tell nobody.
    """

    def __init__(
        self,
        spec: FeedSpec,
        pipeline: Pipeline,
        worker: Worker,
        *,
        flowing: asyncio.Event,
        settled: asyncio.Event,
        announce: Callable[[], None],
    ) -> None:
        """Make it; nothing is read before `run`.

        Args:
            spec: what to read.
            pipeline: takes the blocks, on `worker`.
            worker: the pipeline's thread.
            flowing: set while not paused.
            settled: set again and again, whenever a micro-batch was published or a sink has
                written one.
            announce: told after every block that was handed over.
        """
        self._take: Take = Intake.take
        self.states: Mapping[Partition, PartitionState] = {}
        self.idle: frozenset[Partition] = frozenset()
        self.hopper = Hopper(pipeline.budget.limit)
        self.crash = False
        self.commits: Commits | None = None
        if spec.sharing is not None:
            self.commits = Commits(spec.sharing, spec.connection, pipeline, self._low)
        self._spec = spec
        self._pipeline = pipeline
        self._worker = worker
        self._flowing = flowing
        self._announce = announce
        self._consumer: Consumer | None = None
        self._idleness = Idleness(
            list(spec.start), empty=spec.begin.empty, after=spec.idle
        )
        self._holding: frozenset[Partition] = frozenset(spec.start)
        self._reached: Mapping[Partition, Offset] = {}
        self._number = self._finished = pipeline.outlets.number  # of micro-batches
        self._fresh: Resolved = {}
        self._lost = 0
        self._topics: tuple[str, ...] = ()
        self._settled = settled
        self._ended = False
        self._error: BaseException | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing comes just now."""
        return None if self._consumer is None else self._consumer.trouble

    @property
    def rebalances(self) -> int:
        """How often partitions came or went."""
        member = self._member
        return 0 if member is None else member.rebalances

    @property
    def news(self) -> str:
        """The last time they did, in a clause."""
        member = self._member
        return "" if member is None else member.news

    @property
    def _member(self) -> GroupConsumer | None:
        """The consumer as a member of a group; None if it reads alone."""
        sharing = self._spec.sharing
        if self._consumer is None or sharing is None or sharing.mode == "resumable":
            return None
        return sharer(self._consumer)

    async def run(self) -> None:
        """Read to the end; what was read before an error is worked on first."""
        consumer = await self._join()
        self._consumer = consumer
        beside = [asyncio.create_task(each) for each in self._beside(consumer)]
        ended = False
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read(consumer))
                both.create_task(self._work(consumer))
            await self._written()
            ended = True
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._leave(consumer, ended=ended)
            self._consumer = None
        if self._error is not None:
            raise self._error

    async def _join(self) -> Consumer:
        """The consumer: plain, or a member of a group."""
        spec = self._spec
        sharing = spec.sharing
        if sharing is None or sharing.mode == "resumable":
            if self.commits is not None:
                await self.commits.begin(spec.start)
            return await spec.connection.consumer(spec.start, spec.stop)
        self._topics = () if spec.names is None else tuple(await spec.names())
        return await spec.connection.group_consumer(
            self._topics,
            group=sharing.group,
            start=sharing.start,
            revoked=self._revoked,
            name=sharing.member,
        )

    async def commit(self) -> None:
        """Commit as much as can be; nothing without a group.

        Raises:
            BrokerError: it was not committed.
        """
        if self.commits is not None and self._consumer is not None:
            await self.commits.commit(self._consumer)

    # -- beside the reading --------------------------------------------------------------

    def _beside(self, consumer: Consumer) -> list[Coroutine[Any, Any, None]]:
        """What goes on beside the reading, until it ends."""
        tasks: list[Coroutine[Any, Any, None]] = []
        if self.commits is not None:
            tasks.append(self._commit_now_and_then())
        if self._spec.grown is not None or self._spec.names is not None:
            tasks.append(self._look_for_more(consumer))
        return tasks

    async def _commit_now_and_then(self) -> None:
        while True:
            await SYSTEM.sleep(EVERY)
            with suppress(BrokerError):  # shown as `commits.trouble`, tried again soon
                await self.commit()

    async def _look_for_more(self, consumer: Consumer) -> None:
        """Partitions, and topics of a pattern, that were not there before."""
        spec = self._spec
        while True:
            await SYSTEM.sleep(LOOK_EVERY)
            with suppress(BrokerError):  # the reading itself says what is wrong
                if spec.grown is not None:
                    known = {*self._spec.start, *self.states, *self._fresh}
                    self._fresh = {**self._fresh, **await spec.grown(known)}
                elif spec.names is not None:
                    there = await spec.names()
                    if set(there) != set(self._topics):
                        await sharer(consumer).subscribe(there)
                    self._topics = tuple(there)

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        """Before partitions go: finish what was read of them, flush the sinks, commit."""
        read = self._number + bool(self.hopper)
        with suppress(TimeoutError):
            async with asyncio.timeout(REVOKE_S):
                while self._flowing.is_set() and self._finished < read:
                    self.hopper.hurry()
                    await self.moved()
                await self._written()
        # What still waits is somebody else's now: it will be read there.
        self.hopper.drop(partitions)
        self.states = {p: s for p, s in self.states.items() if p not in partitions}
        with suppress(BrokerError):
            await self.commit()

    async def _written(self) -> None:
        """Return once the sinks have written everything that was handed over."""
        while not self._pipeline.outlets.empty:
            await self.moved()

    async def moved(self) -> None:
        """Return once a micro-batch was published, or a sink has written one."""
        self._settled.clear()
        await self._settled.wait()

    def settle(self) -> None:
        """Wake who waits in `moved`; on the I/O loop."""
        self._settled.set()

    async def _leave(self, consumer: Consumer, *, ended: bool) -> None:
        """Finish, commit and close, within bounds; or be gone as in a crash."""
        if self.crash:
            for outlet in self._pipeline.outlets.all:
                outlet.abandon()
            member = self._member
            await _closed(consumer.aclose if member is None else member.abandon)
            return
        try:
            if not ended:
                async with asyncio.timeout(FINISH_S / 2):
                    await self._written()
        except TimeoutError:
            log.warning("a sink of %s had not finished", self._spec.name)
        if self.commits is not None:
            try:
                async with asyncio.timeout(FINISH_S / 2):
                    await self.commits.commit(consumer)
            except (TimeoutError, BrokerError) as error:
                log.warning("%s: the last commit failed: %s", self._spec.name, error)
        await _closed(consumer.aclose)

    # -- fetching ------------------------------------------------------------------------

    async def _low(self) -> Low | None:
        """What the plans need now."""
        with suppress(WorkerClosedError):
            return await asyncio.wrap_future(
                self._worker.submit(lambda: self._pipeline.low)
            )
        return None

    async def _read(self, consumer: Consumer) -> None:
        try:
            while not self._whole(consumer):
                await self._fetch(consumer)
        except Exception as error:  # noqa: BLE001 - raised again once all is handed over
            self._error = error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # From within a client library: the group of tasks would take it for a quiet end.
            self._error = BrokerError(f"reading {self._spec.name} broke off")
        self._stop_reading()

    def _stop_reading(self) -> None:
        self._ended = True
        self.hopper.hurry()

    def _whole(self, consumer: Consumer) -> bool:
        """Whether all that was asked for has been read."""
        return consumer.ended

    async def _fetch(self, consumer: Consumer) -> None:
        """One answer of the broker; never more than one block ahead of the worker."""
        listening = self._flowing.is_set() and self.hopper.has_room
        if not listening:
            await self._flowing.wait()
            await self.hopper.until_room()
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            await consumer.assign(fresh)
        blocks = await consumer.receive(self.hopper.wants, LISTEN)
        # At once: what is gathered and how far that is must be one moment.
        states = consumer.state()
        if self.commits is not None and (
            consumer.trouble or consumer.lost > self._lost
        ):
            self.commits.unsure()
        self._lost = consumer.lost
        if blocks:
            self.hopper.put(blocks)
        # What waits of a partition that is being taken away is still handed over, and committed.
        going = {p: s for p, s in self.states.items() if p not in states}
        held = self.hopper.partitions if going else ()
        self.states = {**{p: s for p, s in going.items() if p in held}, **states}
        now = self._spec.clock.running()
        calm = listening and consumer.trouble is None
        self._idleness.observe(self.states, now, listening=calm)
        self.idle = self._idleness.idle()
        # Some records only move the position (on Redis, entries without the payload's field).
        if self._idleness.holding() != self._holding or self._next() != self._reached:
            self.hopper.stirred.set()

    @property
    def _drained(self) -> bool:
        """Whether nothing is left to hand over but what waits in the hopper."""
        return self._ended

    def _next(self) -> Mapping[Partition, Offset]:
        return {partition: state.next for partition, state in self.states.items()}

    # -- handing over --------------------------------------------------------------------

    async def _work(self, consumer: Consumer) -> None:
        """Hand what was gathered to the worker, at the pace of the tick."""
        not_before = 0.0
        final = False
        while not final:
            await self.hopper.stirred.wait()
            pause = not_before - SYSTEM.running()
            if pause > 0 and not self.hopper.full.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.hopper.full.wait(), pause)
            await self._flowing.wait()  # what came while pausing waits as well
            while self._pipeline.outlets.full:
                await self.moved()
            begun = SYSTEM.running()
            final = await self._hand_over(consumer)
            now = SYSTEM.running()
            not_before = now + min(self._spec.tick, max(0.001, 2 * (now - begun)))

    async def _hand_over(self, consumer: Consumer) -> bool:
        """One micro-batch; True if it was the last."""
        blocks = self.hopper.take()
        ended = self._drained
        holding = self._holding = self._idleness.holding()
        done = self._reached = self._next()
        marks = {partition: state.mark for partition, state in self.states.items()}
        sharing = self._spec.sharing
        before = 0 if sharing is None else sum(sharing.gone.values())
        lost, rebalances = before + consumer.lost, self.rebalances
        self._number += 1
        number = self._number

        def step() -> Low | None:
            self._pipeline.counts.lost = lost
            self._pipeline.counts.rebalances = rebalances
            return self._pipeline.step(
                blocks,
                holding=holding,
                final=ended and self._whole(consumer),
                done=done,
                number=number,
                take=self._take,
            )

        low = await asyncio.wrap_future(self._worker.submit(step))
        if self.commits is not None:
            self.commits.add(Cut(number, marks, low))
        self._finished = number
        self.settle()
        self._announce()
        return ended


async def _closed(close: Callable[[], Awaitable[None]]) -> None:
    """Close, within bounds; a consumer that can't must not hide why reading ended."""
    try:
        await asyncio.wait_for(close(), CLOSE_SECONDS)
    except TimeoutError:
        log.warning("a consumer did not close within %g s", CLOSE_SECONDS)
    except Exception:
        log.exception("closing a consumer failed")
