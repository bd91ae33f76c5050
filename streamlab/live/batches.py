"""What arrives, handed to user code as batches: `for`, `async for`, `on_batch`.

User code never holds a stream back. While it is busy, changes gather into one; what the frame
itself has forgotten meanwhile is left out.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import polars as pl

from streamlab.changes import Change
from streamlab.errors import StreamFailedError
from streamlab.frames.feed import Feed
from streamlab.frames.members import Member
from streamlab.runtime.loop import io

Batch = pl.DataFrame | Change


class Gathered:
    """Changes since the last look, as one.

    Attributes:
        first: number of the micro-batch of the first change waiting; None if none waits.
    """

    def __init__(self, member: Member, most_rows: Callable[[], int]) -> None:
        """`most_rows` says how many rows the frame itself holds now."""
        self._key = member.key
        self._most = most_rows
        self._lock = threading.Lock()
        self._changes: list[Change] = []
        self._rows = 0
        self.first: int | None = None

    def add(self, change: Change, number: int = 0) -> bool:
        """Take in a change of micro-batch `number`; True if it is the first one waiting."""
        if not (change.added.height or change.removed.height):
            return False
        with self._lock:
            self._changes.append(change)
            self._rows += change.added.height
            first = len(self._changes) == 1
            if first:
                self.first = number
            if not self._key:
                self._trim()
            elif len(self._changes) > 64:
                self._changes = [self._merged()]
            return first

    def _trim(self) -> None:
        most = max(self._most(), 1)
        while (
            len(self._changes) > 1
            and self._rows - self._changes[0].added.height >= most
        ):
            self._rows -= self._changes.pop(0).added.height

    def take(self) -> Change | None:
        """All of it as one change, or None."""
        with self._lock:
            if not self._changes:
                return None
            change = self._merged()
            self._changes = []
            self._rows = 0
            self.first = None
            return change

    def _merged(self) -> Change:
        changes = self._changes
        if len(changes) == 1:
            return changes[0]
        last = changes[-1]
        added = pl.concat([c.added for c in changes])
        removed = last.removed
        if self._key:
            added, removed = self._by_key(added)
        forgotten = sum(c.forgotten for c in changes)
        return last._replace(added=added, removed=removed, forgotten=forgotten)

    def _by_key(self, added: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The last word on each key: changed, or gone."""
        key = list(self._key)
        gone = self._changes[0].removed.clear()
        for change in self._changes:
            gone = gone.join(
                change.added.select(key), on=key, how="anti", nulls_equal=True
            )
            gone = pl.concat([gone, change.removed]).unique(maintain_order=True)
        rows = added.unique(subset=key, keep="last", maintain_order=True)
        return rows.join(gone, on=key, how="anti", nulls_equal=True), gone


class Batches:
    """An iterator over a frame's batches, for both kinds of `for`.

    What a finished iteration had in hand may be committed, if the source commits; what was in
    hand or waiting when the loop was left may not, until another loop over the frame begins.

    Attributes:
        over: whether the loop was left.
    """

    def __init__(self, feed: Feed, member: Member, note: str) -> None:
        """Begin to listen now; what came before is in `.df`."""
        self._feed = feed
        self._member = member
        self._note = note
        self._gathered = Gathered(member, lambda: member.held.height)
        self._in_hand: int | None = None
        self.over = False
        feed.pipeline.outlets.follow(self)
        self._unlisten = member.listen(self._take_in, keys=True)

    def _take_in(self, change: Change) -> None:
        self._gathered.add(change, self._feed.pipeline.outlets.number)

    def close(self) -> None:
        """Listen no more."""
        self.over = True
        self._unlisten()

    @property
    def what(self) -> object:
        """The frame, for which a later loop takes this one's place."""
        return self._member

    def finished(self, now: int) -> int:
        """As `Follower`."""
        some = [n for n in (self._gathered.first, self._in_hand) if n is not None]
        return min([now, *(number - 1 for number in some)])

    async def _next(self) -> Batch | None:
        """The next batch; None at the end. On the I/O loop."""
        self._in_hand = None
        while True:
            seen = self._feed.announced
            first = self._gathered.first
            finished = self._feed.done(self._member)
            change = self._gathered.take()
            if change is not None:
                self._in_hand = first
                return change if self._member.key else change.added
            error = self._member.error or self._feed.error
            if error is not None:
                raise StreamFailedError(
                    f"{self._feed.spec.name} failed: {error}"
                ) from error
            if finished:
                return None
            await self._feed.changed(seen, self._member)

    def __iter__(self) -> Iterator[Batch]:
        try:
            while True:
                batch = io().call(
                    self._next(), twin="`async for batch in live:`", note=self._note
                )
                if batch is None:
                    return
                yield batch
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[Batch]:
        try:
            while True:
                batch = await io().bridge(self._next())
                if batch is None:
                    return
                yield batch
        finally:
            self.close()


def on_batch(member: Member, fn: Callable[[Any], object]) -> Callable[[], None]:
    """Call `fn` with each batch on the user's thread; returns the way to stop it."""
    gathered = Gathered(member, lambda: member.held.height)
    calls = io().user_calls
    wanted = True

    def deliver() -> None:
        change = gathered.take() if wanted else None
        if change is not None:
            fn(change if member.key else change.added)

    def changed(change: Change) -> None:
        if gathered.add(change):
            calls.put(deliver)

    unlisten = member.listen(changed, keys=True)

    def stop() -> None:
        nonlocal wanted
        wanted = False
        unlisten()

    return stop
