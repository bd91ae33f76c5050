"""`live.wait`: until a condition holds, the stream ends, or the time is over."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from streamlab.clocks import SYSTEM
from streamlab.errors import (
    StreamFailedError,
    StreamStoppedError,
    UsageError,
    WaitTimeoutError,
)
from streamlab.frames.feed import Feed
from streamlab.frames.members import Member
from streamlab.frames.pace import ReplayClock
from streamlab.plans.nodes import Recompute
from streamlab.records import Offset, Partition, Resolved, offset_rank

Condition = Callable[[], bool]


def reached(feed: Feed, member: Member, target: Resolved, *, within: bool) -> Condition:
    """Whether everything before `target` is in the frames.

    Args:
        feed: the source.
        member: of the frame that is waited for.
        target: per partition the first offset not waited for.
        within: what lies beyond the source's own end (`until`) isn't waited for.
    """
    stop = feed.spec.stop or {}

    def end_of(partition: Partition) -> Offset:
        end = target[partition]
        last = stop.get(partition, end)
        return min(end, last, key=offset_rank) if within else end

    def check() -> bool:
        published = feed.published
        done, start = published.done, feed.spec.start
        known = {p: done.get(p, start.get(p)) for p in target}
        there = all(
            # A partition that came to be after the start is noticed soon, if at all.
            feed.spec.grown is None
            if at is None
            else offset_rank(at) >= offset_rank(end_of(p))
            for p, at in known.items()
        )
        return there and _current(feed, member, published.records)

    return check


def shared_out(feed: Feed, member: Member) -> Condition:
    """Whether a member of a group has taken in all that is there of its share."""

    def check() -> bool:
        states, done = feed.fetch.states, feed.published.done
        there = states and all(
            state.caught_up and offset_rank(done.get(p, -1)) >= offset_rank(state.next)
            for p, state in states.items()
        )
        return bool(there) and _current(feed, member, feed.published.records)

    return check


def counted(feed: Feed, member: Member, count: int) -> Condition:
    """Whether `count` records have been handed over, and the frame shows them."""
    return lambda: feed.published.records >= count and _current(feed, member, count)


def satisfied(
    show: Callable[[], pl.DataFrame], what: Callable[..., object]
) -> Condition:
    """Whether the user's function is true of the frame."""
    return lambda: bool(what(show()))


def _current(feed: Feed, member: Member, records: int) -> bool:
    """Whether a recomputed frame has caught up; other frames always have."""
    if not isinstance(member.node, Recompute):
        return True
    return member.basis >= min(records, feed.published.records)


class Wait:
    """One wait: its time-out, and what it says when the condition can't hold any more."""

    def __init__(
        self, feed: Feed, member: Member, *, timeout: float | None, wanted: str
    ) -> None:
        """`wanted`: "2 000 records", or what else was waited for."""
        self._feed = feed
        self._member = member
        self._timeout = timeout
        self._wanted = wanted
        self._end = None if timeout is None else SYSTEM.running() + timeout

    def left(self) -> float | None:
        """Seconds left; None is for ever."""
        return None if self._end is None else max(0.0, self._end - SYSTEM.running())

    @property
    def finished(self) -> bool:
        """Whether nothing more will come; looked at before the condition."""
        return self._feed.done(self._member)

    def failed(self) -> None:
        """Raise if the frame, or its source, has failed."""
        error = self._member.error or self._feed.error
        if error is not None:
            raise StreamFailedError(
                f"{self._feed.spec.name} failed: {error}"
            ) from error

    def refuse_standing(self) -> None:
        """Raise if nothing can come while the caller waits: the clock is moved by hand."""
        clock = self._feed.spec.clock
        if isinstance(clock, ReplayClock) and not clock.speed:
            raise UsageError(
                f"waiting for {self._wanted}: this clock stands ({clock.words}) until it is "
                'moved: clock.step("1s"), which returns when all that was due is there.'
            )

    def over(self) -> StreamStoppedError:
        """The error for a condition that will not hold any more."""
        feed = self._feed
        end = "was stopped" if self._member.gone or feed.over == "stopped" else "ended"
        return StreamStoppedError(
            f"{feed.spec.name} {end} after {grouped(feed.published.records)} records, "
            f"before {self._wanted}."
        )

    def timed_out(self) -> WaitTimeoutError:
        """The error for a wait that ran out."""
        feed = self._feed
        there = grouped(feed.published.records)
        count = self._wanted.removesuffix(" records")
        so_far = (
            f"{there} of {self._wanted}"
            if count != self._wanted
            else f"{there} records, and not yet {self._wanted}"
        )
        return WaitTimeoutError(
            f"after {self._timeout:g} s {so_far}. {self._quiet()} The frame goes on; wait "
            "again, or raise timeout=."
        )

    def _quiet(self) -> str:
        """What the source is doing, as far as that explains the waiting."""
        feed = self._feed
        trouble = feed.fetch.trouble
        if trouble:
            return f"The broker can't be reached: {trouble}."
        if feed.paused:
            return "The source is paused: resume()."
        newest = feed.fetch.hopper.newest_ms
        if newest is None:
            return "The source is quiet: no record has come yet."
        age = max(0.0, (feed.spec.clock.now_ms() - newest) / 1000)
        waiting = sum(state.behind or 0 for state in feed.fetch.states.values())
        if waiting:
            return f"The source is behind: {grouped(waiting)} records are waiting."
        return f"The source is quiet: newest record {age:.0f} s ago, none waiting."


def grouped(number: int) -> str:
    """1240881 as "1 240 881"."""
    return f"{number:,}".replace(",", " ")
