"""The window operator: judges every row, keeps open windows, closes and corrects them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import (
    CLOSED,
    PART,
    PARTIAL,
    SEQ,
    STAMP,
    TIME,
    WINDOW_END,
    WINDOW_START,
)
from streamlab.durations import Span
from streamlab.engine import verdict
from streamlab.engine.aggregator import CLOCK, START, Aggregator
from streamlab.engine.assign import Times, moments, read_times, spans
from streamlab.engine.fates import refused
from streamlab.engine.kept import Kept
from streamlab.engine.keys import Slots
from streamlab.engine.needs import Bounds, Needs, Past
from streamlab.engine.outcome import Batch
from streamlab.engine.rowwise import ROW, Result
from streamlab.engine.sessionslots import SessionSlots
from streamlab.engine.stage import Effect
from streamlab.engine.standing import stand
from streamlab.engine.verdict import NO_PAIRS, Judged, Pairs
from streamlab.engine.watermark import FOREVER, NONE, Int64s, Watermark, less, moment
from streamlab.plans.nodes import Window, window_dtype

_LATE_KEPT = 10_000  # rows, for a `.late` that is asked for after they came
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WindowOperator:
    """Tumbling windows with their aggregates, by slot; `closed` and `late` hang on it too.

    Nothing changes before `commit`: a block whose aggregation fails can be judged again
    without the record at fault. One worker thread owns it.

    Attributes:
        evicted_until: windows that end by then were given up; rows for them are late.
        needs: the oldest record of each open window; None if nobody commits.
    """

    def __init__(
        self,
        node: Window,
        schema: pl.Schema,
        *,
        began: datetime | None,
        max_open: int,
        committing: bool = False,
        past: Past | None = None,
    ) -> None:
        """Make it for rows of `schema` (shown columns).

        Args:
            node: the window.
            schema: of the rows that come in, without hidden columns.
            began: event time the frame begins at: windows that started earlier are partial;
                None means from the first record there ever was.
            max_open: (window, key) pairs kept open; beyond it the oldest are evicted.
            committing: keep account of the oldest record that an open window needs.
            past: the reading that this one goes on with: what it had read of windows that it
                had closed is passed over (`expired`).
        """
        self.node = node
        self.needs = Needs() if committing else None
        self._past = past
        self._integers = isinstance(node.every, int)
        self._dtype = window_dtype(node)
        self._max_open = max_open
        self._from: int | None = None if began is None else _us(began - _EPOCH)
        # Another column's times can't be compared with where reading began: the first row's
        # own value stands for it.
        self._from_first_row = began is not None and node.on is not None
        self._watermark = Watermark()
        self._by = [schema[name] for name in node.by]
        self._windows = Slots(self._by)
        self._slots, self._aggregator = self._states(schema)
        self._done, self._late = Kept(max_open), Kept(_LATE_KEPT)
        self._closed_count = 0
        self._expired = Kept(max_open)
        self.evicted_until = self._past_over
        if past is not None:
            self._from, self._from_first_row = past.bounds.whole_from, False
        blank = self._frame(np.empty(0, np.int64), closed=False)
        self._columns = blank.columns
        self._closed_blank = _as_append(blank, 0)
        self._refused_blank: tuple[pl.DataFrame, pl.DataFrame] | None = None

    def _states(self, schema: pl.Schema) -> tuple[Slots | SessionSlots, Aggregator]:
        """Where the states are, and they themselves."""
        return self._windows, Aggregator(self.node.aggs, schema)

    @property
    def bytes(self) -> int:
        """Bytes held: states, keys, rows, and what is kept of closed windows and late rows."""
        kept = self._done.bytes + self._late.bytes + self._expired.bytes
        return self._slots.bytes + self._aggregator.bytes + kept

    @property
    def holds(self) -> str:
        """How many rows of open windows there are."""
        return f"{self._slots.used:,} open windows, one per key"

    @property
    def watermark(self) -> datetime | None:
        """Watermark less lateness; None before there is one, or for integers."""
        limit = less(self._watermark.mark, self._lateness or 0)
        return None if self._integers else moment(limit)

    @property
    def frontier(self) -> None:
        """Its rows are revised."""

    @property
    def bounds(self) -> Bounds:
        """Between which windows it stands."""
        return Bounds(max(self._over(final=False), self.evicted_until), self._from)

    def is_open(self, start: int) -> bool:
        """Whether a window that starts then has state."""
        return start in self._slots

    def known(self, kind: str) -> pl.DataFrame:
        """What a frame that is made only now begins with.

        "rows": open windows, and closed ones as far as kept (`max_open` rows). "closed":
        the latter. "late": the newest 10,000 late rows. "expired": as those, of rows that an
        earlier reading had brought home.
        """
        if kind in ("late", "expired"):
            blank = self._refused_blank[0] if self._refused_blank else pl.DataFrame()
            return (self._late if kind == "late" else self._expired).frame(blank)
        closed = self._done.frame(self._closed_blank)
        if kind == "closed":
            return closed
        done = closed.with_columns(pl.lit(value=True).alias(CLOSED)).select(
            self._columns
        )
        still = self._shown(self._slots.all())
        return pl.concat([done, self._frame(still, closed=False)])

    def judge(self, origin: Batch, result: Result) -> Judged:
        """Give every row of `result` its window and its verdict; changes nothing.

        Args:
            origin: the batch that the steps before the window ran on. With event time of
                the source's own, all its rows move the watermark, filtered ones too.
            result: what came out of those steps.
        """
        rows = result.rows
        times, limit, watermark = self._limited(origin, result)
        good = times.good
        starts, ends = spans(self.node, times.values)
        missed = good & (ends <= limit)
        late = expired = NO_PAIRS
        behind = gone = np.zeros(len(good), np.bool_)
        if missed.any():
            at = np.flatnonzero(missed)
            pairs = Pairs(at, starts[at], ends[at], (limit - ends)[at])
            late, expired = self._parted(rows, pairs)
            behind, gone = behind.copy(), gone.copy()
            behind[late.rows], gone[expired.rows] = True, True
            good = good & ~missed
        taken = rows.hstack([pl.Series(START, starts), pl.Series(CLOCK, times.values)])
        taken = taken if good.all() else taken.filter(pl.Series(good))
        counts = verdict.count(result, good, behind, gone)
        return Judged(
            rows, times, late, expired, taken, watermark, counts, origin.final
        )

    def _limited(
        self, origin: Batch, result: Result
    ) -> tuple[Times, Int64s, Watermark]:
        """Event times, the limit at each row (windows that end by then were over), and the
        watermark after them.
        """
        node, rows = self.node, result.rows
        ahead = None if self._integers else node.max_ahead
        watermark = self._watermark.copy()
        if node.on is None:
            times, marks = stand(watermark, origin, result.good, ahead)
            if result.multiplies or rows.height != result.good:
                places = rows.get_column(ROW).to_numpy()
                times, marks = times.at(places), marks[places]
        else:
            times = read_times(rows, node.on, ahead)
            parts = rows.get_column(PART).to_numpy()
            marks = watermark.follow(times.values, parts, times.good, origin)
        limit = np.maximum(self._limits(marks), self.evicted_until)
        return times, limit, watermark

    def _parted(self, rows: pl.DataFrame, missed: Pairs) -> tuple[Pairs, Pairs]:
        """Pairs that are late, and those that an earlier reading had brought home."""
        over = missed.ends <= self._past_over
        gone = over & self._read_before(rows, missed.rows)
        return missed.where(~gone), missed.where(gone)

    @property
    def _past_over(self) -> int:
        return NONE if self._past is None else self._past.bounds.over

    def _read_before(self, rows: pl.DataFrame, places: Int64s) -> NDArray[np.bool_]:
        """Which rows an earlier reading had been handed."""
        if self._past is None or not len(places):
            return np.zeros(len(places), np.bool_)
        names = (PART, STAMP, SEQ)
        part, stamp, seq = (rows.get_column(n).to_numpy()[places] for n in names)
        return self._past.was_read(part, stamp, seq)

    def query(self, judged: Judged) -> pl.LazyFrame:
        """The block's own aggregates, for `commit`."""
        return self._aggregator.over(judged.taken, self.node.by)

    def commit(self, judged: Judged, groups: pl.DataFrame) -> Effect:
        """Merge the block's aggregates into the state; what that did."""
        self._watermark = judged.watermark
        self._note_first(judged)
        touched = self._merge(judged, groups)
        closing = self._slots.pop_until(self._over(final=judged.final))
        evicted, latest = self._slots.pop_oldest(self._max_open + len(closing))
        if latest is not None:
            self.evicted_until = max(self.evicted_until, latest)
        changed, closed = self._corrected(touched, self._shown(closing))
        self._let_go(np.concatenate([closing, evicted]))
        late, rejected = self._refused(judged)
        self._done.add(closed)
        self._late.add(late)
        if len(judged.expired.rows):
            gone = verdict.missed_rows(judged.rows, judged.expired, self._dtype)
            self._expired.add(gone)
        return Effect(
            changed,
            judged.counts,
            closed=closed,
            late=late,
            rejected=rejected,
            evicted=len(evicted),
        )

    def _shown(self, slots: Int64s) -> Int64s:
        """Those whose rows the frame has."""
        return slots

    def _corrected(
        self, touched: Int64s, closing: Int64s
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The window frame's changed rows, and those that close as an append frame's."""
        if not len(closing):
            return self._frame(touched, closed=False), self._closed_blank
        going = np.zeros(self._slots.capacity, np.bool_)
        going[closing] = True
        still = self._frame(touched[~going[touched]], closed=False)
        order = (WINDOW_END, WINDOW_START, *self.node.by)
        closed = self._frame(closing, closed=True).sort(order)
        lines = _as_append(closed, self._closed_count)
        self._closed_count += closed.height
        return pl.concat([still, closed]), lines

    def _refused(self, judged: Judged) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Late and rejected rows."""
        if self._refused_blank is None:
            nothing = judged.cleared()
            late = verdict.missed_rows(nothing.rows, NO_PAIRS, self._dtype)
            self._refused_blank = late, refused(nothing.rows, nothing.times)
        late, rejected = self._refused_blank
        if len(judged.late.rows):
            late = verdict.missed_rows(judged.rows, judged.late, self._dtype)
        if not judged.times.good.all():
            rejected = refused(judged.rows, judged.times)
        return late, rejected

    def _merge(self, judged: Judged, groups: pl.DataFrame) -> Int64s:
        starts = groups.get_column(START).to_numpy()
        _, ends = spans(self.node, starts)
        # A frame without columns keeps its height only through `select`, which costs a query.
        by = groups[list(self.node.by)] if self.node.by else groups.select()
        slots, new = self._windows.place(starts, ends, by)
        self._aggregator.merge(slots, new, self._slots.capacity, groups)
        self._aggregator.keep(slots, groups, judged.taken)
        if self.needs is not None:
            names = (START, PART, STAMP, SEQ)
            self.needs.add(*(judged.taken.get_column(n).to_numpy() for n in names))
        return slots

    def _let_go(self, slots: Int64s) -> None:
        if not len(slots):
            return
        self._aggregator.forget(np.unique(self._slots.starts[slots]).tolist())
        if self.needs is not None:
            self.needs.forget(self._slots.starts[slots])
        self._slots.release(slots)
        if not self._slots.used:
            self._aggregator.shrink()

    def _frame(self, slots: Int64s, *, closed: bool) -> pl.DataFrame:
        """The window frame's rows of `slots`."""
        starts, ends = self._slots.starts[slots], self._slots.ends[slots]
        return pl.DataFrame(
            [
                moments(WINDOW_START, starts, self._dtype),
                moments(WINDOW_END, ends, self._dtype),
                *self._slots.keys(slots, self.node.by).get_columns(),
                *self._results(slots),
                pl.Series(CLOSED, np.full(len(slots), closed)),
                pl.Series(PARTIAL, self._partial(starts)),
            ]
        )

    def _results(self, slots: Int64s) -> list[pl.Series]:
        return self._aggregator.results(slots, self._slots.starts[slots])

    def _partial(self, starts: Int64s) -> NDArray[np.bool_]:
        """Which windows had begun before the frame did."""
        if self._from is None:
            return np.zeros(len(starts), np.bool_)
        return starts < self._from

    def _limits(self, marks: Int64s) -> Int64s:
        lateness = self._lateness
        if lateness is None:
            return np.full(len(marks), NONE, np.int64)
        return np.where(marks == NONE, NONE, marks - lateness)

    @property
    def _lateness(self) -> int | None:
        lateness = self.node.lateness
        return lateness.us if isinstance(lateness, Span) else lateness

    def _over(self, *, final: bool) -> int:
        """Windows that end by then are over."""
        if final:
            return FOREVER
        lateness = self._lateness
        return NONE if lateness is None else less(self._watermark.mark, lateness)

    def _note_first(self, judged: Judged) -> None:
        if self._from_first_row and judged.times.good.any():
            self._from = int(judged.times.values[judged.times.good][0])
            self._from_first_row = False


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _as_append(closed: pl.DataFrame, first: int) -> pl.DataFrame:
    """Closed windows as rows of an append frame, numbered from `first`.

    Their event time is the window's start; they come in its order, from one partition, so a
    window over them is never late.
    """
    start = pl.col(WINDOW_START)
    moment = pl.Datetime("us", "UTC")
    timed = closed.schema[WINDOW_START].is_temporal()
    time = start.dt.convert_time_zone("UTC") if timed else pl.lit(None, moment)
    return closed.drop(CLOSED).with_columns(
        time.alias(TIME),
        pl.lit(0, pl.Int32).alias(PART),
        (start.dt.epoch("ms") if timed else pl.lit(0, pl.Int64)).alias(STAMP),
        pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias(SEQ),
    )
