"""`check_parity()`: the same records again, by another road, and the two frames compared.

The records are read anew from the broker, decoded one by one by Python's own parser, given
their event time by plain Python, and the plan is evaluated once over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from streamlab import parity
from streamlab.changes import PART, SEQ, STAMP, WINDOW_START
from streamlab.engine.graph import Standing
from streamlab.errors import ParityError, UsageError
from streamlab.frames.feed import Feed
from streamlab.frames.members import Member
from streamlab.live import asking
from streamlab.live.rereading import rows_again
from streamlab.live.waiting import grouped
from streamlab.plans import nodes
from streamlab.records import Offset, Partition

_PLACE = [PART, STAMP, SEQ]
_ORDER = "__order"
_LATE_KNOWN = 10_000  # late rows that an operator remembers


def check_parity(frame: Any) -> str:
    """See `LiveFrame.check_parity`."""
    node = frame.plan
    if isinstance(node, (nodes.Errors, nodes.Late, nodes.Recompute)):
        raise UsageError(
            f"check_parity() compares rows and windows; {nodes.label(node)} is neither."
        )
    now = _moment(frame)
    if not now.live.width:
        return "nothing to compare yet: no record has come."
    others = [_side(each) for each in _other_sources(frame)]
    sides = [now.side, *others]
    rows = {side.source: side.rows_again() for side in sides}
    steps = _steps(node)
    if any(isinstance(each, nodes.Stateful) for each in steps):
        standing = {
            step: found for side in sides for step, found in side.standing.items()
        }
        _refuse_trouble(frame, standing)
        expected = parity.evaluate(
            node,
            rows,
            late=_late(standing),
            reached={
                s: f.reached for s, f in standing.items() if f.reached is not None
            },
            tombstones={
                side.source: side.tombstones
                for side in sides
                if side.tombstones is not None
            },
        )
        key = frame._member.key  # noqa: SLF001
        difference = parity.compare(now.live, expected, key, forgotten=now.forgotten)
    else:
        difference = _compare_by_partition(node, now, rows[now.side.source])
    if difference is not None:
        raise ParityError(f"{frame.name} differs from the batch answer: {difference}")
    count = sum(each.height for each in rows.values())
    return (
        f"equal: {grouped(now.live.height)} rows of {frame.name}, "
        f"from {grouped(count)} records."
    )


def _compare_by_partition(
    node: nodes.Node, now: _Moment, rows: pl.DataFrame
) -> parity.Difference | None:
    """Rows as they came: how partitions took turns is not the same a second time."""
    forgotten = 0
    for part in [None] if not rows.height else rows[PART].unique().sort().to_list():
        mine = pl.lit(value=True) if part is None else pl.col(PART) == part
        live = now.live.filter(mine)
        expected = parity.evaluate(node, rows.filter(mine))
        fewer = max(0, expected.frame.height - live.height) if now.forgotten else 0
        forgotten += fewer
        found = parity.compare(live, expected, forgotten=fewer)
        if found is not None:
            return found
    if forgotten != now.forgotten:
        said = f"{now.forgotten} rows forgotten", f"{forgotten} missing"
        return parity.Difference("in all", "", *said)
    return None


class _Side(NamedTuple):
    """One source of a plan, at one moment.

    Attributes:
        frame: a live frame on it.
        source: the plan's top there.
        since: per partition the first offset that the frame had a chance to see.
        done: per partition the first offset that is not in the frames yet.
        rejected: records that could not be decoded.
        standing: how far each step on this source is, and what it left out.
        arrival: the hidden columns of all rows in order of arrival; None if some are forgotten.
        tombstones: those of compacted views; None without.
    """

    frame: Any
    source: nodes.Source
    since: Mapping[Partition, Offset] | None
    done: Mapping[Partition, Offset]
    rejected: int
    standing: Mapping[nodes.Node, Standing]
    arrival: pl.DataFrame | None
    tombstones: pl.DataFrame | None

    def rows_again(self) -> pl.DataFrame:
        """What the source handed over, read anew, in the order in which it did.

        Raises:
            UsageError: the order matters to a step, and is not known any more.
        """
        rows = rows_again(self.frame, self.done, self.since, self.rejected)
        if self.arrival is not None:
            order = self.arrival.with_row_index(_ORDER)
            return rows.join(order, on=_PLACE, how="left").sort(_ORDER).drop(_ORDER)
        steps = [each for each in self.standing if _in_order_of_arrival(each)]
        if steps and rows[PART].n_unique() > 1:
            raise UsageError(
                f"{nodes.label(steps[0])} takes rows in the order in which they came, and "
                f"{self.source.name} has forgotten some. Give it more room: live(keep=…)."
            )
        return rows


class _Moment(NamedTuple):
    """What the live side says, all of one version.

    Attributes:
        live: the frame's rows.
        forgotten: how many it has forgotten.
        side: of the frame's own source.
    """

    live: pl.DataFrame
    forgotten: int
    side: _Side


def _moment(frame: Any) -> _Moment:
    """The live side, looked at between two micro-batches."""
    feed: Feed = frame._feed  # noqa: SLF001
    member: Member = frame._member  # noqa: SLF001

    def look() -> _Moment:
        held = feed.published.held.get(member, member.held)
        return _Moment(held.frame(), _forgotten(member), _standing_side(frame))

    return feed.on_worker(look)


def _side(frame: Any) -> _Side:
    """The same of another source that takes part."""
    feed: Feed = frame._feed  # noqa: SLF001
    return feed.on_worker(lambda: _standing_side(frame))


def _standing_side(frame: Any) -> _Side:
    feed: Feed = frame._feed  # noqa: SLF001
    steps = [each for each in _steps(frame.plan) if isinstance(each, nodes.Stateful)]
    root = feed.pipeline.root
    kept = feed.published.held.get(root, root.held).frame()
    return _Side(
        frame,
        nodes.source_of(frame.plan),
        frame._member.since,  # noqa: SLF001
        feed.published.done,
        feed.pipeline.counts.rejected,
        {step: feed.pipeline.standing(step) for step in steps},
        None if _forgotten(root) or not kept.width else kept.select(_PLACE),
        feed.pipeline.tombstones,
    )


def _refuse_trouble(frame: Any, standing: Mapping[nodes.Node, Standing]) -> None:
    """Refuse where the engine itself says that a batch would not come to the same."""
    for step, found in standing.items():
        if found.trouble:
            raise UsageError(f"check_parity() of {nodes.label(step)}: {found.trouble}.")
    root = frame._feed.pipeline.root  # noqa: SLF001
    took = any(
        each._member.tombstones  # noqa: SLF001
        for each in [frame, *asking.ancestors(frame)]
    )
    if took and _forgotten(root):
        raise UsageError(
            f"{frame.name} has taken tombstones, and {frame.source.name} has forgotten rows "
            "that stood beside them. Give it more room: live(keep=…)."
        )


def _in_order_of_arrival(step: nodes.Node) -> bool:
    """Whether its answer hangs on how partitions took turns."""
    return isinstance(step, (nodes.GroupBy, nodes.Unique, nodes.OuterJoin))


def _steps(node: nodes.Node) -> list[nodes.Node]:
    """All steps on the way to `node`, those of second inputs included."""
    every = [node, *nodes.others(node)]
    return list(dict.fromkeys(step for end in every for step in nodes.chain(end)))


def _other_sources(frame: Any) -> list[Any]:
    """A frame of each further source that takes part."""
    mine = frame._feed  # noqa: SLF001
    found: dict[int, Any] = {}
    for each in [frame, *asking.ancestors(frame)]:
        other = each._other  # noqa: SLF001 - one noun in several modules
        if other is not None:
            for side in [other, *_other_sources(other)]:
                if side._feed is not mine:  # noqa: SLF001
                    found.setdefault(id(side._feed), side)  # noqa: SLF001
    return list(found.values())


def _forgotten(member: Member) -> int:
    return 0 if member.store is None else member.store.counts().forgotten


def _late(standing: Mapping[nodes.Node, Standing]) -> dict[nodes.Node, pl.DataFrame]:
    """Per step the rows it left out, told by the engine itself."""
    found = {}
    for step, each in standing.items():
        rows = [r for r in (each.late, each.expired) if r is not None and r.height]
        if any(some.height >= _LATE_KNOWN for some in rows):
            raise UsageError(
                f"{nodes.label(step)}: more than {grouped(_LATE_KNOWN)} rows came too late, and "
                "which they all were is not known any more."
            )
        pair = list(_PLACE)
        if isinstance(step, nodes.Window):
            pair.append(WINDOW_START)
        if rows:
            found[step] = pl.concat([some.select(pair) for some in rows])
    return found
