"""Few rows made many, so that polars computes them as it computes many.

polars divides a column by a constant by way of the reciprocal, but a lone value exactly (`exp`
too has two ways): the last bit of `x / 3`, and with it the whole of `x // 0.1`, would hang on
how the stream was cut. Its lazy engine splits a frame between its threads, so that two rows are
lone ones too; and a one-row frame's columns are scalars, and stay so through `concat`: hence
twice as many rows as threads, gathered series by series.

What is left: in larger batches, too, a thread's share or a filter's chunk may be one row, in the
batch answer as well as here; its floats stay within what equality means.
"""

from __future__ import annotations

import numpy as np
import polars as pl


def enough() -> int:
    """Rows from which on every thread has more than one."""
    return 2 * pl.thread_pool_size()


def repeated(rows: pl.DataFrame) -> pl.DataFrame:
    """All of `rows`, `enough` times over, one copy after the other."""
    places = pl.Series(np.tile(np.arange(rows.height), enough()), dtype=pl.UInt32)
    return pl.DataFrame([column.gather(places) for column in rows.get_columns()])
