"""A plan evaluated once, in plain polars, over all rows there have been.

No code of `engine/` takes part: rows are given their windows, and one `group_by` does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from streamlab.changes import (
    CLOSED,
    HIDDEN,
    PART,
    PARTIAL,
    SEQ,
    STAMP,
    TIME,
    WINDOW_END,
    WINDOW_START,
)
from streamlab.durations import UNIT_US, Span
from streamlab.errors import UsageError
from streamlab.plans.aggregates import split
from streamlab.plans.nodes import (
    Closed,
    Filter,
    Node,
    Rename,
    RowWise,
    Select,
    Source,
    Window,
    WithColumns,
    chain,
    is_keyed,
    label,
    row_wise,
    window_dtype,
)
from streamlab.plans.steady import steady

_CLOCK = "__clock"  # event time as an integer, µs or the column's own unit
_SCALE = "__scale_"
_KEY = "__key_"
_STATE = (CLOSED, PARTIAL)


@dataclass(frozen=True)
class Expected:
    """The batch answer.

    Attributes:
        frame: shown columns, in order.
        keys: the key's columns under the names of `is_keyed`; none for an append frame.
        scale: per column of floats, Σ|x| of the numbers that went into each row.
        state: shown columns that say how far the stream is, and are not compared.
        prefix: the live frame may have fewer rows at the end: windows not closed yet.
    """

    frame: pl.DataFrame
    keys: pl.DataFrame
    scale: pl.DataFrame
    state: frozenset[str] = frozenset()
    prefix: bool = False


def evaluate(
    node: Node, rows: pl.DataFrame, *, late: pl.DataFrame | None = None
) -> Expected:
    """Run a plan once over all rows.

    Args:
        node: the plan.
        rows: what the source handed over, in that order: shown columns and `changes.HIDDEN`.
        late: (record, window) pairs left out: `__part`, `__stamp`, `__seq`, `window_start`.

    Raises:
        UsageError: a step that has no batch answer.
    """
    first, *rest = chain(node)
    if not isinstance(first, Source):  # pragma: no cover - the types exclude it
        raise TypeError(first)
    frame, keep, state = rows, list(HIDDEN), set[str]()
    for each in rest:
        if isinstance(each, Window) and TIME in frame.columns:
            frame = _windows(each, frame, late)
            keep = [name for name in frame.columns if name.startswith((_KEY, _SCALE))]
            state = set(_STATE)
        elif isinstance(each, RowWise):
            state = _state_after(each, state)
            frame = row_wise(each, frame.lazy(), keep).collect()
        elif isinstance(each, Closed):
            frame = frame.sort(WINDOW_START, *each.parent.by).drop(CLOSED)
        else:
            raise UsageError(
                f"{label(each)} has no batch answer to compare with: what it gives hangs "
                "on when it was asked."
            )
    keys = is_keyed(node)
    is_closed = any(isinstance(each, Closed) for each in rest)
    return Expected(
        frame.drop(keep),
        _unprefixed(frame, _KEY).rename(dict(zip(_key_of(rest), keys, strict=False)))
        if keys
        else pl.DataFrame(),
        _unprefixed(frame, _SCALE),
        frozenset(state),
        prefix=is_closed,
    )


def _windows(
    window: Window, rows: pl.DataFrame, late: pl.DataFrame | None
) -> pl.DataFrame:
    """The window frame over all rows, hidden copies of its keys and its scales beside it."""
    timed = _timed(window, rows)
    placed = timed.with_columns(
        _starts(window, timed[_CLOCK]).alias(WINDOW_START),
    )
    if late is not None:
        pair = [PART, STAMP, SEQ, WINDOW_START]
        placed = placed.join(late.select(pair), on=pair, how="anti", nulls_equal=True)
    # Stable: rows of one partition come in the order of their offsets.
    placed = placed.sort(_CLOCK, PART, maintain_order=True)
    key = [WINDOW_START, *window.by]
    schema = rows.drop(HIDDEN).schema
    aggs = [steady(agg, schema) for agg in window.aggs]
    scales = _scales(window, schema)
    found = placed.group_by(key, maintain_order=True).agg(*aggs, *scales)
    return found.select(
        WINDOW_START,
        _ends(window, found[WINDOW_START]).alias(WINDOW_END),
        *window.by,
        *(agg.meta.output_name() for agg in window.aggs),
        *(pl.lit(value=False).alias(name) for name in _STATE),
        *(pl.col(name).alias(f"{_KEY}{name}") for name in key),
        cs.starts_with(_SCALE),
    )


def _timed(window: Window, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that have a place in event time, with it as an integer."""
    column = pl.col(window.on or TIME)
    if isinstance(window.every, int):
        return rows.with_columns(column.cast(pl.Int64).alias(_CLOCK)).filter(
            pl.col(_CLOCK).is_not_null()
        )
    if rows.schema[window.on or TIME] == pl.Date:
        column = column.cast(pl.Datetime("us"))
    clock = column.dt.epoch("us").alias(_CLOCK)
    ahead = pl.col(_CLOCK) - pl.col(STAMP) * 1000 > window.max_ahead.us
    timed = rows.with_columns(clock)
    return timed.filter(
        pl.col(_CLOCK).is_not_null() & ahead.fill_null(value=False).not_()
    )


