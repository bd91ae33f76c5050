"""`live.wait`: until a condition holds, the stream ends, or the time is over."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from streamlab.clocks import SYSTEM
from streamlab.errors import StreamFailedError, StreamStoppedError, WaitTimeoutError
from streamlab.feed import Feed
from streamlab.members import Member
from streamlab.plans.nodes import Recompute
from streamlab.records import Resolved, offset_rank

Condition = Callable[[], bool]


def reached(feed: Feed, member: Member, target: Resolved) -> Condition:
    """Whether everything before `target` is in the frames."""

    def check() -> bool:
        done = feed.published.done
        for partition, end in target.items():
            if partition not in feed.spec.start:
                continue
            start = feed.spec.start[partition]
            at = done.get(partition, start)
            if offset_rank(at) < offset_rank(end):
                return False
        return _current(feed, member, feed.published.records)

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
    """One wait: its condition, its time-out, and what it says when that is over."""

    def __init__(
        self, feed: Feed, member: Member, *, timeout: float | None, wanted: str
    ) -> None:
        """`wanted` completes "after 60 s …"."""
        self._feed = feed
        self._member = member
        self._timeout = timeout
        self._wanted = wanted
        self._end = None if timeout is None else SYSTEM.running() + timeout

    def left(self) -> float | None:
        """Seconds left; None is for ever."""
        return None if self._end is None else max(0.0, self._end - SYSTEM.running())

    def failed(self) -> None:
        """Raise if the frame, or its source, has failed."""
        error = self._member.error or self._feed.error
        if error is not None:
            raise StreamFailedError(
                f"{self._feed.spec.name} failed: {error}"
            ) from error

    def over(self, version: int) -> None:
        """Raise if nothing more will come though the condition does not hold."""
        feed = self._feed
        if feed.finished and feed.published.version == version:
            raise StreamStoppedError(
                f"{feed.spec.name} {feed.over or 'failed'} after "
                f"{grouped(feed.published.records)} records, before {self._wanted}."
            )

    def timed_out(self) -> WaitTimeoutError:
        """The error for a wait that ran out."""
        feed = self._feed
        newest = feed.newest_stamp
        if newest is None:
            quiet = "The source is quiet: no record has come yet."
        else:
            age = (feed.spec.clock.now_ms() - newest) / 1000
            quiet = f"Its newest record is {age:.0f} s old."
        return WaitTimeoutError(
            f"after {self._timeout:g} s {grouped(feed.published.records)} records, not yet "
            f"{self._wanted}. {quiet} The frame goes on; wait again, or raise timeout=."
        )


def grouped(number: int) -> str:
    """1240881 as "1 240 881"."""
    return f"{number:,}".replace(",", " ")
