"""FRAME: one reading of a source, from a start to its end: fetch, gather, pace, hand over.

Beyond one block that waits while another is worked on nothing is fetched, which is all the
back-pressure there is. Everything here belongs to the I/O loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streamlab.backends.base import Consumer
from streamlab.clocks import SYSTEM
from streamlab.frames.feedspec import FeedSpec
from streamlab.frames.idleness import Idleness
from streamlab.frames.pipeline import Pipeline
from streamlab.records import Offset, Partition, PartitionState, Records
from streamlab.runtime.loop import CLOSE_SECONDS
from streamlab.runtime.worker import Worker

BLOCK = 50_000  # records a decode under load: per-call costs vanish, and caches still hold it
FEWEST = 1_000
LISTEN = 0.25  # seconds a silent receive may take; bounds how late idleness is noticed
RATE_OVER = 5.0  # seconds that the shown rate is a mean of
log = logging.getLogger("streamlab")


class Fetch:
    """One reading; `run` is its task.

    Attributes:
        states: where each partition is, as of the last answer.
        idle: partitions that hold no watermark back.
        arrivals: when how many records came, over the last seconds.
        newest_ms: broker time of the newest record so far.
    """

    def __init__(
        self,
        spec: FeedSpec,
        pipeline: Pipeline,
        worker: Worker,
        *,
        flowing: asyncio.Event,
        announce: Callable[[], None],
    ) -> None:
        """Make it; nothing is read before `run`.

        Args:
            spec: what to read.
            pipeline: takes the blocks, on `worker`.
            worker: the pipeline's thread.
            flowing: set while not paused.
            announce: told after every block that was handed over.
        """
        self.states: Mapping[Partition, PartitionState] = {}
        self.idle: frozenset[Partition] = frozenset()
        self.arrivals: deque[tuple[float, int]] = deque()
        self.newest_ms: int | None = None
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
        self._pending: list[Records] = []
        self._waiting = 0
        self._limit = FEWEST  # until the first records tell how large they are
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._full = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing comes just now."""
        return None if self._consumer is None else self._consumer.trouble

    async def run(self) -> None:
        """Read to the end; what was read before an error is worked on first."""
        spec = self._spec
        consumer = await spec.connection.consumer(spec.start, spec.stop)
        self._consumer = consumer
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read(consumer))
                both.create_task(self._work(consumer))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._consumer = None
            await _closed(consumer)
        if self._error is not None:
            raise self._error

    # -- fetching ------------------------------------------------------------------------

    async def _read(self, consumer: Consumer) -> None:
        try:
            while not consumer.ended:
                await self._fetch(consumer)
        except Exception as error:  # noqa: BLE001 - raised again once all is handed over
            self._error = error
        self._ended = True
        self._arrived.set()
        self._full.set()

    async def _fetch(self, consumer: Consumer) -> None:
        """One answer of the broker; never more than one block ahead of the worker."""
        listening = self._flowing.is_set() and self._waiting < self._limit
        if not listening:
            await self._flowing.wait()
            await self._until_room()
        want = max(1, self._limit - self._waiting)
        blocks = await consumer.receive(want, LISTEN)
        # At once: what is gathered and how far that is must be one moment.
        self.states = consumer.state()
        if blocks:
            self._gather(blocks)
        now = self._spec.clock.running()
        calm = listening and consumer.trouble is None
        self._idleness.observe(self.states, now, listening=calm)
        self.idle = self._idleness.idle()
        # Some records only move the position (on Redis, entries without the payload's field).
        if self._idleness.holding() != self._holding or self._next() != self._reached:
            self._arrived.set()

    def _next(self) -> Mapping[Partition, Offset]:
        return {partition: state.next for partition, state in self.states.items()}

    async def _until_room(self) -> None:
        while self._waiting >= self._limit:
            self._room.clear()
            await self._room.wait()

    def _gather(self, blocks: Sequence[Records]) -> None:
        count = sum(len(block.values) for block in blocks)
        self._pending.extend(blocks)
        self._waiting += count
        self._note_arrival(blocks, count)
        sample = blocks[0].values[:50]
        mean = sum(len(value or b"") for value in sample) / len(sample) + 50
        most = self._pipeline.budget.limit / 16 / mean
        self._limit = int(min(BLOCK, max(FEWEST, most)))
        self._arrived.set()
        if self._waiting >= self._limit // 2:
            self._full.set()

    def _note_arrival(self, blocks: Sequence[Records], count: int) -> None:
        now = SYSTEM.running()
        self.arrivals.append((now, count))
        while self.arrivals and self.arrivals[0][0] < now - RATE_OVER:
            self.arrivals.popleft()
        newest = max(_last_ms(block) for block in blocks)
        self.newest_ms = max(self.newest_ms or newest, newest)

    # -- handing over --------------------------------------------------------------------

    async def _work(self, consumer: Consumer) -> None:
        """Hand what was gathered to the worker, at the pace of the tick."""
        not_before = 0.0
        final = False
        while not final:
            await self._arrived.wait()
            pause = not_before - SYSTEM.running()
            if pause > 0 and not self._full.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), pause)
            await self._flowing.wait()  # what came while pausing waits as well
            begun = SYSTEM.running()
            final = await self._hand_over(consumer)
            now = SYSTEM.running()
            not_before = now + min(self._spec.tick, max(0.001, 2 * (now - begun)))

    async def _hand_over(self, consumer: Consumer) -> bool:
        """One micro-batch; True if it was the last."""
        blocks, self._pending = self._pending, []
        self._waiting = 0
        self._arrived.clear()
        self._full.clear()
        self._room.set()
        ended = self._ended
        holding = self._holding = self._idleness.holding()
        done = self._reached = self._next()
        lost = consumer.lost

        def step() -> None:
            self._pipeline.counts.lost = lost
            self._pipeline.step(
                blocks, holding=holding, final=ended and consumer.ended, done=done
            )

        await asyncio.wrap_future(self._worker.submit(step))
        self._announce()
        return ended


def _last_ms(block: Records) -> int:
    """Broker time of the last record of a block; on Redis the first half of its id."""
    if block.timestamps_ms is not None:
        return int(block.timestamps_ms[-1])
    return int(bytes(block.offsets[-1]).split(b"-")[0])


async def _closed(consumer: Consumer) -> None:
    """Close, within bounds; a consumer that can't must not hide why reading ended."""
    try:
        await asyncio.wait_for(consumer.aclose(), CLOSE_SECONDS)
    except TimeoutError:
        log.warning("a consumer did not close within %g s", CLOSE_SECONDS)
    except Exception:
        log.exception("closing a consumer failed")