def _starts(window: Window, clock: pl.Series) -> pl.Series:
    """The start of each row's window."""
    every, offset = window.every, window.offset
    if isinstance(every, int):
        shift = offset if isinstance(offset, int) else 0
        return (clock - shift) // every * every + shift
    moved = offset if isinstance(offset, Span) else Span(0, 0)
    local = _local(window, clock)
    if not _by_calendar(every):
        local = local.dt.convert_time_zone("UTC")
    if re.fullmatch(r"\d+[a-z]+", every.text):
        back = local.dt.offset_by(f"-{moved.text}")
        starts = back.dt.truncate(every.text).dt.offset_by(moved.text)
    else:
        # "1h30m": polars truncates to one unit only; these have fixed length, and count from 1970.
        us = (clock - moved.us) // every.us * every.us + moved.us
        starts = us.cast(pl.Datetime("us", "UTC"))
    return starts.dt.convert_time_zone(window.time_zone).cast(window_dtype(window))


def _ends(window: Window, starts: pl.Series) -> pl.Series:
    """Where the next window starts."""
    every = window.every
    if isinstance(every, int):
        return starts + every
    if not _by_calendar(every):
        utc = starts.dt.convert_time_zone("UTC").dt.offset_by(every.text)
        return utc.dt.convert_time_zone(window.time_zone)
    # A day that begins at a missing midnight ends an hour off; a bit later is surely inside.
    inside = starts.dt.offset_by(every.text).dt.offset_by("2h")
    return _starts(window, inside.dt.epoch("us"))


def _local(window: Window, clock: pl.Series) -> pl.Series:
    utc = clock.cast(pl.Datetime("us", "UTC"))
    return utc.dt.convert_time_zone(window.time_zone)


def _by_calendar(every: Span) -> bool:
    """Whether the zone decides where windows begin: days and longer."""
    return every.months > 0 or every.us % UNIT_US["d"] == 0


def _scales(window: Window, schema: pl.Schema) -> list[pl.Expr]:
    """Per aggregation Σ|x| of the numbers it is made of: its columns, and what it sums."""
    scales = []
    for agg in window.aggs:
        numbers = [
            pl.col(name)
            for name in agg.meta.root_names()
            if name in schema and schema[name].is_numeric()
        ]
        found = split(agg, schema)
        if found is not None:
            numbers += [p.value for p in found.partials if p.input.is_numeric()]
        sizes = [_size(number) for number in numbers] or [pl.lit(0.0)]
        total = pl.sum_horizontal(*(size.sum() for size in sizes))
        scales.append(total.alias(f"{_SCALE}{agg.meta.output_name()}"))
    return scales


def _size(number: pl.Expr) -> pl.Expr:
    size = number.cast(pl.Float64).abs()
    return pl.when(size.is_finite()).then(size).otherwise(0.0)


def _state_after(node: RowWise, state: set[str]) -> set[str]:
    """Which columns still say, or are made of, how far the stream is."""
    if isinstance(node, Rename):
        return {node.mapping.get(name, name) for name in state}
    if isinstance(node, Filter):
        used = {name for each in node.predicates for name in each.meta.root_names()}
        if used & state:
            names = ", ".join(sorted(used & state))
            raise UsageError(
                f"filter on {names} has no batch answer: it tells how far the stream is."
            )
    if not isinstance(node, (Select, WithColumns)):
        return state
    made = set(state)
    for each in node.exprs:
        name = each.meta.output_name(raise_if_undetermined=False)
        if name is not None:
            made.discard(name)
            if state & set(each.meta.root_names()):
                made.add(name)
    return made


def _key_of(nodes: Sequence[Node]) -> list[str]:
    return next(
        ([WINDOW_START, *each.by] for each in nodes if isinstance(each, Window)), []
    )


def _unprefixed(frame: pl.DataFrame, prefix: str) -> pl.DataFrame:
    found = frame.select(cs.starts_with(prefix))
    return found.rename(lambda name: name.removeprefix(prefix))
