"""The reader of Redis streams: plain XREAD, no group, nothing written.

It does nothing on its own: each step is taken inside `receive`. At most one XREAD is on its way,
and one answer waits at most, so a reader that isn't asked holds one answer and no more.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Literal

import hiredis

from streamlab.backends import redis_errors, redis_ids, redis_parse
from streamlab.backends.redis_backoff import BackOff
from streamlab.backends.redis_cursor import Cursor, Facts, facts
from streamlab.backends.redis_parse import Columns, Shape
from streamlab.backends.redis_wire import Dialer, Link, command
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError, ConnectError, PositionLost
from streamlab.records import Partition, PartitionState, Records

# redis-py 8 gives up a silent socket after 5 s: block for less, and so does the rest of the world.
_BLOCK_MS = 2_000
_OVERDUE_S = _BLOCK_MS / 1000 + 5
_AT_ONCE_S = 0.001
_LOOK_S = 1.0  # how often a reader asks whether something was lost
_FIRST, _MOST, _MOST_MIXED = 100, 10_000, 1_000
_ANSWER_BYTES = 1 << 20


class RedisConsumer:
    """Reads some streams over one connection; owned by one task."""

    def __init__(
        self,
        dialer: Dialer,
        link: Link,
        cursors: Sequence[Cursor],
        shapes: MutableMapping[str, Shape],
        *,
        strict: bool,
        forget: Callable[[RedisConsumer], None],
    ) -> None:
        """Begin to read; all is lazy but the connection, which is open.

        Args:
            dialer: makes connections again.
            link: the first one.
            cursors: one per partition.
            shapes: per topic, how its entries are read; what is found out is added.
            strict: raise when something is lost.
            forget: called once this reader is closed.
        """
        self._dialer = dialer
        self._settings = dialer.settings
        self._link: Link | None = link
        self._dialing: asyncio.Task[Link] | None = None
        self._cursors = {cursor.key: cursor for cursor in cursors}
        self._shapes = shapes
        self._strict = strict
        self._forget = forget
        self._ready: deque[Records] = deque()
        self._asked: Literal["", "look", "read"] = ""
        self._asked_keys: tuple[bytes, ...] = ()
        self._asked_each = 0
        self._asked_at = self._called_at = self._left_at = 0.0
        self._looked_at: float | None = None
        self._discard = False
        self._failure: BrokerError | None = None
        self._entry_bytes = 0.0
        self._count = 0
        self._mixed = False
        self._back_off = BackOff(self._settings.address)
        self._lost = 0
        self._skipped = 0
        self._closed = False

    # ---- what a backend must do ---------------------------------------------

    async def receive(self, max_records: int, max_wait: float) -> Sequence[Records]:
        now = SYSTEM.running()
        if now - self._left_at > 1.0:
            self._called_at = now
        if self._failure is not None:
            raise self._failure
        # An answer that came while nobody waited is old: more has been written since.
        idle = self._link is not None and self._asked and not self._link.asking
        old = idle and not self._ready
        try:
            while not self._ready and not self.ended:
                if not await self._advance(max_records, now + max_wait):
                    return ()
            held = sum(len(block.values) for block in self._ready)
            if old and self._link is not None and held < max_records:
                await self._gather(self._link, max_records)
        finally:
            self._left_at = SYSTEM.running()
        return self._take(max_records)

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
        done = all(cursor.done for cursor in self._cursors.values())
        return self._closed or (done and not self._ready)

    @property
    def lost(self) -> int:
        return self._lost

    @property
    def skipped(self) -> int:
        """Entries without the payload field: passed over, not delivered."""
        return self._skipped

    @property
    def trouble(self) -> str | None:
        return self._back_off.trouble

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._ready.clear()
        self._forget(self)
        task, self._dialing = self._dialing, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        link, self._link = self._link, None
        if link is not None:
            await link.aclose()

    # ---- one step at a time -------------------------------------------------

    async def _advance(self, wanted: int, deadline: float) -> bool:
        """One step: connect, ask, wait or take an answer. False when the time is up."""
        try:
            if self._link is None:
                return await self._mend(deadline)
            if not self._asked:
                self._ask(self._link, wanted)
            left = deadline - SYSTEM.running()
            if not await self._link.answered(min(left, _OVERDUE_S)):
                self._watch(self._link)
                return SYSTEM.running() < deadline
            self._accept(self._link, wanted)
        except ConnectionError as error:
            # Some other task may have closed this reader meanwhile.
            if not self._closed:
                self._break(error)
        return True

    async def _mend(self, deadline: float) -> bool:
        """Connect again, once the time for it has come."""
        if self._dialing is None:
            wake = min(self._back_off.retry_at, deadline)
            await SYSTEM.sleep(wake - SYSTEM.running())
            if SYSTEM.running() < self._back_off.retry_at:
                return False
            self._dialing = asyncio.create_task(self._dialer.dial())
        task = self._dialing
        await asyncio.wait([task], timeout=max(0.0, deadline - SYSTEM.running()))
        if self._closed or not task.done():
            return False
        self._dialing = None
        self._link = task.result()
        self._looked_at = None
        return True

    async def _gather(self, link: Link, wanted: int) -> None:
        """Fetch what was written beside an old answer, if it comes at once."""
        try:
            if self._asked and await link.answered(_AT_ONCE_S):
                self._accept(link, wanted)
        except ConnectionError as error:
            self._break(error)
        except BrokerError as error:
            # What is ready goes first.
            self._failure = error

    def _break(self, error: ConnectionError) -> None:
        """Give the connection up and say when the next one is tried."""
        link, self._link = self._link, None
        if link is not None:
            link.abort(redis_errors.hung_up(self._settings, error, spoke=True))
        self._asked, self._discard = "", False
        for cursor in self._cursors.values():
            cursor.caught_up = False
        self._back_off.failed()

    def _watch(self, link: Link) -> None:
        """An answer that is overdue means a connection that died without a word."""
        waited = SYSTEM.running() - max(self._asked_at, self._called_at, link.heard_at)
        if waited > _OVERDUE_S:
            raise ConnectError(
                f"{self._settings.place} has been silent for {waited:.0f} s"
            )

    # ---- asking -------------------------------------------------------------

    def _ask(self, link: Link, wanted: int) -> None:
        active = [c for c in self._cursors.values() if not c.done]
        if self._looking_due(len(active)):
            self._asked = "look"
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
        wait = ("BLOCK", _BLOCK_MS) if blocking else ()
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

    def _size(self, wanted: int) -> int:
        """How many entries to ask for: an answer of about a megabyte."""
        if not self._count:
            self._count = max(1, min(wanted, _FIRST))
        elif self._entry_bytes:
            fitting = int(_ANSWER_BYTES / self._entry_bytes)
            most = _MOST_MIXED if self._mixed else _MOST
            self._count = max(1, min(most, fitting, self._count * 8))
        return self._count

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
        if asked == "look":
            self._look(answer)
        elif self._discard:
            self._discard = False
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

    def _columns(self, answer: Any, keys: Sequence[bytes]) -> list[Columns]:
        """An answer as columns: by the fast road, or by hiredis."""
        topics = {key: self._cursors[key].partition.topic for key in keys}
        if isinstance(answer, bytes):
            shapes = {key: self._shapes.get(topic) for key, topic in topics.items()}
            found = redis_parse.cut(answer, shapes)
            if found is not None:
                self._mixed = False
                self._entry_bytes = len(answer) / sum(c.entries for c in found)
                return found
            answer = redis_parse.read(answer)
        if isinstance(answer, hiredis.ReplyError):
            raise redis_errors.refusal(self._settings, str(answer), topics[keys[0]])
        for key, entries in answer or ():
            if topics[key] not in self._shapes:
                fields = [held for _, held in entries if held]
                self._shapes[topics[key]] = redis_parse.choose(
                    fields, self._settings.key_field.encode()
                )
        found = redis_parse.arrange(
            answer, {k: self._shapes[topics[k]] for k, _ in answer or ()}
        )
        if found:
            self._mixed = True
            self._entry_bytes = redis_parse.weight(found)
        return found

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
                self._ready.append(redis_parse.block(cursor.partition, columns, end))
            last = redis_ids.pair(columns.last)
            cursor.passes(last, columns.entries, full=columns.entries >= each)

    def _take(self, most: int) -> Sequence[Records]:
        """What is ready, at most so many records."""
        taken: list[Records] = []
        while self._ready and most > 0:
            block = self._ready.popleft()
            size = len(block.values)
            if size > most:
                self._ready.appendleft(redis_parse.part(block, most, size))
                block = redis_parse.part(block, 0, most)
            taken.append(block)
            most -= size
        return taken
