"""The consumer of logs kept in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack

from streamlab.backends.inprocess.log import LogTopic
from streamlab.errors import ConnectError, PositionError, PositionLost
from streamlab.records import Offset, Partition, PartitionState, Records, Resolved


class LogConsumer:
    """Reads partitions of log topics; owned by one task."""

    def __init__(
        self,
        find: Callable[[str], LogTopic],
        start: Resolved,
        stop: Resolved | None = None,
        *,
        place: str,
        on_lost: str = "skip",
    ) -> None:
        """Begin at `start`; `find` brings a topic by its name."""
        self._find = find
        self._topics: dict[str, LogTopic] = {}
        self._place, self._on_lost = place, on_lost
        self._next: dict[Partition, int] = {}
        self._stop = {p: number(offset) for p, offset in (stop or {}).items()}
        self._bounded = stop is not None
        self._order: list[Partition] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._closed = False
        self._state: dict[Partition, PartitionState] = {}
        self.lost = 0
        self._add(start)

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        self._loop = asyncio.get_running_loop()
        deadline = self._loop.time() + max_wait
        # A reader that always finds something must not starve the loop.
        await asyncio.sleep(0)
        while not self.ended:
            self._woken.clear()
            if self._closed:
                raise ConnectError(f"{self._place}: this consumer was closed.")
            blocks, due = self._take(max_records)
            left = deadline - self._loop.time()
            if blocks or left <= 0 or self.ended:
                return blocks
            await self._wait(left, due)
        return ()

    def state(self) -> Mapping[Partition, PartitionState]:
        return dict(self._state)

    @property
    def ended(self) -> bool:
        return self._bounded and all(state.ended for state in self._state.values())

    @property
    def trouble(self) -> str | None:
        return next((t.trouble for t in self._topics.values() if t.trouble), None)

    async def assign(self, start: Resolved) -> None:
        self._add(start)
        self.wake()

    async def unassign(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            self._next.pop(partition, None)
            self._state.pop(partition, None)
            self._stop.pop(partition, None)
        self._order = [p for p in self._order if p in self._next]
        kept = {p.topic for p in self._next}
        self._topics = {name: t for name, t in self._topics.items() if name in kept}

    async def aclose(self) -> None:
        self._closed = True
        self.wake()

    def wake(self) -> None:
        """Look again; from any thread."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # its loop is closed: nobody waits there any more
            self._loop = None

    def _add(self, start: Resolved) -> None:
        for partition, offset in start.items():
            topic = self._topics.get(partition.topic) or self._find(partition.topic)
            if not 0 <= partition.number < len(topic.logs):
                raise PositionError(
                    f"{topic.name} has no partition {partition.number}; "
                    f"it has {len(topic.logs)}, numbered from 0."
                )
            self._topics[partition.topic] = topic
            topic.listen(self)
            self._next[partition] = number(offset)
            self._read(partition, 0)
            self._state[partition] = self._state[partition]._replace(caught_up=False)
        self._order = sorted(self._next)
        if not self.ended:
            for name in {p.topic for p in start}:
                self._topics[name].begin()

    async def _wait(self, seconds: float, due: float | None) -> None:
        """Until something was written, something is due, or so many seconds have passed."""
        timer = None if due is None else asyncio.create_task(self._ring(due))
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        finally:
            if timer is not None:
                timer.cancel()

    async def _ring(self, seconds: float) -> None:
        clock = next(iter(self._topics.values())).clock
        await clock.sleep(seconds)
        self._woken.set()

    def _take(self, max_records: int) -> tuple[list[Records], float | None]:
        """What is there now, and in how many seconds more is due."""
        if self.trouble:
            for partition, state in self._state.items():
                self._state[partition] = state._replace(caught_up=False)
            return [], None
        with ExitStack() as locks:
            for _, topic in sorted(self._topics.items()):
                locks.enter_context(topic.lock)
            dues = [
                topic.refresh(hungry=self._is_hungry(name))
                for name, topic in self._topics.items()
            ]
            for partition in self._order:
                self._skip_lost(partition)
            blocks = self._take_fairly(max_records)
        return blocks, min((due for due in dues if due is not None), default=None)

    def _take_fairly(self, max_records: int) -> list[Records]:
        # Each partition that has something gets an even share of the room that is left, and
        # another one goes first next time: a busy one must not hold the others back.
        self._order = self._order[1:] + self._order[:1]
        order = sorted(self._order, key=self._holds_more)
        waiting = sum(map(self._holds_more, order))
        blocks = []
        for at, partition in enumerate(order, start=waiting - len(order)):
            share = -(-max_records // (waiting - at)) if at >= 0 else 0
            if block := self._read(partition, share):
                blocks.append(block)
                max_records -= len(block.values)
        return blocks

    def _holds_more(self, partition: Partition) -> bool:
        log = self._topics[partition.topic].logs[partition.number]
        return log.holds_from(self._next[partition])

    def _is_hungry(self, topic: str) -> bool:
        return not any(
            self._holds_more(p)
            for p, state in self._state.items()
            if p.topic == topic and not state.ended
        )

    def _skip_lost(self, partition: Partition) -> None:
        log = self._topics[partition.topic].logs[partition.number]
        at, low = self._next[partition], log.low
        gone = min(low, self._stop.get(partition, low)) - at
        if gone <= 0:
            return
        if self._on_lost == "error":
            raise PositionLost(
                f"{partition.topic} p{partition.number}: the broker no longer has offset "
                f'{at}; its first one is {low}. Read from there with start="earliest".'
            )
        self.lost += gone
        self._next[partition] = at + gone

    def _read(self, partition: Partition, most: int) -> Records | None:
        """Up to `most` rows of one partition; moves its state."""
        topic = self._topics[partition.topic]
        at, stop = self._next[partition], self._stop.get(partition)
        with topic.lock:
            log = topic.logs[partition.number]
            first = log.place(at)
            end = len(log.offsets) if stop is None else max(first, log.place(stop))
            last = min(first + most, end)
            if last == end:
                # Over the gap behind the last row too: what was deleted never comes.
                at = max(at, log.next if stop is None else min(log.next, stop))
            elif last > first:
                at = log.offsets[last - 1] + 1
            self._next[partition] = at
            self._state[partition] = PartitionState(
                at,
                caught_up=last == end,
                ended=stop is not None and at >= stop,
                behind=end - last,
            )
            return log.block(partition, first, last) if last > first else None


def number(offset: Offset) -> int:
    """An offset of a backend whose offsets are numbers.

    Raises:
        PositionError: it is an entry id.
    """
    if isinstance(offset, int):
        return offset
    raise PositionError(
        f"{offset!r} is a Redis entry id; offsets here are numbers, as in {{0: 500}}."
    )
