"""FRAME: from where on a frame that joins a running source has its rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from streamlab.changes import PART, SEQ, STAMP, TIME
from streamlab.intake import Intake
from streamlab.records import OFFSET, PARTITION, Offset, Partition


def first_time(rows: pl.DataFrame | None) -> datetime | None:
    """Event time of the first row that has one."""
    if rows is None or not rows.height:
        return None
    times = rows[TIME].drop_nulls()
    first = times.first() if len(times) else None
    return first if isinstance(first, datetime) else None


def late_places(rows: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """Late rows with the broker's own partition numbers and offsets."""
    if PARTITION not in rows.columns or PART not in rows.columns:
        return rows
    known = intake.partitions
    numbers = [
        known[number].number if number < len(known) else number  # another source's
        for number in rows[PART].to_list()
    ]
    named = [pl.Series(PARTITION, numbers, dtype=rows.schema[PARTITION])]
    if intake.ids_are_text:
        pairs = rows.select(STAMP, SEQ).iter_rows()
        texts = [str(intake.offset(*pair)) for pair in pairs]
        named.append(pl.Series(OFFSET, texts, dtype=pl.String))
    return rows.with_columns(named)


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
