"""How far a reader is in one stream, and what the server has lost of it meanwhile. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import hiredis

from streamlab.backends.redis import ids
from streamlab.backends.redis.ids import Id
from streamlab.records import Partition


class Facts(NamedTuple):
    """What XINFO STREAM says.

    Attributes:
        length: entries there are.
        first, newest: ids of the first and the last of them; None without any.
        last: the highest id ever given out, deleted or not.
        added: entries ever written; None before Redis 7.
        deleted: the highest id that XDEL took away (trimming does not count).
    """

    length: int = 0
    first: Id | None = None
    newest: Id | None = None
    last: Id = ids.NONE
    added: int | None = None
    deleted: Id = ids.NONE

    @property
    def gone(self) -> int:
        """Entries that were there once."""
        return 0 if self.added is None else max(0, self.added - self.length)


def facts(reply: Any) -> Facts | None:
    """The answer of XINFO STREAM; None for a key that doesn't exist.

    An error other than "no such key" is the caller's business.
    """
    if isinstance(reply, hiredis.ReplyError):
        return None
    said = dict(zip(reply[::2], reply[1::2], strict=True))
    first, newest = said.get(b"first-entry"), said.get(b"last-entry")
    return Facts(
        length=said[b"length"],
        first=ids.pair(first[0]) if first else None,
        newest=ids.pair(newest[0]) if newest else None,
        last=ids.pair(said[b"last-generated-id"]),
        added=said.get(b"entries-added"),
        deleted=ids.pair(said.get(b"max-deleted-entry-id", b"0-0")),
    )


@dataclass(slots=True)
class Cursor:
    """One partition of one reader.

    Attributes:
        partition: in the user's words.
        key: of its stream.
        at: the last id passed; the next entry comes after it.
        stop: the first id not delivered; None for no end.
        caught_up: the last answer held nothing more.
        done: the stop is reached.
        passed: how many of all entries ever written lie behind; None where unknown.
        seen: the highest id known to have been given out.
        witness: an entry known to be ahead when last looked; None if there was none.
        deleted: the highest id deleted when last looked.
    """

    partition: Partition
    key: bytes
    at: Id
    stop: Id | None = None
    caught_up: bool = False
    done: bool = False
    passed: int | None = None
    seen: Id = ids.NONE
    witness: Id | None = None
    deleted: Id = ids.NONE

    def begin(self, known: Facts | None) -> None:
        """Take as the state of things what was known when the start was resolved."""
        self.done = self.stop is not None and ids.after(self.at) >= self.stop
        if known is None:
            return
        self.seen, self.deleted = known.last, known.deleted
        self._count(known)
        # A start that was resolved is an entry that there was, unless it is the end.
        start = ids.after(self.at)
        self.witness = start if start <= known.last else None

    def passes(self, last: Id, entries: int, *, full: bool) -> None:
        """Entries up to `last` have been read; `full`: as many as were asked for."""
        self.at = last
        self.seen = max(self.seen, last)
        if self.passed is not None:
            self.passed += entries
        if self.stop is not None and ids.after(last) >= self.stop:
            self.done, self.at = True, ids.before(self.stop)
        if full:
            self.caught_up = False
        else:
            self.dries()

    def dries(self) -> None:
        """The answer held nothing more: all that was there when last looked is read."""
        self.caught_up = True
        if self.stop is not None and ids.after(self.seen) >= self.stop:
            self.done = True

    @property
    def closing(self) -> bool:
        """All before the stop has been written: reading on must not wait."""
        return self.stop is not None and ids.after(self.seen) >= self.stop

    def look(self, now: Facts | None) -> int:
        """Compare with what the server says now, and go on where there is something.

        Returns:
            How many entries were lost; at least 1 where they can't be counted.
        """
        now = now or Facts()
        if now.last < self.seen:
            return self._went_back(now)
        lost = self._rewritten(now)
        if now.first is None or now.first > self.at:
            lost += self._overtaken(now)
        caught_up = self.at >= now.last
        # With everything read, what was written and not met has been trimmed before us,
        # unless somebody deleted single entries.
        if caught_up and now.added is not None and now.deleted == self.deleted:
            lost += max(
                0, now.added - (now.added if self.passed is None else self.passed)
            )
        self._count(now)
        self.seen, self.deleted = now.last, now.deleted
        # The highest id of all may have been deleted; the newest entry is there.
        ahead = now.newest is not None and now.newest > self.at
        self.witness = now.newest if ahead else None
        if self.stop is not None and ids.after(self.at) >= self.stop:
            self.done = True
        return lost

    def _went_back(self, now: Facts) -> int:
        """The server was restored, or the stream made anew: read what comes from here on."""
        # What stood before the stop will not come again: don't wait for it.
        self.done = self.done or self.closing
        self.at = self.seen = now.last
        self.passed, self.deleted, self.witness = now.added, now.deleted, None
        return 1

    def _rewritten(self, now: Facts) -> int:
        """Fewer entries ever written than lie behind: it is another stream by that name."""
        if self.passed is None or now.added is None or now.added >= self.passed:
            return 0
        self.passed = self.witness = None
        return 1

    def _overtaken(self, now: Facts) -> int:
        """Trimming may have gone past this place: how many entries it took unread."""
        lost = 0
        if self.passed is not None and now.gone > self.passed:
            lost, self.passed = now.gone - self.passed, now.gone
        elif self.passed is None and self.witness is not None:
            lost = int(now.first is None or now.first > self.witness > self.at)
        if lost:
            self.at = max(self.at, ids.before(now.first) if now.first else now.last)
        return lost

    def _count(self, now: Facts) -> None:
        """Find out how many entries lie behind, where that can be told."""
        if now.added is None:
            return
        if self.at >= now.last:
            self.passed = now.added
        elif self.passed is None and (now.first is None or now.first > self.at):
            self.passed = now.gone
