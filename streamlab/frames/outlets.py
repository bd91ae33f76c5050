"""FRAME: where micro-batches leave for sinks, and who has finished with which.

A sink may wait and never misses: each has a thread and a queue of two micro-batches, and while one
is full its source hands nothing over. Loops over a frame (`for batch in live`) have no queue and
hold nothing back, but what they have not finished is not committed either.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from streamlab.changes import Change
from streamlab.engine.outcome import Outcome
from streamlab.frames.members import Member
from streamlab.frames.taps import Tap
from streamlab.runtime.worker import Worker, WorkerClosedError

ROOM = 2  # micro-batches that wait for a sink, the one under way included


class Follower(Protocol):
    """Somebody who takes micro-batches at his own pace."""

    @property
    def over(self) -> bool:
        """Whether he takes no more; what he had not finished stays so."""
        ...

    @property
    def what(self) -> object:
        """What he takes; another one of the same takes the place of one who is over."""
        ...

    def finished(self, now: int) -> int:
        """Number of the last micro-batch that he is done with; `now` is the newest there is."""
        ...


class Outlet:
    """The queue before one sink. Filled by the source's worker, emptied by a thread of its own.

    Attributes:
        name: of the sink, as shown.
        member: the frame whose changes it takes.
        error: why it stopped, or None.
    """

    def __init__(
        self,
        name: str,
        member: Member,
        write: Callable[[Change], None],
        *,
        moved: Callable[[], None],
    ) -> None:
        """Nothing waits yet.

        Args:
            name: as shown.
            member: the frame.
            write: takes one change and returns when it is safe; called from one thread.
            moved: told, from any thread, whenever something was written or went wrong.
        """
        self.name = name
        self.member = member
        self.error: BaseException | None = None
        self._write = write
        self._moved = moved
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, Change]] = deque()
        self._thread = Worker("streamlab-sink")

    def put(self, number: int, change: Change | None) -> None:
        """One micro-batch; None if it did nothing to the frame."""
        with self._lock:
            some = change is not None and (change.added.height or change.removed.height)
            if change is None or not some or self.error is not None:
                return
            self._waiting.append((number, self.member.as_given(change)))
        try:
            self._thread.submit(self._next)
        except WorkerClosedError:  # it was stopped between two micro-batches
            with self._lock:
                self._waiting.clear()

    @property
    def full(self) -> bool:
        """Whether the source must wait."""
        return self.error is None and len(self._waiting) >= ROOM

    @property
    def empty(self) -> bool:
        """Whether all that was put in is written."""
        return not self._waiting

    def finished(self, now: int) -> int:
        """As `Follower`: a failed sink is done with nothing more."""
        with self._lock:
            return min(now, self._waiting[0][0] - 1) if self._waiting else now

    def close(self) -> None:
        """Take nothing more; what waits is still written."""
        self._thread.close()

    def abandon(self) -> None:
        """Take nothing more and write nothing more, as in a crash."""
        with self._lock:
            self._waiting.clear()
        self._thread.close()

    def _next(self) -> None:
        with self._lock:
            if not self._waiting or self.error is not None:
                return
            number, change = self._waiting[0]
        try:
            self._write(change)
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            with self._lock:
                self.error = error  # and it stays at the head of what waits
        else:
            with self._lock:
                if self._waiting and self._waiting[0][0] == number:
                    self._waiting.popleft()
        self._moved()


class Outlets:
    """All sinks and loops of one source.

    Attributes:
        number: of the micro-batch under way, or the last one.
    """

    def __init__(self) -> None:
        """Nobody takes anything yet."""
        self.number = 0
        self._outlets: list[Outlet] = []
        self._others: list[Follower] = []
        self._taps: list[Tap] = []
        self._lock = threading.Lock()

    def add(self, outlet: Outlet, first: Change | None) -> None:
        """A new sink, which begins with `first`; on the worker, between two micro-batches."""
        with self._lock:
            self._outlets.append(outlet)
        outlet.put(self.number, first)

    def remove(self, outlet: Outlet) -> None:
        """Let a sink go: it holds nothing back any more."""
        with self._lock:
            if outlet in self._outlets:
                self._outlets.remove(outlet)

    def follow(self, follower: Follower) -> None:
        """Commit nothing that `follower` has not finished."""
        with self._lock:
            others = [f for f in self._others if not f.over or f.what != follower.what]
            self._others = [*others, follower]

    def put(
        self,
        number: int,
        told: Mapping[Member, Change],
        begun: Mapping[Member, Change] | None = None,
    ) -> None:
        """Hand a micro-batch's changes to the sinks and joins; on the worker.

        Args:
            number: of the micro-batch.
            told: what it did.
            begun: what frames began with, just before.
        """
        for changes in (begun or {}, told):
            for outlet in self.all:
                outlet.put(number, changes.get(outlet.member))
        for tap in self.taps:
            tap.put()

    # -- joins of other sources ----------------------------------------------------------

    def tap(self, tap: Tap) -> None:
        """A join of another source reads one of the frames."""
        with self._lock:
            self._taps.append(tap)

    def untap(self, tap: Tap) -> None:
        """It reads no more; from any thread."""
        with self._lock:
            self._taps = [each for each in self._taps if each is not tap]
        tap.close()

    @property
    def crossing(self) -> bool:
        """Whether rows are on their way to a join in another source."""
        return not all(tap.empty for tap in self.taps)

    @property
    def taps(self) -> list[Tap]:
        """Those that read."""
        with self._lock:
            return list(self._taps)

    def offer(self, member: Member, outcome: Outcome) -> None:
        """What a micro-batch did to a frame, whatever that is; on the worker."""
        for tap in self._taps:
            if tap.member is member:
                tap.offer(outcome)

    def lost(self, member: Member, error: BaseException) -> None:
        """A frame was stopped, or has failed; on the worker."""
        for tap in self.taps:
            if tap.member is member:
                tap.broke(error)

    # -- how far they are ------------------------------------------------------------------

    @property
    def all(self) -> list[Outlet]:
        """The sinks there are."""
        with self._lock:
            return list(self._outlets)

    @property
    def full(self) -> list[str]:
        """Names of the sinks and joins that hold the source back."""
        waiting: list[Outlet | Tap] = [*self.all, *self.taps]
        return [each.name for each in waiting if each.full]

    @property
    def empty(self) -> bool:
        """Whether everything handed over has been written."""
        return all(outlet.empty for outlet in self.all if outlet.error is None)

    def finished(self, now: int) -> int:
        """Number of the last micro-batch that everybody is done with.

        Args:
            now: the newest that was published.
        """
        with self._lock:
            ends = [each.finished for each in self._outlets]
            ends += [each.finished for each in self._others]
        return min((finished(now) for finished in ends), default=now)
