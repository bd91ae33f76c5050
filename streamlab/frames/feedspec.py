"""FRAME: everything a source needs to run, resolved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from streamlab.backends.base import Connection
from streamlab.clocks import Clock
from streamlab.frames.memo import NOTHING, Past
from streamlab.frames.store import Keep
from streamlab.intake import Intake
from streamlab.plans.nodes import Source
from streamlab.records import Partition, Position, Records, Resolved

Mode = Literal["resumable", "load-balanced"]


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins.

    Attributes:
        at: resolved position.
        from_start: whether that is the first record there is.
        empty: partitions without a record yet.
        newest_ms: broker time of the newest record there is, if known.
    """

    at: Resolved
    from_start: bool
    empty: frozenset[Partition]
    newest_ms: int | None


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a source that commits reads.

    Attributes:
        group: for which it commits.
        mode: "resumable": it alone, with partitions assigned by hand. "load-balanced": as a
            member, with what the broker gives it.
        start: where partitions begin that have no commit.
        member: what it is called in the group; None leaves that to the backend.
        past: what the group had committed, if it is read alone.
        note: what to say of where it began ("resumed at 188 320 144"), or "".
        gone: where the group had committed more than there is now: how many records are
            lost, or 1 where they can't be counted.
    """

    group: str
    mode: Mode
    start: Position
    member: str | None = None
    past: Past = NOTHING
    note: str = ""
    gone: Mapping[Partition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """Everything a feed needs, resolved.

    Attributes:
        name: of the source, as shown.
        connection: where to read.
        begin: where reading begins.
        stop: the first record not delivered; None reads on for ever.
        source: the plan's top.
        intake: decodes; None if the schema is not known yet.
        discover: makes an intake from the first blocks.
        keep, budget_bytes: what the source's frame retains; what all may hold.
        tick: longest wait of a micro-batch, seconds.
        idle: seconds of silence after which a partition holds nothing back; None is never.
        clock: for idleness, lag and displays.
        paused: begin paused.
        sharing: how it commits; None if it doesn't.
        names: tells the topics there are now, where a group shares them.
        grown: tells where partitions begin that are not among those given; None where the
            source has an end, or the broker says who reads what.
    """

    name: str
    connection: Connection
    begin: Start
    stop: Resolved | None
    source: Source
    intake: Intake | None
    discover: Callable[[Sequence[Records]], Intake]
    keep: Keep
    budget_bytes: int
    tick: float
    idle: float | None
    clock: Clock
    paused: bool
    sharing: Sharing | None = None
    names: Callable[[], Awaitable[Sequence[str]]] | None = None
    grown: Callable[[Collection[Partition]], Awaitable[Resolved]] | None = None

    @property
    def start(self) -> Resolved:
        """The first record delivered, per partition."""
        return self.begin.at
