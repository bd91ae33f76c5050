"""What one micro-batch did to a frame: the only thing operators, views and sinks are given."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import polars as pl

# Columns that travel with every row from decoding to the operators, and are never shown.
TIME = "__time"  # event time, Datetime("us", "UTC"); null where the record has none
PART = "__part"  # Int32: number of the row's (topic, partition) in its source's table
STAMP = "__stamp"  # the broker's timestamp, Int64, ms since 1970 UTC
SEQ = "__seq"  # Int64: the offset; on Redis the second half of the id (the first is STAMP)
HIDDEN = (TIME, PART, STAMP, SEQ)
ROW = "__row"  # place of a row in its batch; of a tombstone, of the row that comes after it
# Int64: names a row of a right or full join, whose own columns need not: how many rows were joined
# before it; of a table's row without a match, its place in the table and `UNMATCHED`. Not shown.
JOINED = "__joined"
UNMATCHED = 2**62
HIDDEN_SCHEMA = pl.Schema(
    {
        TIME: pl.Datetime("us", "UTC"),
        PART: pl.Int32(),
        STAMP: pl.Int64(),
        SEQ: pl.Int64(),
    }
)

# Columns that a window frame adds.
WINDOW_START, WINDOW_END, CLOSED, PARTIAL = (
    "window_start",
    "window_end",
    "_closed",
    "_partial",
)


class Change(NamedTuple):
    """What one micro-batch did to a frame.

    An *append* frame's rows never change. A *keyed* frame has key columns, and a later row of
    the same key replaces the earlier one; code gets the key columns of a frame that doesn't show
    them as well.

    Attributes:
        added: append frame: the new rows. Keyed frame: new or changed rows, whole, at most one
            per key.
        removed: keyed frame: the key columns of rows that are gone. Append frame: empty.
        forgotten: how many rows retention dropped, oldest first. Views drop them too;
            operators and sinks ignore it: forgetting never undoes.
        version: rises by at least one with every change.
        watermark: as it stood after the batch; None before there is one.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    forgotten: int
    version: int
    watermark: datetime | None


def shown(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without the columns that are never shown; costs nothing."""
    # Not `drop`: it runs a lazy query, 90 µs instead of 15, and never returns after a fork.
    names = [name for name in frame.columns if name not in HIDDEN]
    return frame[names] if names else pl.DataFrame()
