"""Running groups: what there has been of each key, and the newest row of each key.

Rows count in the order of arrival. Keys leave when they have had no row for their time to live,
when a tombstone deletes them, and, those least recently changed, when there are too many.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.engine.aggregator import CLOCK, START, Aggregator
from streamlab.engine.expiry import Expiry
from streamlab.engine.fates import IDLE, refused, tally, timed
from streamlab.engine.keys import Slots, coded, grown
from streamlab.engine.needs import Bounds, Needs
from streamlab.engine.outcome import Batch, Counts
from streamlab.engine.rowwise import ROW, Result
from streamlab.engine.stage import Effect
from streamlab.engine.watermark import NONE, Int64s, Watermark, less, moment
from streamlab.plans.nodes import GroupBy
from streamlab.records import KEY

_FRESH = "__fresh"  # whether the key had gone before this row
_CUT = "__cut"
_NOTHING = np.empty(0, np.int64)


class Judged(NamedTuple):
    """A batch after judgement.

    Attributes:
        taken: rows that count, with `START` and, if keys can leave, `CLOCK` and `_FRESH`.
        counts: of the records.
        rejected: rows without a usable time; None if there are none.
        watermark: as it stands after the batch.
        deleted: keys with a tombstone and its place; None for none.
        tombstones: how many there were.
        came: records of the batch.
    """

    taken: pl.DataFrame
    counts: Counts
    rejected: pl.DataFrame | None
    watermark: Watermark
    deleted: pl.DataFrame | None
    tombstones: int
    came: int


class GroupStage:
    """Running aggregates by slot, or, compacted, the newest row of each key.

    A compacted view's rows are the frame's own: here are only its keys. One worker thread owns
    it; nothing changes before `commit`.

    Attributes:
        max_open: keys kept at most.
        trouble: why the batch answer can't be worked out again; "" if it can.
    """

    needs: Needs | None = None
    frontier = None
    bounds = Bounds(NONE, None)

    def __init__(self, node: GroupBy, schema: pl.Schema, *, max_open: int) -> None:
        """Make it for rows of `schema` (shown columns); `max_open`: keys kept."""
        self._node, self.max_open = node, max_open
        self.trouble = ""
        self._columns = [name for name in schema if name not in node.by]
        self._slots = Slots([schema[name] for name in node.by])
        aggs = () if node.compacted else node.aggs
        self._aggregator = Aggregator(aggs, schema, arrival=True)
        self._watermark = Watermark()
        self._ttl = node.ttl
        self._seen = 1  # records so far, and one: no slot in use has turn 0
        self._clear()

    def _clear(self) -> None:
        self._turn: Int64s = np.zeros(
            0, np.int64
        )  # of the record that changed a slot last; 0: free
        self._expiry = None if self._ttl is None else Expiry(self._ttl.us)

    @property
    def bytes(self) -> int:
        """Bytes held: keys, states, rows."""
        beside = 0 if self._expiry is None else self._expiry.bytes
        return self._slots.bytes + self._aggregator.bytes + self._turn.nbytes + beside

    @property
    def holds(self) -> str:
        """How many keys there are."""
        return f"{self._slots.used:,} keys"

    @property
    def watermark(self) -> datetime | None:
        """How far event time has come; None if nothing hangs on it."""
        return moment(self._watermark.mark)

    def is_open(self, _: int) -> bool:
        """A running group is never over."""
        return True

    def known(self, kind: str) -> pl.DataFrame | None:
        """All groups; of a compacted view, what its frame keeps."""
        if kind != "rows" or self._node.compacted:
            return None
        return self._frame(self._slots.all())

    def judge(self, origin: Batch, result: Result) -> Judged:
        """Which rows count, and which of them begin anew; changes nothing.

        Args:
            origin: the batch that the steps before ran on; all its rows move time on.
            result: what came out of those steps.
        """
        rows = result.rows
        start = pl.Series(START, np.zeros(rows.height, np.int64))
        watermark, rejected = self._watermark, None
        if self._ttl is None:
            taken = rows.hstack([start])
            counts = Counts(result.good, result.passed, result.filtered)
        else:
            times, limits, watermark, idle = timed(watermark, origin, result, self._ttl)
            self.trouble = IDLE if idle else self.trouble
            good = times.good & (times.values > limits)
            (passed, expired, bad) = tally(
                result, (good, times.good & ~good, ~times.good)
            )
            counts = Counts(result.good, passed, result.filtered, bad, expired=expired)
            rejected = refused(rows, times) if bad else None
            clock = pl.Series(CLOCK, times.values)
            taken = rows.hstack([start, clock]).filter(pl.Series(good))
            taken = self._in_one_life(taken, limits[good])
        deleted = self._deleted(origin, result)
        count = 0
        if deleted is not None:
            count = deleted.height
            taken, deleted = _after(taken, deleted)
        return Judged(
            taken, counts, rejected, watermark, deleted, count, origin.rows.height
        )

    def query(self, judged: Judged) -> pl.LazyFrame:
        """The batch's own aggregates, for `commit`."""
        beside = {ROW: pl.col(ROW).max()}
        if self._ttl is not None:
            beside |= {CLOCK: pl.col(CLOCK).max(), _FRESH: pl.col(_FRESH).any()}
        if not self._node.compacted:
            return self._aggregator.over(judged.taken, self._node.by, beside)
        groups = judged.taken.lazy().group_by(*self._node.by)
        return groups.agg(pl.col(self._columns).last(), *beside.values())

    def commit(self, judged: Judged, groups: pl.DataFrame) -> Effect:
        """Merge them; what that did."""
        self._watermark = judged.watermark
        nothing = np.zeros(groups.height, np.int64)
        slots, new = self._slots.place(nothing, nothing, groups[list(self._node.by)])
        self._merge(slots, new, groups, judged)
        self._seen += judged.came
        gone, evicted = self._gone(slots, judged.deleted)
        if evicted:
            self.trouble = f"it had to give up keys, beyond {self.max_open:,}"
        leaving = np.zeros(self._slots.capacity, np.bool_)
        leaving[gone] = True
        there = ~leaving[slots]
        if self._node.compacted:
            rows = groups.select(*self._node.by, *self._columns)
            rows = rows.filter(pl.Series(there)) if len(gone) else rows
        else:
            rows = self._frame(slots[there])
        leaving[new] = False  # was never shown
        removed = self._slots.keys(gone[leaving[gone]], self._node.by)
        self._let_go(gone)
        return Effect(
            rows,
            judged.counts,
            removed=removed,
            rejected=judged.rejected,
            evicted=evicted,
            tombstones=judged.tombstones,
        )

    def _in_one_life(self, taken: pl.DataFrame, limits: Int64s) -> pl.DataFrame:
        """Only rows after which their key has not gone; `_FRESH` where it had gone before.

        A key that had no row for its time to live has gone, even if the next row of it stands
        in the same batch.
        """
        fresh = np.zeros(taken.height, np.bool_)
        if self._expiry is None or self._node.compacted or not taken.height:
            return taken.with_columns(pl.Series(_FRESH, fresh))
        codes, first = coded(taken[list(self._node.by)])
        slots = self._slots.find(0, taken[first][list(self._node.by)])
        held = np.where(slots < 0, NONE, self._expiry.newest(np.maximum(slots, 0)))
        so_far = pl.DataFrame({"code": codes, "time": taken.get_column(CLOCK)})
        before = so_far.select(pl.col("time").cum_max().shift(1).over("code"))
        newest = np.maximum(before.to_series().fill_null(NONE).to_numpy(), held[codes])
        begins = (newest != NONE) & (newest <= limits)
        if not begins.any():
            return taken.with_columns(pl.Series(_FRESH, fresh))
        last = np.full(len(first), -1, np.int64)
        np.maximum.at(last, codes[begins], np.flatnonzero(begins))
        stays = np.arange(taken.height) >= last[codes]
        fresh = last[codes] >= 0
        return taken.with_columns(pl.Series(_FRESH, fresh)).filter(pl.Series(stays))

    def _deleted(self, origin: Batch, result: Result) -> pl.DataFrame | None:
        """Tombstones before the record at fault, if there is one."""
        found = origin.tombstones
        if found is None or not self._node.compacted or self._node.by != (KEY,):
            return None
        found = found.filter(pl.col(ROW) <= result.good)
        return found if found.height else None

    def _merge(
        self, slots: Int64s, new: Int64s, groups: pl.DataFrame, judged: Judged
    ) -> None:
        room = self._slots.capacity
        anew = new
        if self._expiry is not None:
            fresh = slots[groups.get_column(_FRESH).to_numpy()]
            self._expiry.discard(np.setdiff1d(fresh, new))
            anew = np.union1d(new, fresh)
            self._expiry.touch(slots, groups.get_column(CLOCK).to_numpy(), room)
        if len(anew) > len(new):
            self._aggregator.forget(anew.tolist())
        self._turn = grown(self._turn, room) if room > len(self._turn) else self._turn
        self._turn[slots] = self._seen + groups.get_column(ROW).to_numpy()
        if not self._node.compacted:
            self._aggregator.merge(slots, anew, room, groups)
            self._aggregator.keep(slots, groups, judged.taken)

    def _gone(self, slots: Int64s, deleted: pl.DataFrame | None) -> tuple[Int64s, int]:
        """The slots that go now, and how many of them for want of room."""
        gone = [_NOTHING]
        if deleted is not None and deleted.height:
            found = self._slots.find(0, deleted.select(KEY))
            gone.append(np.setdiff1d(found[found >= 0], slots))
        if self._expiry is not None and self._ttl is not None:
            limit = less(self._watermark.mark, self._ttl.us)
            gone.append(np.setdiff1d(self._expiry.due(limit), gone[-1]))
        going = np.concatenate(gone)
        many = self._slots.used - len(going) - self.max_open
        if many <= 0:
            return going, 0
        turns = self._turn.copy()
        turns[going] = 0
        left = np.flatnonzero(turns)
        oldest = left[np.argpartition(self._turn[left], many - 1)[:many]]
        return np.concatenate([going, oldest]), many

    def _let_go(self, slots: Int64s) -> None:
        if not len(slots):
            return
        self._aggregator.forget(slots.tolist())
        if self._expiry is not None:
            self._expiry.discard(slots)
        self._turn[slots] = 0
        self._slots.discard(slots)
        self._slots.release(slots)
        if not self._slots.used:
            self._aggregator.shrink()
            self._clear()

    def _frame(self, slots: Int64s) -> pl.DataFrame:
        """The frame's rows of `slots`."""
        keys = self._slots.keys(slots, self._node.by).get_columns()
        return pl.DataFrame([*keys, *self._aggregator.results(slots, slots)])


def _after(
    taken: pl.DataFrame, tombstones: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that no later tombstone of their key deletes, and the keys deleted."""
    last = tombstones.group_by(KEY).agg(pl.col(ROW).max().alias(_CUT))
    both = taken.join(last, on=KEY, how="left", maintain_order="left")
    left = both.filter(pl.col(_CUT).is_null() | (pl.col(ROW) >= pl.col(_CUT)))
    if _FRESH in left.columns:
        fresh = pl.col(_FRESH) | pl.col(_CUT).is_not_null()
        left = left.with_columns(fresh.alias(_FRESH))
    return left.drop(_CUT), last
