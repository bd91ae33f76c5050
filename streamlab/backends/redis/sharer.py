"""A group member's reader: XREADGROUP over streams that one command can name.

First come the entries it was given before and has not acknowledged (it may have crashed, or a
lost connection may have swallowed an answer), then new ones. Every so often it takes over what
members left that have gone silent: XPENDING and XCLAIM rather than XAUTOCLAIM, which would also
take what slow but living members, this one included, have not acknowledged yet.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol

import hiredis

from streamlab.backends.redis import groupfacts as redis_groupfacts
from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis import parse as redis_parse
from streamlab.backends.redis.cursor import facts
from streamlab.backends.redis.groupfacts import LEFT, Reader
from streamlab.backends.redis.ids import Id
from streamlab.backends.redis.ledger import Ledger
from streamlab.backends.redis.parse import Columns, Shape
from streamlab.backends.redis.steps import BLOCK_MS, Steps
from streamlab.backends.redis.wire import Dialer, Link, command
from streamlab.clocks import SYSTEM
from streamlab.records import Partition, Records

_PAGE = 1_000
_LARGE = 100_000  # an answer of so many bytes is hardly the last for now
_GONE = ("NOGROUP", "UNBLOCKED", "ERR no such key")


class Claim(NamedTuple):
    """Entries to be taken over.

    Attributes:
        key: of the stream.
        owner: who has them.
        start: the first id looked at.
    """

    key: bytes
    owner: bytes
    start: Id = redis_ids.NONE


class Claimed(Protocol):
    """Told that entries were taken over."""

    def __call__(self, owner: bytes, count: int, *, first: bool) -> None:
        """So many of `owner`'s in this round; `first` to be told of it."""
        ...


