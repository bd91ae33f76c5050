"""The reader of Kafka topics: partitions assigned by hand, no group, nothing committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as aio
from aiokafka.structs import TopicPartition

from streamlab.backends.kafka import batches as kafka_batches
from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka import probe as kafka_probe
from streamlab.backends.kafka.catalogue import EARLIEST, LATEST, Catalogue
from streamlab.backends.kafka.client import stopped, without_creating
from streamlab.backends.kafka.shelf import Shelf
from streamlab.backends.kafka.watch import Watch
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError, ConnectError, PositionLost
from streamlab.records import Partition, PartitionState, Records, Resolved

# How long one wait inside aiokafka is: the fast road wakes up for whatever happens, the slow
# one only for records, and must look again to see that it passed a stop.
_SLICE_S, _SLICE_TO_STOP_S = 0.25, 0.03
_PATIENCE_S = 2.0
_FRESH_S = 1.0
_SLOW_RECORDS = 20_000


@dataclass(slots=True)
class _Cursor:
    """One partition of a reader.

    Attributes:
        next: the first offset not handed out.
        at: the first offset not fetched.
        stop: the first offset not wanted; None for no end.
        end: where the broker's last answer said that records end; None before the first.
        stamp: when that was, by the wall clock (ms).
        heard: when that was, by the running clock.
        newest_ms: the time of the last record handed out.
    """

    next: int
    at: int
    stop: int | None
    end: int | None = None
    stamp: int | None = None
    heard: float = 0.0
    newest_ms: int | None = None

    @property
    def full(self) -> bool:
        """All up to the stop is fetched."""
        return self.stop is not None and self.at >= self.stop


class KafkaConsumer:
    """Reads some partitions over connections of its own; owned by one task.

    It does nothing on its own: aiokafka keeps one fetch ahead, and no more.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        strict: bool,
        fast: bool,
        forget: Callable[[KafkaConsumer], None],
    ) -> None:
        """Nothing is assigned yet, and nothing connected.

        Args:
            catalogue: of the same cluster.
            strict: raise when something is lost.
            fast: take whole batches, where that is possible.
            forget: called once this reader is closed.
        """
        self._catalogue = catalogue
        self._settings = catalogue.client.settings
        self._strict = strict
        self._fast = fast and kafka_batches.road()[0]
        self._forget = forget
        self._cursors: dict[Partition, _Cursor] = {}
        self._shelf = Shelf()
        self._reader: AIOKafkaConsumer | None = None
        self._watch = Watch(self._settings.address, self._look)
        self._patience = _PATIENCE_S + self._settings.fetch_wait
        self._called_at = self._left_at = 0.0
        self._lost = 0
        self._closed = False

    # ---- what a backend must do ---------------------------------------------

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        now = SYSTEM.running()
        if now - self._left_at > 1.0:
            self._called_at = now  # silence counts only while somebody listens
        deadline = now + max_wait
        try:
            while not self._closed:
                if blocks := self._hand_out(max_records):
                    return blocks
                if self.ended:
                    break
                await self._step(max(0.0, deadline - SYSTEM.running()), max_records)
                if not self._shelf and SYSTEM.running() >= deadline:
                    break
        except aio.KafkaError as error:  # a batch that can't be unpacked
            raise kafka_errors.translate(self._settings, error) from None
        finally:
            self._left_at = SYSTEM.running()
        return ()

    def state(self) -> Mapping[Partition, PartitionState]:
        now_ms = SYSTEM.now_ms()
        return {p: self._state(p, c, now_ms) for p, c in self._cursors.items()}

    @property
    def ended(self) -> bool:
        if self._closed:
            return True
        done = all(cursor.full for cursor in self._cursors.values())
        return bool(self._cursors) and done and not self._shelf

    @property
    def lost(self) -> int:
        return self._lost

    @property
    def trouble(self) -> str | None:
        return self._watch.trouble

    async def assign(self, start: Resolved) -> None:
        await self.begin(start, None)

    async def unassign(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            self._cursors.pop(partition, None)
        self._shelf.drop(partitions)
        self._point()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._shelf.clear()
        self._forget(self)
        await self._watch.aclose()
        reader, self._reader = self._reader, None
        if reader is not None:
            await stopped(reader)

    # ---- connecting ---------------------------------------------------------

    async def begin(self, start: Resolved, stop: Resolved | None) -> None:
        """Read these partitions too, up to their stops.

        Raises:
            BrokerError: the cluster can't be reached.
        """
        now = SYSTEM.running()
        for partition, offset in start.items():
            end = None if stop is None else stop.get(partition)
            at = int(offset)
            self._cursors[partition] = _Cursor(
                at, at, None if end is None else int(end), heard=now
            )
        self._shelf.drop(start.keys())
        if self._reader is None:
            await self._open()
        else:
            self._point()

    async def _open(self) -> None:
        await self._catalogue.client.open()
        mark = kafka_batches.MARK if self._fast else None
        reader = AIOKafkaConsumer(
            **self._settings.consuming(), group_id=None, value_deserializer=mark
        )
        without_creating(reader._client)  # noqa: SLF001 (there is no other door)
        try:
            await reader.start()
        except (OSError, aio.KafkaError) as error:
            await stopped(reader)
            raise kafka_errors.translate(self._settings, error) from None
        self._reader = reader
        self._point()

    def _point(self) -> None:
        """Tell aiokafka which partitions are read, and from where."""
        if self._reader is None:
            return
        now = SYSTEM.running()
        self._reader.assign([TopicPartition(*p) for p in self._cursors])
        for partition, cursor in self._cursors.items():
            cursor.heard = now
            cursor.stamp = None
            place = TopicPartition(*partition)
            self._reader.seek(place, cursor.at)
        self._pause(self._reader)

    async def _look(self) -> None:
        """See what keeps answers from coming.

        Raises:
            BrokerError: that.
        """
        await kafka_probe.reach(self._settings)
        for topic in {partition.topic for partition in self._cursors}:
            leaders = await self._catalogue.leaders(topic)
            for node in set(leaders.values()):
                if node < 0:
                    raise ConnectError(f"a partition of {topic!r} has no leader")
                await self._catalogue.client.metadata_of(node)

    # ---- fetching -----------------------------------------------------------

    async def _step(self, left: float, max_records: int) -> None:
        """Wait for records a while; what came lies on the shelf."""
        try:
            if self._reader is not None:
                await self._fetch(self._reader, left, max_records)
            elif await self._watch.silent():
                await self._open()
            else:
                await asyncio.sleep(min(left, _SLICE_S))
        except (aio.KafkaError, OSError, BrokerError) as error:
            failure = kafka_errors.translate(self._settings, error)
            if not isinstance(failure, ConnectError):
                raise failure from None
            self._watch.stumbled()
            await asyncio.sleep(min(left, _SLICE_S))

    async def _fetch(
        self, reader: AIOKafkaConsumer, left: float, max_records: int
    ) -> None:
        waiting = [c for c in self._cursors.values() if not c.full]
        if not waiting:
            await asyncio.sleep(min(left, _SLICE_S))
            return
        stops = any(cursor.stop is not None for cursor in waiting)
        wait = _SLICE_TO_STOP_S if stops and not self._fast else _SLICE_S
        most = None if self._fast else max(1, min(max_records, _SLOW_RECORDS))
        try:
            got = await reader.getmany(
                timeout_ms=int(min(left, wait) * 1000), max_records=most
            )
        except aio.OffsetOutOfRangeError as error:
            await self._mend(error)
            return
        except aio.TopicAuthorizationFailedError as error:
            topic = str(error.args[0]) if error.args else ""
            raise kafka_errors.translate(self._settings, error, topic=topic) from None
        self._shelf.put(got, self._stops())
        await self._advance(reader)

    async def _advance(self, reader: AIOKafkaConsumer) -> None:
        """See how far aiokafka has come, and whether it is answered at all."""
        now = SYSTEM.running()
        committed = self._catalogue.isolation
        silent = False
        for partition, cursor in self._cursors.items():
            if cursor.full:
                continue
            place = TopicPartition(*partition)
            cursor.at = await reader.position(place)
            stamp = reader.last_poll_timestamp(place)
            if stamp != cursor.stamp:
                stable = reader.last_stable_offset(place)
                known = committed and stable is not None and stable >= 0
                cursor.end = stable if known else reader.highwater(place)
                cursor.stamp, cursor.heard = stamp, now
            since = max(cursor.heard, self._called_at)
            silent = silent or now - since > self._patience
            if not self._shelf.holds(partition):
                cursor.next = cursor.at
        self._pause(reader)
        if not silent:
            self._watch.over()
        elif await self._watch.silent():
            await self._renew(reader)

    def _pause(self, reader: AIOKafkaConsumer) -> None:
        """Fetch no more of what is fetched up to its stop."""
        full = [TopicPartition(*p) for p, c in self._cursors.items() if c.full]
        reader.pause(*full)

    async def _renew(self, reader: AIOKafkaConsumer) -> None:
        """The cluster is well and doesn't answer this client: take another."""
        self._reader = None
        await stopped(reader)
        await self._open()

    def _stops(self) -> dict[Partition, int]:
        return {p: c.stop for p, c in self._cursors.items() if c.stop is not None}

    # ---- handing out --------------------------------------------------------

    def _hand_out(self, most: int) -> list[Records]:
        reached: dict[Partition, int] = {}
        blocks = self._shelf.take(most, self._stops(), reached)
        for block in blocks:
            if block.timestamps_ms:
                self._cursors[block.partition].newest_ms = block.timestamps_ms[-1]
        for partition, offset in reached.items():
            cursor = self._cursors[partition]
            cursor.next = offset if self._shelf.holds(partition) else cursor.at
        return blocks

    def _state(
        self, partition: Partition, cursor: _Cursor, now_ms: int
    ) -> PartitionState:
        held = self._shelf.holds(partition)
        stamp = cursor.stamp
        if self._reader is not None and not cursor.full:
            stamp = self._reader.last_poll_timestamp(TopicPartition(*partition))
        fresh = stamp is not None and (
            now_ms - stamp < (self._settings.fetch_wait + _FRESH_S) * 1000
        )
        there = cursor.end is not None and cursor.at >= cursor.end and fresh
        following = cursor.next
        if cursor.full and not held and cursor.stop is not None:
            following = cursor.stop
        return PartitionState(
            following,
            there and not held and self._watch.trouble is None,
            cursor.full and not held,
            None if cursor.end is None else max(0, cursor.end - cursor.next),
        )

    # ---- what is lost -------------------------------------------------------

    async def _mend(self, error: BaseException) -> None:
        """Go on where there is something, and count what there isn't."""
        asked = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for (topic, number), offset in asked.items():
            partition = Partition(topic, number)
            cursor = self._cursors.get(partition)
            if cursor is None or self._reader is None or cursor.at != offset:
                continue
            first, end = await self._bounds(partition)
            if first <= offset <= end:
                lost, place = 0, offset
            elif offset < first:
                wanted = first if cursor.stop is None else min(first, cursor.stop)
                lost, place = wanted - offset, first
            else:
                lost, place = offset - end, await self._younger(partition, cursor, end)
                # What stood before the stop will not come again.
                cursor.stop = place if cursor.stop is not None else None
            self._lost += lost
            cursor.at = place
            cursor.next = cursor.next if self._shelf.holds(partition) else place
            self._reader.seek(TopicPartition(*partition), place)
            self._pause(self._reader)
            if lost and self._strict:
                raise self._position_lost(partition, offset, lost)

    async def _bounds(self, partition: Partition) -> tuple[int, int]:
        first = await self._catalogue.offsets({partition: EARLIEST})
        end = await self._catalogue.offsets({partition: LATEST}, isolation=0)
        low, high = first[partition], end[partition]
        return (low or (0, 0))[0], (high or (0, 0))[0]

    async def _younger(self, partition: Partition, cursor: _Cursor, end: int) -> int:
        """Where to go on in a partition that came back shorter than it was.

        A topic made anew holds younger records than the last one read: all of them are read.
        One that was cut back holds those that were read already.
        """
        if cursor.newest_ms is None:
            return end
        found = await self._catalogue.offsets({partition: cursor.newest_ms + 1})
        place = found[partition]
        return end if place is None else place[0]

    def _position_lost(
        self, partition: Partition, offset: int, lost: int
    ) -> BrokerError:
        return PositionLost(
            f"{partition.topic!r} partition {partition.number} on {self._settings.place} "
            f"no longer has {offset}: {lost} or more records from there on are gone. "
            'To go on without them: on_lost="skip".'
        )
