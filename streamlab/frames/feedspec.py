"""FRAME: everything a source needs to run, resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamlab.backends.base import Connection
from streamlab.clocks import Clock
from streamlab.frames.store import Keep
from streamlab.intake import Intake
from streamlab.plans.nodes import Source
from streamlab.records import Partition, Records, Resolved


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

    @property
    def start(self) -> Resolved:
        """The first record delivered, per partition."""
        return self.begin.at