class Sharer(Steps):
    """Reads some streams as a member of a group; owned by one task."""

    def __init__(
        self,
        dialer: Dialer,
        shapes: MutableMapping[str, Shape],
        *,
        group: str,
        name: str,
        ledger: Ledger,
        claimed: Claimed,
    ) -> None:
        """Begin without streams.

        Args:
            dialer: makes its connection.
            shapes: per topic, how its entries are read; what is found out is added.
            group: whose member it is.
            name: what it is called there.
            ledger: where it notes what it hands out.
            claimed: told what was taken over.
        """
        super().__init__(dialer, None, shapes)
        self._group, self._name = group, name
        self._ledger = ledger
        self._claimed = claimed
        self._keys: dict[bytes, Partition] = {}
        self._began: dict[bytes, Id] = {}
        self._seen: dict[bytes, Id] = {}
        self._history: dict[bytes, bytes] = {}
        self._claims: deque[Claim] = deque()
        self._round: Counter[bytes] = Counter()
        self._looked_at = SYSTEM.running()
        self._more = self._heal = False
        self._wanted = 1
        idle, interval = self._settings.claim_idle, self._settings.claim_interval
        # A member that waits must be heard of well before it counts as silent.
        self._block_ms = max(1, min(BLOCK_MS, int(min(interval, idle / 3) * 1000)))

    @property
    def keys(self) -> Mapping[bytes, Partition]:
        """The streams it reads."""
        return self._keys

    @property
    def waits(self) -> bool:
        """The server's last answer held nothing more."""
        return not self._more and not self._ready and not self._history

    def share(self, key: bytes, partition: Partition, began: Id) -> None:
        """Read this stream too, in which the group began behind `began`."""
        self._keys[key], self._began[key] = partition, began
        self._history[key] = b"0-0"
        self._interrupt()

    def leave(self, key: bytes) -> None:
        """Read this stream no more; what was fetched of it is not handed out."""
        partition = self._keys.pop(key)
        self._history.pop(key, None)
        kept = [block for block in self._ready if block.partition != partition]
        self._ready.clear()
        self._ready.extend(kept)
        self._interrupt()

    # ---- asking -------------------------------------------------------------

    def _partition(self, key: bytes) -> Partition:
        return self._keys[key]

    def _interrupt(self) -> None:
        """Don't wait for an answer about other streams than those of now."""
        if self._asked:
            # What it held stays ours in the server's book, and is read from there.
            self._hang_up(None)

    def _unsure(self) -> None:
        self._history = dict.fromkeys(self._keys, b"0-0")
        self._more = False

    def _ask(self, link: Link, wanted: int) -> None:
        if not self._keys:
            return
        places: Mapping[bytes, bytes] = self._history or dict.fromkeys(self._keys, b">")
        self._wanted = wanted
        self._read(link, places, self._each(len(places)))

    def _each(self, streams: int) -> int:
        """How many entries of each stream to ask for: what waits here, no other member gets."""
        return max(1, min(self._size(self._wanted), self._wanted) // streams)

    def _read(self, link: Link, places: Mapping[bytes, bytes], each: int) -> None:
        past = bool(self._history)
        wait = () if past or self._more else ("BLOCK", self._block_ms)
        self._asked = "past" if past else "new"
        self._asked_keys, self._asked_each = tuple(places), each
        self._asked_at = SYSTEM.running()
        link.ask(
            command(
                *("XREADGROUP", "GROUP", self._group, self._name, "COUNT", each),
                *(*wait, "STREAMS", *places, *places.values()),
            )
        )

    def _ask_ahead(self, link: Link, answer: Any) -> None:
        """Let the server fetch what follows while this answer is looked at."""
        if not isinstance(answer, bytes) or self._errand_due():
            return
        if len(self._asked_keys) == 1:
            (key,), each = self._asked_keys, self._asked_each
            full = answer.startswith(b"%b%d\r\n" % (redis_parse.prefix(key), each))
        else:
            full = len(answer) > _LARGE
        if full:
            self._more = True
            self._entry_bytes = self._entry_bytes or len(answer) / self._asked_each
            keys = dict.fromkeys(self._asked_keys, b">")
            self._read(link, keys, self._each(len(keys)))

    # ---- taking answers -----------------------------------------------------

    def _accept(self, link: Link, wanted: int) -> None:
        asked, self._asked = self._asked, ""
        answer, link.whole = link.whole, None
        keys, each = self._asked_keys, self._asked_each
        self._back_off.over()
        if _tells_it_is_gone(answer):
            self._heal = True
            return
        if asked == "new":
            self._ask_ahead(link, answer)
        found = self._columns(answer, keys)
        if asked == "past":
            self._recall(found, keys)
        else:
            self._more = any(columns.entries >= each for columns in found)
            for columns in found:
                self._seen[columns.key] = redis_ids.pair(columns.last)
                self._make_ready(columns)
        # The server works while the caller does.
        if not link.asking and not self._errand_due():
            self._ask(link, wanted)

    def _recall(self, found: Sequence[Columns], keys: Sequence[bytes]) -> None:
        """Own entries from before: those that were not handed out meanwhile."""
        by_key = {columns.key: columns for columns in found}
        for key in keys:
            columns = by_key.get(key)
            if columns is None:
                self._history.pop(key, None)
                continue
            self._history[key] = columns.last
            known = self._ledger.outstanding(key)
            for block in self._ready:
                if block.partition == self._keys[key]:
                    known.update(o for o in block.offsets if isinstance(o, bytes))
            self._make_ready(_without(columns, known) if known else columns)

    def _make_ready(self, columns: Columns) -> None:
        if columns.passed:
            self._skipped += len(columns.passed)
            self._ledger.pass_over(columns.key, columns.passed)
        if columns.ids:
            partition = self._keys[columns.key]
            self._ready.append(self._block(partition, columns, len(columns.ids)))

    def _take(self, most: int) -> Sequence[Records]:
        taken = super()._take(most)
        streams = {partition: key for key, partition in self._keys.items()}
        for block in taken:
            ids: Sequence[Any] = block.offsets
            self._ledger.give(block.partition, streams[block.partition], ids)
        return taken

    # ---- what is done between two questions -----------------------------------

    def _errand_due(self) -> bool:
        since = SYSTEM.running() - self._looked_at
        interval = self._settings.claim_interval
        return self._heal or bool(self._claims) or since >= interval

    async def _errand(self, link: Link) -> bool:
        if not self._keys or not self._errand_due():
            return False
        try:
            if self._heal:
                await self._make_again(link)
            elif self._claims:
                await self._claim(link, self._claims.popleft())
            else:
                await self._look(link)
        except asyncio.CancelledError:
            # What was claimed and not taken in is found among the own entries.
            self._unsure()
            raise
        return True

    async def _look(self, link: Link) -> None:
        """Find members that have gone silent."""
        self._looked_at = SYSTEM.running()
        self._round.clear()
        keys = [*self._keys]
        commands = [command("XINFO", "CONSUMERS", key, self._group) for key in keys]
        replies = await link.pipeline(b"".join(commands), len(keys))
        for key, reply in zip(keys, replies, strict=True):
            if _tells_it_is_gone(reply):
                self._heal = True
                continue
            for reader in redis_groupfacts.readers(self._good(reply, key)):
                if reader.name == self._name.encode():
                    self._check(key, reader.pending)
                elif reader.pending and self._is_gone(reader):
                    self._claims.append(Claim(key, reader.name))

    def _is_gone(self, reader: Reader) -> bool:
        if reader.is_ours:
            return reader.name == LEFT
        return reader.idle_ms > self._settings.claim_idle * 1000

    def _check(self, key: bytes, pending: int) -> None:
        """What this member was given and doesn't know of is read from the server's book.

        A connection that died without the server's noticing is given entries all the same.
        """
        ready = sum(
            len(b.values) for b in self._ready if b.partition == self._keys[key]
        )
        if pending > self._ledger.count(key) + ready:
            self._history[key] = b"0-0"

    async def _claim(self, link: Link, claim: Claim) -> None:
        """Take over one page of a member's entries."""
        key, owner, start = claim
        if key not in self._keys:
            return
        idle = int(self._settings.claim_idle * 1000)
        page = await link.call(
            *("XPENDING", key, self._group, redis_ids.wire(start), "+", _PAGE, owner)
        )
        if len(page) == _PAGE:
            following = redis_ids.after(redis_ids.pair(page[-1][0]))
            self._claims.appendleft(Claim(key, owner, following))
        if not page:
            return
        # Of two who try, the first one makes the entries young: the second gets none.
        taken = await link.call(
            *("XCLAIM", key, self._group, self._name, idle),
            *(entry[0] for entry in page),
        )
        held = [each for each in taken if each is not None and each[1] is not None]
        topics = {key: self._keys[key].topic}
        for columns in self._arranged([(key, held)], topics):
            self._make_ready(columns)
        if held:
            first = not self._round[owner]
            self._round[owner] += len(held)
            self._claimed(owner, self._round[owner], first=first)

    async def _make_again(self, link: Link) -> None:
        """The group is gone, or the stream with it: make it where nothing is passed over."""
        keys = [*self._keys]
        commands = [command("XINFO", "STREAM", key) for key in keys]
        replies = await link.pipeline(b"".join(commands), len(keys))
        for key, reply in zip(keys, replies, strict=True):
            gone = _tells_it_is_gone(reply)
            there = None if gone else facts(self._good(reply, key))
            last = redis_ids.NONE if there is None else there.last
            words = ("XGROUP", "CREATE", key, self._group)
            place = redis_ids.wire(self._place(key, last))
            (said,) = await link.pipeline(command(*words, place, "MKSTREAM"), 1)
            if not str(said).startswith("BUSYGROUP"):
                self._good(said, key)
        self._heal = False
        self._unsure()

    def _place(self, key: bytes, last: Id) -> Id:
        """Behind which entry the group is made again on a stream that ends with `last`."""
        seen = self._seen.get(key, self._began[key])
        if last >= seen:
            lowest = self._ledger.lowest(key)
            return seen if lowest is None else min(seen, redis_ids.before(lowest))
        # The server was restored from an older copy, or the stream is another one.
        return self._began[key] if last >= self._began[key] else redis_ids.NONE

    def _good(self, reply: Any, key: bytes) -> Any:
        if isinstance(reply, hiredis.ReplyError):
            return self._columns(reply, [key])
        return reply


def _tells_it_is_gone(answer: Any) -> bool:
    """Whether an answer says that there is no such group, or stream, any more."""
    if isinstance(answer, bytes):
        return answer[1:16].startswith(tuple(word.encode() for word in _GONE))
    return isinstance(answer, hiredis.ReplyError) and str(answer).startswith(_GONE)


def _without(columns: Columns, known: set[bytes]) -> Columns:
    """The columns without entries that are known."""
    places = [i for i, entry in enumerate(columns.ids) if entry not in known]
    keys, headers = columns.keys, columns.headers
    return columns._replace(
        ids=[columns.ids[i] for i in places],
        values=[columns.values[i] for i in places],
        keys=None if keys is None else [keys[i] for i in places],
        headers=None if headers is None else [headers[i] for i in places],
        passed=[entry for entry in columns.passed if entry not in known],
    )
