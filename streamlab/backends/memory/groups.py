"""Groups of the broker in memory: their commits, who is in them, and who reads what.

A change of who reads what ("rebalance") is carried out by the members themselves: each gives up
what is no longer its own, once its `revoked` has returned, and takes what is and has become
free. So a partition is never read by two, and its new reader starts where the old one committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from streamlab.backends.base import GroupInfo, GroupMember
from streamlab.backends.memory.shares import moves, shares
from streamlab.clocks import SYSTEM, Clock
from streamlab.errors import GroupBusyError
from streamlab.records import Committed, Mark, Offset, Partition, Resolved

# By the machine's own clock: how long a member that seems dead has to answer. One whose loop is
# only busy answers; and a clock moved by hand makes everybody seem dead.
GRACE = 0.5


@dataclass
class Seat:
    """A member as its group sees it; guarded by the group's lock.

    Attributes:
        name: unique in the group.
        topics: what it shares.
        begin: where it starts what nobody has committed.
        session: seconds of silence after which it counts as dead.
        wake: lets it look again, from any thread; False if it can't any more.
        seen: when it was last heard of, by the broker's clock.
        crashed: it will never be heard of again.
        suspected: when it was asked whether it lives, by the machine's clock.
        rebalances: how often its partitions changed since it joined.
    """

    name: str
    topics: tuple[str, ...]
    begin: Resolved
    session: float
    wake: Callable[[], bool]
    seen: float = 0.0
    crashed: bool = False
    suspected: float | None = None
    rebalances: int = 0


@dataclass
class Group:
    """A group of readers; may be used from any thread.

    Attributes:
        name: of the group.
        count: how many partitions a topic has.
        clock: by which members count as dead.
        news: the last change of who reads what, in a clause.
    """

    name: str
    count: Callable[[str], int]
    clock: Callable[[], Clock]
    news: str = ""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _commits: dict[Partition, Committed] = field(default_factory=dict)
    _began: dict[Partition, Offset] = field(default_factory=dict)
    _seats: dict[str, Seat] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _wanted: dict[Partition, str] = field(default_factory=dict)
    _owners: dict[Partition, str] = field(default_factory=dict)

    # -- what is committed -----------------------------------------------------------------

    def committed(self, topic: str) -> dict[Partition, Committed]:
        """What of a topic is committed."""
        with self._lock:
            return {p: c for p, c in self._commits.items() if p.topic == topic}

    def commit(self, done: Mapping[Partition, Committed]) -> None:
        """Commit for a reader that has the group to itself.

        Raises:
            GroupBusyError: it has members.
        """
        with self._lock:
            if busy := [seat.name for seat in self._alive()]:
                raise GroupBusyError(
                    f"the group {self.name!r} is shared by {', '.join(sorted(busy))} "
                    "(load-balanced), so no single reader can commit for it. Take another "
                    'group, or share it: mode="load-balanced".'
                )
            self._commits |= done

    def commit_for(self, seat: Seat, upto: Mapping[Partition, Mark]) -> None:
        """Commit for a member: of what it reads; the rest has gone to others."""
        with self._lock:
            if self._seats.get(seat.name) is not seat:
                return
            for partition, mark in upto.items():
                if self._owners.get(partition) == seat.name:
                    self._commits[partition] = Committed(mark.next)

    # -- who is in it ------------------------------------------------------------------------

    def info(self) -> GroupInfo:
        """What is the case; looks only."""
        with self._lock:
            alive = {seat.name: seat for seat in self._alive()}
            topics = {p.topic for p in self._commits}
            now = self.clock().running()
            members = [
                GroupMember(
                    name,
                    partitions=tuple(
                        p for p, owner in sorted(self._owners.items()) if owner == name
                    ),
                    idle_ms=max(0, round(1000 * (now - seat.seen))),
                )
                for name, seat in sorted(alive.items())
            ]
            settled = (
                self._owners == self._wanted and alive.keys() == self._seats.keys()
            )
        state = "empty" if not alive else "stable" if settled else "rebalancing"
        topics.update(*(seat.topics for seat in alive.values()))
        return GroupInfo(self.name, state, tuple(sorted(topics)), tuple(members))

    def join(self, seat: Seat) -> None:
        """Let a member in; where a live one has its name it gets a number behind it."""
        with self._lock:
            was, number = seat.name, 1
            while (there := self._seats.get(seat.name)) and not self._over(there):
                number += 1
                seat.name = f"{was}-{number}"
            if there:
                self._drop(there)
            seat.seen, seat.suspected = self.clock().running(), None
            self._seats[seat.name] = seat
            self._plan(f"{seat.name} joined")

    def leave(self, seat: Seat) -> None:
        """A member goes, politely."""
        with self._lock:
            if self._seats.get(seat.name) is seat:
                self._drop(seat)
                self._plan(f"{seat.name} left")

    def crash(self, seat: Seat) -> None:
        """A member is gone; the others notice once its session is over."""
        with self._lock:
            seat.crashed = True

    def subscribe(self, seat: Seat, topics: Iterable[str], begin: Resolved) -> None:
        """A member shares other topics from now on."""
        with self._lock:
            seat.topics = tuple(topics)
            seat.begin = {**seat.begin, **begin}
            if self._seats.get(seat.name) is seat:
                self._plan(f"{seat.name} reads {' '.join(seat.topics)}")

    # -- what a member asks --------------------------------------------------------------------

    def look(self, seat: Seat) -> frozenset[Partition] | None:
        """A member is alive and asks what to give up; None if it was taken for dead."""
        with self._lock:
            if self._seats.get(seat.name) is not seat:
                return None
            seat.seen, seat.suspected = self.clock().running(), None
            self._bury()
            self._notice_growth()
            mine = {p for p, owner in self._owners.items() if owner == seat.name}
            return frozenset(p for p in mine if self._wanted.get(p) != seat.name)

    def release(self, seat: Seat, partitions: Iterable[Partition]) -> None:
        """A member has given partitions up; others may have them."""
        with self._lock:
            if self._seats.get(seat.name) is not seat:
                return
            for partition in partitions:
                if self._owners.get(partition) == seat.name:
                    del self._owners[partition]
            self._wake()

    def take(self, seat: Seat) -> dict[Partition, Offset]:
        """What a member may read from now on, and from where."""
        with self._lock:
            if self._seats.get(seat.name) is not seat:
                return {}
            free = [
                partition
                for partition, name in self._wanted.items()
                if name == seat.name and partition not in self._owners
            ]
            self._owners |= dict.fromkeys(free, seat.name)
            return {partition: self._start(partition, seat) for partition in free}

    def patience(self, seat: Seat) -> tuple[float, bool]:
        """How long a member may rest, in seconds, and whether by the machine's clock."""
        with self._lock:
            others = [s for s in self._seats.values() if s is not seat]
            if any(other.suspected is not None for other in others):
                return GRACE, True
            now = self.clock().running()
            ends = [other.seen + other.session - now for other in others]
            return max(0.0, min([seat.session / 3, *ends])), False

    def wake(self) -> None:
        """Let all members look again."""
        with self._lock:
            self._wake()

    # -- with the lock held --------------------------------------------------------------------

    def _start(self, partition: Partition, seat: Seat) -> Offset:
        """Where a partition goes on. Where the first member began holds for those after it: a
        later "latest" must not skip what the first was given and did not commit.
        """
        if done := self._commits.get(partition):
            return done.next
        return self._began.setdefault(partition, seat.begin.get(partition, 0))

    def _over(self, seat: Seat) -> bool:
        """Whether nothing more is to be expected of a member."""
        return seat.crashed and self._silent(seat)

    def _silent(self, seat: Seat) -> bool:
        return self.clock().running() - seat.seen >= seat.session

    def _alive(self) -> list[Seat]:
        return [seat for seat in self._seats.values() if not self._over(seat)]

    def _bury(self) -> None:
        """Take those who are dead out, and ask those who seem so."""
        for seat in [s for s in self._seats.values() if self._silent(s)]:
            now = SYSTEM.running()
            if not seat.crashed and seat.suspected is None:
                seat.suspected = now
                seat.crashed = not seat.wake()
            asked = now if seat.suspected is None else seat.suspected
            if seat.crashed or now - asked >= GRACE:
                self._drop(seat)
                self._plan(f"{seat.name} was silent for {seat.session:g} s")

    def _drop(self, seat: Seat) -> None:
        del self._seats[seat.name]
        mine = [p for p, owner in self._owners.items() if owner == seat.name]
        for partition in mine:
            del self._owners[partition]
        seat.wake()

    def _notice_growth(self) -> None:
        counts = {topic: self.count(topic) for topic in self._counts}
        if grown := [t for t, count in counts.items() if count != self._counts[t]]:
            said = " and ".join(f"{topic} has {counts[topic]}" for topic in grown)
            self._plan(f"{said} partitions now")

    def _plan(self, cause: str) -> None:
        """Decide anew who reads what, and tell the members."""
        reads = {seat.name: seat.topics for seat in self._seats.values()}
        topics = {topic for names in reads.values() for topic in names}
        self._counts = {topic: self.count(topic) for topic in topics}
        before, self._wanted = (
            self._wanted,
            shares(reads, self._counts, self._wanted),
        )
        moved = moves(before, self._wanted)
        self.news = f"{cause}: {moved}" if moved else cause
        for name, seat in self._seats.items():
            had = {p for p, owner in before.items() if owner == name}
            has = {p for p, owner in self._wanted.items() if owner == name}
            seat.rebalances += had != has and cause != f"{name} joined"
        self._wake()

    def _wake(self) -> None:
        for seat in self._seats.values():
            if not seat.wake():
                seat.crashed = True
