"""How late rows are: in numbers, and as frames that a chart is drawn of."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from streamlab.changes import PART, SEQ, STAMP, TIME
from streamlab.durations import UNIT_US, Span, fixed_span
from streamlab.errors import UsageError
from streamlab.frames.store import Keep
from streamlab.live import asking
from streamlab.plans import nodes

MAX_AHEAD = Span(0, UNIT_US["h"])
DRAWN = Keep(rows=10_000)
ALL = "all"
_PLACE = (PART, STAMP, SEQ)
_BEHIND, _DELAY, _WHERE = "__behind", "__delay", "partition"


def lateness(frame: Any) -> pl.DataFrame:
    """See `LiveFrame.lateness`."""
    feed = frame._feed  # noqa: SLF001 - one noun in several modules
    root = feed.pipeline.root
    rows = feed.published.held.get(root, root.held).frame()
    if TIME not in rows.columns:
        return _figures(pl.DataFrame(schema=_measured_schema()))
    rows = _measured(rows)
    if _by_row(frame.plan) and not isinstance(frame.plan, nodes.Source):
        member = frame._member  # noqa: SLF001 - as above
        mine = feed.published.held.get(member, member.held).frame()
        rows = rows.join(mine.select(_PLACE).unique(), on=_PLACE, how="semi")
    return _figures(_named(rows, feed.pipeline.intake))


def _by_row(node: nodes.Node) -> bool:
    return all(isinstance(n, nodes.Source | nodes.RowWise) for n in nodes.chain(node))


def _measured(rows: pl.DataFrame) -> pl.DataFrame:
    """How far each row trails the newest of its partition by then, and how long it took."""
    stamped = (
        pl.col(STAMP).cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC"))
    )
    usable = pl.col(TIME).is_not_null() & (
        pl.col(TIME) <= stamped + pl.duration(microseconds=MAX_AHEAD.us)
    ).fill_null(value=True)
    return (
        rows.lazy()
        .select(*_PLACE, TIME)
        .filter(usable)
        .with_columns(
            (pl.col(TIME).cum_max().over(PART) - pl.col(TIME)).alias(_BEHIND),
            (stamped - pl.col(TIME)).alias(_DELAY),
        )
        .collect()
    )


def _named(rows: pl.DataFrame, intake: Any) -> pl.DataFrame:
    """With the partition's name for people beside each row."""
    several = len({p.topic for p in intake.partitions}) > 1
    names = [
        f"{p.topic} p{p.number}" if several else f"p{p.number}"
        for p in intake.partitions
    ]
    number = pl.col(PART).replace_strict(
        dict(enumerate(names)), default=None, return_dtype=pl.String
    )
    return rows.with_columns(number.alias(_WHERE))


def _measured_schema() -> dict[str, Any]:
    return {_WHERE: pl.String, PART: pl.Int32, _BEHIND: _SPAN, _DELAY: _SPAN}


_SPAN = pl.Duration("us")


def _figures(rows: pl.DataFrame) -> pl.DataFrame:
    figures = [pl.len().alias("records"), *_of(_BEHIND, ""), *_of(_DELAY, "delay_")]
    each = rows.group_by(_WHERE, PART).agg(*figures).sort(PART).drop(PART)
    whole = rows.select(pl.lit(ALL).alias(_WHERE), *figures)
    return pl.concat([each, whole])


def _of(column: str, prefix: str) -> list[pl.Expr]:
    number = pl.col(column).dt.total_microseconds()
    found = {
        "p50": number.quantile(0.5, "higher"),
        "p99": number.quantile(0.99, "higher"),
        "max": number.max(),
    }
    return [
        each.cast(pl.Int64).cast(_SPAN).alias(prefix + name)
        for name, each in found.items()
    ]


class Trails(NamedTuple):
    """What a chart of lateness is drawn of.

    Attributes:
        rows: a frame of all rows.
        line: one of the watermark.
        late: one of the rows that were left out; None where `rows` itself tells.
        lateness: as text; "" without one.
    """

    rows: Any
    line: Any
    late: Any
    lateness: str


def trails(frame: Any, lateness: Any) -> Trails:
    """The frames behind `plot.lateness`.

    Raises:
        UsageError: the frame has a lateness of its own, or goes by numbers that are no times.
        SpanError: `lateness` can't be read.
    """
    step = asking.judging(frame.plan)
    late = None
    if step is None:
        span = None if lateness is None else fixed_span(lateness, "lateness")
        node = frame.plan if _by_row(frame.plan) else frame.source.plan
        rows = _trail(frame, node, span, "none" if span is None else "earlier")
    else:
        span = _own_lateness(frame, step, lateness)
        on = step.on if isinstance(step, nodes.Window) else None
        rows = _trail(frame, step.parent, span, "none", on=on, max_ahead=step.max_ahead)
        if span is not None:
            missed = frame.late
            late = _trail(
                missed, missed.plan, None, "all", on=on, max_ahead=step.max_ahead
            )
    line = rows.filter(pl.col("watermark").is_not_null())
    return Trails(rows, line, late, "" if span is None else span.text)


def _own_lateness(
    frame: Any, step: nodes.Window | nodes.InOrder, given: Any
) -> Span | None:
    own = step.lateness
    if isinstance(step, nodes.Window) and isinstance(step.every, int):
        raise UsageError(
            f"{frame.name} has windows over {step.on!r}, which is no time: there is no "
            "arrival to compare it with."
        )
    if given is not None:
        has = "has none" if own is None else f'is "{own.text}"'  # type: ignore[union-attr]  # a span, as every is
        raise UsageError(
            f"lateness={given!r}: that of {frame.name} {has}, and its late rows are those in "
            f".late. For another one: {frame.source.name}.plot.lateness({given!r})."
        )
    return own if isinstance(own, Span) else None


def _trail(
    frame: Any,
    parent: nodes.Node,
    lateness: Span | None,
    late: Any,
    *,
    on: str | None = None,
    max_ahead: Span = MAX_AHEAD,
) -> Any:
    shown = Span(0, 0) if late != "all" and lateness is None else lateness
    node = nodes.Trail(parent, on, shown, max_ahead, late)
    made = frame._make(node, keep=DRAWN)
    made._begin()  # noqa: SLF001 - as above
    return made
