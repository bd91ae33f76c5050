"""The reader of Redis streams: plain XREAD, no group, nothing written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Mapping,
    MutableMapping,
    Sequence,
)
from typing import Any

import hiredis

from streamlab.backends.redis import errors as redis_errors
from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis import parse as redis_parse
from streamlab.backends.redis.cursor import Cursor, Facts, facts
from streamlab.backends.redis.parse import Columns, Shape
from streamlab.backends.redis.steps import BLOCK_MS, Steps
from streamlab.backends.redis.wire import Dialer, Link, command
from streamlab.clocks import SYSTEM
from streamlab.errors import PositionLost
from streamlab.records import Partition, PartitionState, Resolved

_LOOK_S = 1.0  # how often a reader asks whether something was lost
# Cursors for partitions to be read from some offsets on.
Place = Callable[[Resolved], Awaitable[Sequence[Cursor]]]


class RedisConsumer(Steps):
    """Reads some streams over one connection; owned by one task."""

    def __init__(
        self,
        dialer: Dialer,
        link: Link | None,
        cursors: Sequence[Cursor],
        shapes: MutableMapping[str, Shape],
        *,
        strict: bool,
        place: Place,
        forget: Callable[[RedisConsumer], None],
    ) -> None:
        """Begin to read.

        Args:
            dialer: makes connections again.
            link: the first one, if it is made already.
            cursors: one per partition.
            shapes: per topic, how its entries are read; what is found out is added.
            strict: raise when something is lost.
            place: makes cursors for further partitions.
            forget: called once this reader is closed.
        """
        super().__init__(dialer, link, shapes)
        self._cursors = {cursor.key: cursor for cursor in cursors}
        self._strict = strict
        self._place = place
        self._forget = forget
        self._looked_at: float | None = None
        self._discard = self._blocking = self._emptied = False
        self._lost = 0

    # ---- what a backend must do ---------------------------------------------

    async def assign(self, start: Resolved) -> None:
        cursors = await self._place(start)
        self._drop(frozenset(start))
        self._cursors |= {cursor.key: cursor for cursor in cursors}
        self._looked_at = None

    async def unassign(self, partitions: Collection[Partition]) -> None:
        self._drop(frozenset(partitions))
        self._emptied = not self._cursors

    def state(self) -> Mapping[Partition, PartitionState]:
        held: dict[Partition, bytes | int] = {}
        for block in self._ready:
            held.setdefault(block.partition, block.offsets[0])
        states = {}
        for cursor in self._cursors.values():
            first = held.get(cursor.partition)
            after = redis_ids.text(redis_ids.after(cursor.at))
            caught_up = cursor.caught_up and first is None
            states[cursor.partition] = PartitionState(
                first.decode() if isinstance(first, bytes) else after,
                caught_up,
                cursor.done and first is None,
                0 if caught_up else None,
            )
        return states

    @property
    def ended(self) -> bool:
        if not self._cursors and self._emptied:
            return self._closed
        done = all(cursor.done for cursor in self._cursors.values())
        return self._closed or (done and not self._ready)

    @property
    def lost(self) -> int:
        return self._lost

    async def aclose(self) -> None:
        if not self._closed:
            self._forget(self)
        await super().aclose()

    # ---- within -------------------------------------------------------------

    def _partition(self, key: bytes) -> Partition:
        return self._cursors[key].partition

    def _unsure(self) -> None:
        self._discard = False
        self._looked_at = None
        for cursor in self._cursors.values():
            cursor.caught_up = False

    def _drop(self, partitions: frozenset[Partition]) -> None:
        """Forget these partitions, and whatever has been asked or fetched of them."""
        if self._asked and self._link is not None:
            if self._link.asking and self._blocking:
                # It would keep what comes now waiting for up to two seconds.
                self._hang_up(None)
            elif self._link.asking:
                self._discard = True
            else:
                self._asked, self._link.whole, self._discard = "", None, False
        kept = [block for block in self._ready if block.partition not in partitions]
        self._ready.clear()
        self._ready.extend(kept)
        self._cursors = {
            key: cursor
            for key, cursor in self._cursors.items()
            if cursor.partition not in partitions
        }

    # ---- asking -------------------------------------------------------------

    def _ask(self, link: Link, wanted: int) -> None:
        active = [c for c in self._cursors.values() if not c.done]
        if not active:
            return
        if self._looking_due(len(active)):
            self._asked, self._blocking = "look", False
            self._asked_keys = tuple(cursor.key for cursor in active)
            self._asked_at = SYSTEM.running()
            link.ask(
                b"".join(command("XINFO", "STREAM", c.key) for c in active),
                replies=len(active),
            )
            return
        # Redis sends COUNT entries *per stream*; without the division one busy stream
        # fills the answer.
        each = max(1, self._size(wanted) // len(active))
        places = {cursor.key: redis_ids.wire(cursor.at) for cursor in active}
        blocking = all(cursor.caught_up and not cursor.closing for cursor in active)
        self._read(link, places, each, blocking=blocking)

    def _read(
        self, link: Link, places: Mapping[bytes, bytes], each: int, *, blocking: bool
    ) -> None:
        wait = ("BLOCK", BLOCK_MS) if blocking else ()
        self._blocking = blocking
        self._asked = "read"
        self._asked_keys, self._asked_each = tuple(places), each
        self._asked_at = SYSTEM.running()
        link.ask(
            command("XREAD", "COUNT", each, *wait, "STREAMS", *places, *places.values())
        )

    def _looking_due(self, streams: int) -> bool:
        """Once a second, rarer with very many streams; before each read if strict."""
        if self._looked_at is None:
            return True
        since = SYSTEM.running() - self._looked_at
        return since >= _LOOK_S + streams / 100

    def _ask_ahead(self, link: Link, answer: Any) -> bytes | None:
        """Ask for what follows before the answer is looked at, if its last id is plain.

        It does not block: were the id wrong, the answer would come and be dropped.
        """
        if not isinstance(answer, bytes) or len(self._asked_keys) != 1 or self._strict:
            return None
        (key,), each = self._asked_keys, self._asked_each
        cursor = self._cursors[key]
        last = redis_parse.tail(answer, redis_parse.prefix(key), each)
        if last is None or self._looking_due(1):
            return None
        if cursor.stop is not None and redis_ids.pair(last) >= cursor.stop:
            return None
        self._entry_bytes = len(answer) / each
        self._read(link, {key: last}, self._size(each), blocking=False)
        return last

    # ---- taking answers -----------------------------------------------------

    def _accept(self, link: Link, wanted: int) -> None:
        asked, self._asked = self._asked, ""
        answer, link.whole = link.whole, None
        self._back_off.over()
        if self._discard:
            self._discard = False
        elif asked == "look":
            self._look(answer)
        else:
            keys, each = self._asked_keys, self._asked_each
            ahead = self._ask_ahead(link, answer)
            self._take_in(self._columns(answer, keys), keys, each)
            if ahead is not None:
                self._discard = redis_ids.wire(self._cursors[keys[0]].at) != ahead
            if self._strict:
                self._looked_at = None
        # The server works while the caller does; a strict reader looks only just before.
        done = all(cursor.done for cursor in self._cursors.values())
        if not link.asking and not done and not (self._strict and asked == "read"):
            self._ask(link, wanted)

    def _look(self, answers: Sequence[Any]) -> None:
        """Find out what was lost since the last look."""
        self._looked_at = SYSTEM.running()
        for key, answer in zip(self._asked_keys, answers, strict=True):
            cursor = self._cursors[key]
            there = self._facts(answer, cursor.partition.topic)
            place = redis_ids.text(redis_ids.after(cursor.at))
            lost = cursor.look(there)
            self._lost += lost
            if lost and self._strict:
                raise PositionLost(
                    f"{cursor.partition.topic!r} partition {cursor.partition.number} on "
                    f"{self._settings.place} no longer has {place}: {lost} or more records "
                    'from there on are gone. To go on without them: on_lost="skip".'
                )

    def _facts(self, answer: Any, topic: str) -> Facts | None:
        if isinstance(answer, hiredis.ReplyError) and "no such key" not in str(answer):
            raise redis_errors.refusal(self._settings, str(answer), topic)
        return facts(answer)

    def _take_in(
        self, found: Sequence[Columns], keys: Sequence[bytes], each: int
    ) -> None:
        """Make the columns ready and move the cursors, up to their stops."""
        by_key = {columns.key: columns for columns in found}
        for cursor in (self._cursors[key] for key in keys):
            columns = by_key.get(cursor.key)
            if columns is None:
                cursor.dries()
                continue
            before = cursor.stop
            end = len(columns.ids)
            if before is not None and redis_ids.pair(columns.last) >= before:
                end = bisect_left(columns.ids, before, key=redis_ids.pair)
            self._skipped += columns.entries - len(columns.ids)
            if end:
                self._ready.append(self._block(cursor.partition, columns, end))
            last = redis_ids.pair(columns.last)
            cursor.passes(last, columns.entries, full=columns.entries >= each)
