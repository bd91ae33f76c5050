"""FRAME: the I/O side of a source: one task that reads, gathers, paces and hands over.

The task lives on the I/O loop and owns the consumer; decoding and operators run in order on
one worker thread, so reading goes on meanwhile. At most one block waits while one is worked on:
beyond that nothing is fetched, which is all the back-pressure there is.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from streamlab.backends.base import Connection, Consumer
from streamlab.changes import Change
from streamlab.clocks import SYSTEM, Clock
from streamlab.failures import describe
from streamlab.frame import Budget, Keep
from streamlab.idleness import Idleness
from streamlab.intake import Intake
from streamlab.members import Member
from streamlab.observed import Failure
from streamlab.pipeline import Pipeline, Published
from streamlab.plans.nodes import Node, Source
from streamlab.recompute import Recomputer
from streamlab.records import Partition, Records, Resolved
from streamlab.runtime import kernel
from streamlab.runtime.loop import CLOSE_SECONDS, io

T = TypeVar("T")
BLOCK = 50_000  # records a decode under load: per-call costs vanish, and caches still hold it
FEWEST = 1_000
LISTEN = 0.25  # seconds a silent receive may take; bounds how late idleness is noticed
RATE_OVER = 5.0  # seconds that the shown rate is a mean of
HEARTBEAT = 1.0


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """Everything a feed needs, resolved.

    Attributes:
        name: of the source, as shown.
        connection: where to read.
        start, stop: resolved positions.
        from_start: whether `start` is the first record there is.
        source: the plan's top.
        intake: decodes; None if the schema is not known yet.
        discover: makes an intake from the first blocks.
        keep, budget_bytes: what the source's frame retains; what all may hold.
        tick: longest wait of a micro-batch, seconds.
        idle: seconds of silence after which a partition holds nothing back; None is never.
        clock: for idleness, lag and displays.
        empty: partitions without a record at the start.
        paused: begin paused.
        newest_ms: broker time of the newest record at the start, if known.
    """

    name: str
    connection: Connection
    start: Resolved
    stop: Resolved | None
    from_start: bool
    source: Source
    intake: Intake | None
    discover: Callable[[Sequence[Records]], Intake]
    keep: Keep
    budget_bytes: int
    tick: float
    idle: float | None
    clock: Clock
    empty: frozenset[Partition]
    paused: bool
    newest_ms: int | None
    on_lost: str = "skip"


class Feed:
    """A source that runs; see the module's docstring.

    The I/O task owns everything that begins with `_`, but for `pipeline`, which belongs to the
    worker; `pipeline.published` may be read from anywhere.
    """

    def __init__(self, spec: FeedSpec) -> None:
        """Make it; `begin` starts it."""
        self.spec = spec
        self.pipeline = Pipeline(
            spec.source,
            spec.intake,
            keep=spec.keep,
            budget=Budget(spec.budget_bytes),
            from_start=spec.from_start,
            now_ms=spec.clock.now_ms,
            discover=spec.discover,
        )
        self.consumer: Consumer | None = None
        self.failure: Failure | None = None
        self.error: BaseException | None = None
        self.over = ""  # "ended" or "stopped" once nothing more will come
        self.arrivals: deque[tuple[float, int]] = deque()
        self.newest_stamp: int | None = None
        self.begun_ms = spec.clock.now_ms()
        self.idle: frozenset[Partition] = frozenset()
        self._idleness = Idleness(list(spec.start), empty=spec.empty, after=spec.idle)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="streamlab-worker")
        self._io = io()
        self._recomputer = Recomputer(
            self.pipeline,
            self._worker,
            now_ms=spec.clock.now_ms,
            done=lambda: self._io.post(self._announce),
        )
        self.pipeline.recompute = self._recomputer.soon
        self._pending: list[Records] = []
        self._waiting_records = 0
        self._limit = BLOCK
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._full = asyncio.Event()
        self._flowing = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._task: concurrent.futures.Future[None] | None = None
        self._forget: Callable[[], None] = lambda: None
        self._held_holding: frozenset[Partition] = frozenset(spec.start)
        self._counted = False
        self._ended = False
        self._read_error: BaseException | None = None
        if not spec.paused:
            self._flowing.set()

    # -- from any thread ---------------------------------------------------------------

    def begin(self) -> None:
        """Start reading; returns at once."""
        kernel.SWITCH.enter()
        self._counted = True
        self._forget = self._io.on_close(self.aclose)
        self._task = self._io.spawn(
            self._run(), name=f"streamlab:{self.spec.name}", failed=self._fail
        )

    @property
    def paused(self) -> bool:
        """Whether fetching is paused."""
        return not self._flowing.is_set()

    @property
    def published(self) -> Published:
        """The newest version of everything."""
        return self.pipeline.published

    def on_worker(self, work: Callable[[], T]) -> T:
        """Run `work` on the worker thread, between two micro-batches, and wait for it."""
        try:
            return self._worker.submit(work).result()
        except RuntimeError as closed:
            if "shutdown" not in str(closed):
                raise
            return work()  # the worker has gone: nobody else touches the pipeline

    def add(self, node: Node, keep: Keep) -> Member:
        """A new frame on this source."""
        return self.on_worker(lambda: self.pipeline.add(node, keep))

    def remove(self, member: Member) -> None:
        """Let one frame go."""
        self.on_worker(lambda: self.pipeline.remove(member))

    def pause(self) -> None:
        """Fetch nothing until `resume`."""
        self._io.post(self._flowing.clear)

    def resume(self) -> None:
        """Go on fetching."""
        self._io.post(self._flowing.set)

    def stop(self, *, wait: bool = True) -> None:
        """Close the connection, drop the state, keep the rows; bounded by two seconds."""
        if self.over == "stopped":
            return
        closing = asyncio.run_coroutine_threadsafe(self.aclose(), self._io.loop)
        if wait and not self._io.here():
            with suppress(concurrent.futures.TimeoutError):
                closing.result(CLOSE_SECONDS + 0.5)

    # -- on the I/O loop ---------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop for good; safe to call twice."""
        if self.over == "stopped":
            return
        self.over = "stopped"
        if self._task is not None:
            self._task.cancel()
        await self._close_consumer()
        await self._retire()

    async def changed(self, version: int) -> None:
        """Return once there is a version newer than `version`, or nothing more will come."""
        while self.published.version <= version and not self.finished:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.over) or self.error is not None

    async def _run(self) -> None:
        spec = self.spec
        self.consumer = await spec.connection.consumer(
            spec.start, spec.stop, on_lost=spec.on_lost
        )
        pulse = asyncio.create_task(self._heartbeat())
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read(self.consumer))
                both.create_task(self._work(self.consumer))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            pulse.cancel()
        if self._read_error is not None:
            raise self._read_error
        self.over = self.over or "ended"
        await self._close_consumer()
        self._announce()
        self._leave()

    async def _read(self, consumer: Consumer) -> None:
        """Fetch until the end or an error; what was read before an error is worked on first."""
        try:
            while not consumer.ended:
                await self._fetch(consumer)
        except Exception as error:  # noqa: BLE001 - raised again once all is handed over
            self._read_error = error
        self._ended = True
        self._arrived.set()
        self._full.set()

    async def _fetch(self, consumer: Consumer) -> None:
        """One answer of the broker; never more than one block ahead of the worker."""
        listening = self._flowing.is_set() and self._waiting_records < self._limit
        if not listening:
            await self._flowing.wait()
            await self._until_room()
        want = max(1, self._limit - self._waiting_records)
        blocks = await consumer.receive(want, LISTEN)
        if blocks:
            self._gather(blocks)
        now = self.spec.clock.running()
        calm = listening and consumer.trouble is None
        self._idleness.observe(consumer.state(), now, listening=calm)
        self.idle = self._idleness.idle()
        if self._idleness.holding() != self._held_holding:
            self._arrived.set()

    async def _until_room(self) -> None:
        while self._waiting_records >= self._limit:
            self._room.clear()
            await self._room.wait()

    def _gather(self, blocks: Sequence[Records]) -> None:
        count = sum(len(block.values) for block in blocks)
        self._pending.extend(blocks)
        self._waiting_records += count
        self._note_arrival(blocks, count)
        sample = blocks[0].values[:50]
        mean = sum(len(value or b"") for value in sample) / len(sample) + 50
        self._limit = int(
            min(BLOCK, max(FEWEST, self.pipeline.budget.limit / 16 / mean))
        )
        self._arrived.set()
        if self._waiting_records >= self._limit // 2:
            self._full.set()

    def _note_arrival(self, blocks: Sequence[Records], count: int) -> None:
        now = SYSTEM.running()
        self.arrivals.append((now, count))
        while self.arrivals and self.arrivals[0][0] < now - RATE_OVER:
            self.arrivals.popleft()
        last = blocks[-1]
        if last.timestamps_ms is not None:
            self.newest_stamp = int(last.timestamps_ms[-1])
        else:
            self.newest_stamp = int(bytes(last.offsets[-1]).split(b"-")[0])  # type: ignore[arg-type]

    async def _work(self, consumer: Consumer) -> None:
        """Hand what was gathered to the worker, at the pace of the tick."""
        not_before = 0.0
        while True:
            await self._arrived.wait()
            pause = not_before - SYSTEM.running()
            if pause > 0 and not self._full.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), pause)
            begun = SYSTEM.running()
            final = await self._hand_over(consumer)
            now = SYSTEM.running()
            rest = min(self.spec.tick, max(0.001, 2 * (now - begun)))
            not_before = now + rest
            if final:
                return

    async def _hand_over(self, consumer: Consumer) -> bool:
        """One micro-batch; True if it was the last."""
        blocks, self._pending = self._pending, []
        self._waiting_records = 0
        self._arrived.clear()
        self._full.clear()
        final = self._ended
        self._room.set()
        holding = self._idleness.holding()
        self._held_holding = holding
        done = {p: s.next for p, s in consumer.state().items()}
        self.pipeline.counts.lost = consumer.lost

        def step() -> None:
            self.pipeline.step(
                blocks, holding=holding, final=final and consumer.ended, done=done
            )

        await asyncio.get_running_loop().run_in_executor(self._worker, step)
        self._announce()
        return final

    async def _heartbeat(self) -> None:
        """Views learn of a changed status even while no records come."""
        while True:
            await SYSTEM.sleep(HEARTBEAT)
            self._tell_status()

    def _tell_status(self) -> None:
        empty = pl.DataFrame()
        for member in tuple(self.pipeline.members):
            if member.watched:
                member.tell(
                    Change(empty, empty, 0, member.held.version, member.watermark)
                )

    def _announce(self) -> None:
        """Wake who waits for a version."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: BaseException) -> None:
        """The task has died: say so on every frame, keep the last good version."""
        self.error = error
        self.failure = describe(
            error,
            step=self.spec.name,
            now_ms=self.spec.clock.now_ms(),
            good=self.published.records,
        )
        self._tell_status()
        self._announce()
        self._leave()
        self._cleaning = asyncio.get_running_loop().create_task(self._close_consumer())

    async def _close_consumer(self) -> None:
        consumer, self.consumer = self.consumer, None
        if consumer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(consumer.aclose(), CLOSE_SECONDS)

    async def _retire(self) -> None:
        """Drop all state on the worker, then the worker itself."""
        loop = asyncio.get_running_loop()
        with suppress(RuntimeError):  # it may have gone already
            await loop.run_in_executor(self._worker, self.pipeline.close)
        self._worker.shutdown(wait=False)
        self._recomputer.close()
        self._tell_status()
        self._announce()
        self._leave()

    def _leave(self) -> None:
        self._forget()
        if self._counted:
            self._counted = False
            kernel.SWITCH.leave()
