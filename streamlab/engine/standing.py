"""Event times of a batch and the watermark after each row, worked out once for operators alike.

Windows that began together have the same watermark: what the first of them finds is kept with
the batch, and the others take it from there. While a cell computes this counts twice, for each
pass over the rows lets go of the interpreter, and waits to have it back.
"""

from __future__ import annotations

from streamlab.changes import PART
from streamlab.durations import Span
from streamlab.engine.assign import Times, read_times
from streamlab.engine.outcome import Batch
from streamlab.engine.watermark import Int64s, Watermark


def stand(
    watermark: Watermark, batch: Batch, good: int, max_ahead: Span | None
) -> tuple[Times, Int64s]:
    """The source's event times of the first `good` rows, and the mark after each of them.

    Args:
        watermark: follows them.
        batch: the rows.
        good: so many of them.
        max_ahead: see `read_times`.
    """
    known = batch.known if good == batch.rows.height else None
    known = {} if known is None else known
    rows = batch.rows.head(good)
    if max_ahead not in known:
        known[max_ahead] = read_times(rows, None, max_ahead)
    times: Times = known[max_ahead]
    before = (max_ahead, watermark.mark, *sorted(watermark.newest.items()))
    if before not in known:
        parts = rows.get_column(PART).to_numpy()
        marks = watermark.follow(times.values, parts, times.good, batch)
        known[before] = marks, watermark.copy()
    marks, after = known[before]
    watermark.mark, watermark.newest = after.mark, dict(after.newest)
    return times, marks
