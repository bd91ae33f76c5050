"""A window over all rows there have been: each row is given its windows, one `group_by` does the rest."""

from __future__ import annotations

import polars as pl
import polars.selectors as cs

from streamlab.changes import (
    CLOSED,
    HIDDEN,
    PART,
    SEQ,
    STAMP,
    TIME,
    WINDOW_END,
    WINDOW_START,
)
from streamlab.parity.spans import (
    CLOCK,
    in_hopping,
    in_sessions,
    window_ends,
    window_starts,
)
from streamlab.parity.table import KEY, SCALE, STATE, Table, scales_of
from streamlab.plans.nodes import Closed, Window
from streamlab.plans.steady import steady


def window_table(
    window: Window, rows: pl.DataFrame, late: pl.DataFrame | None
) -> Table:
    """The window frame over all rows, hidden copies of its keys and its scales beside it.

    Args:
        window: the step.
        rows: of its parent, with hidden columns.
        late: (record, window) pairs left out: `__part`, `__stamp`, `__seq`, `window_start`.
    """
    found = _windows(window, rows.select(~cs.starts_with(KEY, SCALE)), late)
    keep = [name for name in found.columns if name.startswith((KEY, SCALE))]
    return Table(found, tuple(keep), frozenset(STATE))


def closed_table(node: Closed, table: Table) -> Table:
    """The windows in the order in which they close, as the rows of one partition."""
    order = (WINDOW_END, WINDOW_START, *node.parent.by)
    closed = table.frame.sort(order).drop(CLOSED)
    start = pl.col(WINDOW_START)
    moment = pl.Datetime("us", "UTC")
    timed = closed.schema[WINDOW_START].is_temporal()
    frame = closed.with_columns(
        (start.dt.convert_time_zone("UTC") if timed else pl.lit(None, moment)).alias(
            TIME
        ),
        pl.lit(0, pl.Int32).alias(PART),
        (start.dt.epoch("ms") if timed else pl.lit(0, pl.Int64)).alias(STAMP),
        pl.int_range(pl.len(), dtype=pl.Int64).alias(SEQ),
    )
    return table._replace(frame=frame, keep=(*table.keep, *HIDDEN), prefix=True)


def _windows(
    window: Window, rows: pl.DataFrame, late: pl.DataFrame | None
) -> pl.DataFrame:
    """The window frame over all rows, hidden copies of its keys and its scales beside it."""
    timed = _timed(window, rows)
    if window.session:
        placed = in_sessions(window, _without(timed, late, (PART, STAMP, SEQ)))
    elif window.period is not None:
        placed = in_hopping(window, timed)
    else:
        starts = window_starts(window, timed[CLOCK])
        placed = timed.with_columns(
            starts.alias(WINDOW_START),
            window_ends(window, starts).alias(WINDOW_END),
        )
    if not window.session:
        placed = _without(placed, late, (PART, STAMP, SEQ, WINDOW_START))
    # Stable: rows of one partition come in the order of their offsets.
    placed = placed.sort(CLOCK, PART, maintain_order=True)
    key = [WINDOW_START, *window.by]
    schema = rows.drop(HIDDEN).schema
    aggs = [steady(agg, schema) for agg in window.aggs]
    scales = scales_of(window.aggs, schema)
    found = placed.group_by(WINDOW_END, *key, maintain_order=True).agg(*aggs, *scales)
    return found.select(
        WINDOW_START,
        WINDOW_END,
        *window.by,
        *(agg.meta.output_name() for agg in window.aggs),
        *(pl.lit(value=False).alias(name) for name in STATE),
        *(pl.col(name).alias(f"{KEY}{name}") for name in key),
        cs.starts_with(SCALE),
    )


def _without(
    rows: pl.DataFrame, late: pl.DataFrame | None, pair: tuple[str, ...]
) -> pl.DataFrame:
    if late is None:
        return rows
    return rows.join(late.select(pair), on=pair, how="anti", nulls_equal=True)


def _timed(window: Window, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that have a place in event time, with it as an integer."""
    column = pl.col(window.on or TIME)
    if isinstance(window.every, int):
        return rows.with_columns(column.cast(pl.Int64).alias(CLOCK)).filter(
            pl.col(CLOCK).is_not_null()
        )
    if rows.schema[window.on or TIME] == pl.Date:
        column = column.cast(pl.Datetime("us"))
    clock = column.dt.epoch("us").alias(CLOCK)
    ahead = pl.col(CLOCK) - pl.col(STAMP) * 1000 > window.max_ahead.us
    timed = rows.with_columns(clock)
    return timed.filter(
        pl.col(CLOCK).is_not_null() & ahead.fill_null(value=False).not_()
    )
