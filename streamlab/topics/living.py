"""Everything a live source needs, resolved from what a user asked for."""

from __future__ import annotations

from typing import Any

from streamlab.clocks import SYSTEM, Clock
from streamlab.durations import fixed_span
from streamlab.frames.feedspec import FeedSpec, Sharing
from streamlab.frames.keeping import budget_bytes, parse_keep
from streamlab.plans.nodes import Source
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
    clock: Clock | None,
    paused: bool,
) -> FeedSpec:
    """See `Topic.live`, whose arguments these are."""
    limits = parse_keep(keep)
    pace = fixed_span(tick, "tick").seconds
    silent = None if idle is None else fixed_span(idle, "idle").seconds
    clock = clock or SYSTEM
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
    intake = desk.intake()
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
        discover=desk.discover,
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
