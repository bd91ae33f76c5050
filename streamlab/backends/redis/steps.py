"""The steps that all readers of Redis streams share: connect, ask, wait, take an answer.

A reader does nothing on its own: each step is taken inside `receive`. At most one question is on
its way, and one answer waits at most, so a reader that isn't asked holds one answer and no more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import hiredis

from streamlab.backends.redis import errors as redis_errors
from streamlab.backends.redis import parse as redis_parse
from streamlab.backends.redis.backoff import BackOff
from streamlab.backends.redis.parse import Columns, Shape
from streamlab.backends.redis.wire import Dialer, Link
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError, ConnectError
from streamlab.records import Partition, Records

# redis-py 8 gives up a silent socket after 5 s: block for less, and so does the rest of the world.
BLOCK_MS = 2_000
_OVERDUE_S = BLOCK_MS / 1000 + 5
_AT_ONCE_S = 0.001
_FIRST, _MOST, _MOST_MIXED = 100, 10_000, 1_000
_ANSWER_BYTES = 1 << 20


class Steps:
    """What reads over one connection; owned by one task. Who inherits it says what is asked."""

    def __init__(
        self, dialer: Dialer, link: Link | None, shapes: MutableMapping[str, Shape]
    ) -> None:
        """Begin to read; all is lazy.

        Args:
            dialer: makes connections again.
            link: the first one, if it is made already.
            shapes: per topic, how its entries are read; what is found out is added.
        """
        self._dialer = dialer
        self._settings = dialer.settings
        self._link = link
        self._dialing: asyncio.Task[Link] | None = None
        self._shapes = shapes
        self._ready: deque[Records] = deque()
        self._asked = ""
        self._asked_keys: tuple[bytes, ...] = ()
        self._asked_each = 0
        self._asked_at = self._called_at = self._left_at = 0.0
        self._failure: BrokerError | None = None
        self._entry_bytes = 0.0
        self._count = 0
        self._mixed = False
        self._back_off = BackOff(lambda: dialer.settings.address)
        self._skipped = 0
        self._closed = False

    # ---- who inherits this -----------------------------------------------------

    @property
    def ended(self) -> bool:
        """Nothing will come any more."""
        return self._closed

    def _ask(self, link: Link, wanted: int) -> None:
        """Send the next question; nothing at all if there is none."""
        raise NotImplementedError

    def _accept(self, link: Link, wanted: int) -> None:
        """Take the answer that is there."""
        raise NotImplementedError

    def _partition(self, key: bytes) -> Partition:
        """Whose stream it is."""
        raise NotImplementedError

    def _unsure(self) -> None:
        """The connection is gone: what was known of the server's state is a guess."""

    async def _errand(self, link: Link) -> bool:  # noqa: ARG002 (for who has errands)
        """Something to be done before the next question; False if there is nothing."""
        return False

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
                if await self._errand(self._link):
                    return SYSTEM.running() < deadline
                self._ask(self._link, wanted)
            left = deadline - SYSTEM.running()
            if not self._asked:
                await SYSTEM.sleep(left)
                return False
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
        self._hang_up(error)
        self._back_off.failed()

    def _hang_up(self, error: BaseException | None) -> None:
        """Be without a connection; whatever was asked is not answered any more."""
        link, self._link = self._link, None
        if link is not None:
            link.abort(redis_errors.hung_up(self._settings, error, spoke=True))
        self._asked = ""
        self._unsure()

    def _watch(self, link: Link) -> None:
        """An answer that is overdue means a connection that died without a word."""
        waited = SYSTEM.running() - max(self._asked_at, self._called_at, link.heard_at)
        if waited > _OVERDUE_S:
            raise ConnectError(
                f"{self._settings.place} has been silent for {waited:.0f} s"
            )

    def _size(self, wanted: int) -> int:
        """How many entries to ask for: an answer of about a megabyte."""
        if not self._count:
            self._count = max(1, min(wanted, _FIRST))
        elif self._entry_bytes:
            fitting = int(_ANSWER_BYTES / self._entry_bytes)
            most = _MOST_MIXED if self._mixed else _MOST
            self._count = max(1, min(most, fitting, self._count * 8))
        return self._count

    # ---- taking answers -----------------------------------------------------

    def _columns(self, answer: Any, keys: Sequence[bytes]) -> list[Columns]:
        """An answer as columns: by the fast road, or by hiredis."""
        topics = {key: self._partition(key).topic for key in keys}
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
        return self._arranged(answer, topics)

    def _arranged(
        self, answer: Sequence[Any] | None, topics: Mapping[bytes, str]
    ) -> list[Columns]:
        """What hiredis has read, as columns; finds out how a topic's entries are read."""
        held = [(key, entries) for key, entries in answer or () if entries]
        for key, entries in held:
            if topics[key] not in self._shapes:
                fields = [fields for _, fields in entries if fields]
                if not fields:
                    continue
                self._shapes[topics[key]] = redis_parse.choose(
                    fields, self._settings.key_field.encode()
                )
        plain = Shape(redis_parse.SEASTREAMER, self._settings.key_field.encode())
        shapes = {key: self._shapes.get(topics[key], plain) for key, _ in held}
        found = redis_parse.arrange(held, shapes)
        if found:
            self._mixed = True
            self._entry_bytes = redis_parse.weight(found)
        return found

    def _block(self, partition: Partition, columns: Columns, end: int) -> Records:
        """The first `end` records of the columns."""
        return redis_parse.block(partition, columns, end, self._settings.per_ms)

    def _take(self, most: int) -> Sequence[Records]:
        """What is ready, at most so many records."""
        return redis_parse.take(self._ready, most)
