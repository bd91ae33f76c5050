"""Everything a live source needs, resolved from what a user asked for."""

from __future__ import annotations

from functools import partial
from typing import Any

from streamlab.clocks import SYSTEM, Clock
from streamlab.durations import fixed_span
from streamlab.errors import ModeError, UsageError
from streamlab.frames.clockspec import paced
from streamlab.frames.feedspec import FeedSpec, Sharing
from streamlab.frames.keeping import budget_bytes, parse_keep
from streamlab.frames.pace import ReplayClock
from streamlab.plans.nodes import Source
from streamlab.records import AtTime
from streamlab.topics.desk import Desk
from streamlab.topics.sharing import mode_of, shared


async def prepare(
    desk: Desk,
    start: Any,
    *,
    until: Any,
    keep: Any,
    tick: Any,
    idle: Any,
    group: str | None,
    mode: str | None,
    member: str | None,
    speed: float | None,
    clock: Clock | None,
    paused: bool,
) -> FeedSpec:
    """See `Topic.live`, whose arguments these are."""
    by = _clock(speed, clock)
    if not isinstance(by, ReplayClock):
        return await _resolved(
            desk,
            "latest" if start is None else start,
            until=until,
            keep=keep,
            tick=tick,
            idle=idle,
            group=group,
            mode=mode,
            member=member,
            clock=by,
            paused=paused,
        )
    _check_replay(start, group)
    by.expect()
    try:
        return await _resolved(
            desk,
            _start(start, by),
            until=until,
            keep=keep,
            tick=tick,
            idle=idle,
            group=None,
            mode=mode,
            member=member,
            clock=by,
            paused=paused,
        )
    except BaseException:
        by.expect_no_more()
        raise


def _clock(speed: float | None, clock: Clock | None) -> Clock:
    if speed is None:
        return clock or SYSTEM
    if clock is not None:
        raise UsageError(
            f"live(speed={speed!r}, clock=…): a clock has its own speed. "
            f"sl.clock(start=…, speed={speed!r}), or speed= alone."
        )
    if not paced(speed):
        raise UsageError(
            "live(speed=0) would stand for ever: the clock must be in your hand. "
            "clock = sl.clock(speed=0), topic.live(clock=clock), then "
            'clock.step("1s").'
        )
    return ReplayClock(None, paced(speed), own=True)


def _check_replay(start: Any, group: str | None) -> None:
    if group is not None:
        raise ModeError(
            f"group={group!r}: a replay commits nothing, what has gone by is not done with. "
            "Leave group out, or the clock."
        )
    if start == "latest":
        raise UsageError(
            'start="latest": a replay begins in the past, and nothing lies behind the end. '
            'Write start="15m", start="earliest" or a time.'
        )


def _start(start: Any, clock: ReplayClock) -> Any:
    """Where a source begins by default: where the clock is."""
    if start is not None:
        return start
    now = clock.now
    return "earliest" if now is None else AtTime(clock.now_ms())


async def _resolved(
    desk: Desk,
    start: Any,
    *,
    until: Any,
    keep: Any,
    tick: Any,
    idle: Any,
    group: str | None,
    mode: str | None,
    member: str | None,
    clock: Clock,
    paused: bool,
) -> FeedSpec:
    limits = parse_keep(keep)
    pace = fixed_span(tick, "tick").seconds
    silent = None if idle is None else fixed_span(idle, "idle").seconds
    shares = mode_of(group, mode)
    sharing: Sharing | None = None
    if shares is None or group is None:
        begin = await desk.begin(start, clock)
    else:
        begin, sharing = await shared(
            desk, start, until, clock, group=group, mode=shares, member=member
        )
    stop = None if until is None else await desk.resolve(until, "until", clock)
    await desk.learn()
    partitions = list(begin.at)
    intake = desk.intake(partitions=partitions)
    name = ",".join(desk.names)
    # In a shared group the broker itself says who reads a new partition.
    alone = shares != "load-balanced"
    return FeedSpec(
        name=name,
        connection=desk.connection,
        begin=begin,
        stop=stop,
        source=Source(name, None if intake is None else intake.schema, desk.time),
        intake=intake,
        discover=partial(desk.discover, partitions=partitions),
        keep=limits,
        budget_bytes=budget_bytes(limits),
        tick=pace,
        idle=silent,
        clock=clock,
        paused=paused,
        sharing=sharing,
        names=None if alone else desk.current_names,
        grown=desk.grown if alone and stop is None else None,
    )
