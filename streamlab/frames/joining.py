"""FRAME: from where on a frame that joins a running source has its rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from streamlab.changes import PART, SEQ, STAMP, TIME
from streamlab.intake import Intake
from streamlab.records import Offset, Partition


def first_time(rows: pl.DataFrame | None) -> datetime | None:
    """Event time of the first row that has one."""
    if rows is None or not rows.height:
        return None
    times = rows[TIME].drop_nulls()
    first = times.first() if len(times) else None
    return first if isinstance(first, datetime) else None


def first_offsets(
    seed: pl.DataFrame | None,
    done: Mapping[Partition, Offset],
    intake: Intake | None,
) -> Mapping[Partition, Offset]:
    """Per partition the offset of the first row of `seed`, or where the source is now."""
    first = dict(done)
    if seed is None or intake is None:
        return first
    rows = seed.group_by(PART).agg(pl.col(STAMP).first(), pl.col(SEQ).first())
    for number, stamp, sequence in rows.iter_rows():
        first[intake.partitions[number]] = intake.offset(stamp, sequence)
    return first
