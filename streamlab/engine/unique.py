"""The first row of each key, or the first of each key within a time; in the order of arrival."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Hashable
from datetime import datetime

import numpy as np
import polars as pl

from streamlab.changes import PART, SEQ, STAMP
from streamlab.durations import Span
from streamlab.engine.assign import Times
from streamlab.engine.fates import IDLE, Mask, refused, tally, timed
from streamlab.engine.keys import coded, plain, sized_all
from streamlab.engine.needs import Bounds, Needs
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import ROW, Result, without
from streamlab.engine.stage import Appending, Effect, Input, Setting
from streamlab.engine.watermark import NONE, Int64s, Watermark, moment
from streamlab.plans.nodes import Unique

_KEY_BYTES = 112  # a set's or dictionary's entry, with its share of empty ones
_TIME_BYTES = (
    160  # a passed row's time, in the list of its key and in that of its bucket
)


class UniqueStage(Appending):
    """The first row of each key passes, for ever: all keys are remembered."""

    needs = None

    def __init__(self, node: Unique, schema: pl.Schema) -> None:
        """Make it for rows of `schema` (shown columns)."""
        self._subset = list(node.subset or schema)
        self._seen: set[Hashable] = set()
        self.bytes = 0

    @property
    def holds(self) -> str:
        """How many keys are remembered."""
        return f"{len(self._seen):,} keys"

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """Let first rows through."""
        (given,) = inputs
        if given is None:  # pragma: no cover - it runs only with known columns
            return None
        result = given.result
        keys = result.rows[self._subset]
        at = keys.select(pl.int_range(pl.len()).alias("__place")).to_series()
        first = keys.hstack([at]).unique(self._subset, keep="first")
        passed = np.zeros(keys.height, np.bool_)
        places = first.get_column("__place").to_numpy()
        wanted = plain(first[self._subset], first.height)
        fresh = [at for at, key in enumerate(wanted) if key not in self._seen]
        passed[places[np.array(fresh, np.int64)]] = True
        new = [wanted[at] for at in fresh]
        self._seen.update(new)
        self.bytes += sized_all(new) + _KEY_BYTES * len(new)
        went, same = tally(result, (passed, ~passed))
        counts = Counts(result.good, went, result.filtered + same)
        return Effect(_chosen(result, passed), counts)


class UniqueWithin(Appending):
    """A row passes if none of its key has passed less than `within` away from it.

    Rows more than `within` behind the watermark do not pass (`expired`), so what has passed
    more than twice that behind it need not be remembered.

    Attributes:
        needs: the oldest record whose having passed still matters; None if nobody commits.
        trouble: why the batch answer can't be worked out again; "" if it can.
    """

    def __init__(
        self, node: Unique, within: Span, schema: pl.Schema, setting: Setting
    ) -> None:
        """Make it for rows of `schema` (shown columns).

        Of a reading that goes on where an earlier one stopped, rows come again that were too
        old by then: they do not pass a second time, but what is like them does not either.
        """
        self._subset = list(node.subset or schema)
        self._within = within
        self._past = setting.past
        self.trouble = ""
        if setting.past is not None:
            self.trouble = "an earlier reading of the group had a part of the rows"
        over = NONE if setting.past is None else setting.past.bounds.over
        self._watermark = Watermark(over)
        # When each key passed: one time, or several, rising.
        self._passed: dict[Hashable, int | list[int]] = {}
        self._buckets: dict[int, list[Hashable]] = {}
        self._order: list[int] = []  # a heap of the buckets
        self.needs = Needs() if setting.committing else None
        self.bytes = 0

    @property
    def bounds(self) -> Bounds:
        """How far event time has come."""
        return Bounds(self._watermark.mark, None)

    @property
    def holds(self) -> str:
        """How many keys are remembered."""
        return f"{len(self._passed):,} keys"

    @property
    def watermark(self) -> datetime | None:
        """How far event time has come; None before there is any."""
        return moment(self._watermark.mark)

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """Let rows through that have no like nearby."""
        (given,) = inputs
        if given is None:  # pragma: no cover - it runs only with known columns
            return None
        result = given.result
        times, limits, watermark, idle = timed(
            self._watermark, given.origin, result, self._within
        )
        self.trouble = IDLE if idle else self.trouble
        wanted = times.good & (times.values >= limits)
        known = self._passed_before(result, times, limits)
        first = np.zeros(len(wanted), np.bool_)
        among = np.flatnonzero(wanted | known)
        keys = result.rows[self._subset]
        passing: list[Hashable] = []
        if len(among):
            first[among], passing = self._choose(keys[among], times.values[among])
        self._watermark = watermark
        self._note(passing, times.values[first], result, first)
        self._forget()
        passed = first & wanted
        rows = _chosen(result, passed)
        fates = (passed, wanted & ~passed, times.good & ~wanted, ~times.good)
        went, same, expired, bad = tally(result, fates)
        held = result.filtered + same
        counts = Counts(result.good, went, held, bad, expired=expired)
        rejected = refused(result.rows, times) if bad else None
        return Effect(rows, counts, rejected=rejected)

    def _passed_before(self, result: Result, times: Times, limits: Int64s) -> Mask:
        """Rows that an earlier reading had, too old to pass now but not to be remembered."""
        if self._past is None:
            return np.zeros(len(limits), np.bool_)
        part, stamp, seq = (
            result.rows.get_column(n).to_numpy() for n in (PART, STAMP, SEQ)
        )
        old = (times.values < limits) & (times.values > limits - self._within.us)
        return times.good & old & self._past.was_read(part, stamp, seq)

    def _choose(self, keys: pl.DataFrame, times: Int64s) -> tuple[Mask, list[Hashable]]:
        """Which rows pass, and their keys; remembers them.

        A key that is new passes with its first row, and one that is known has that row looked
        at by itself. What is near to it, or to what it is like, is no first one: mostly that
        leaves nothing more to look at row by row.
        """
        codes, first = coded(keys)
        distinct = plain(keys[first], len(first))
        near = times[first]
        passed = np.zeros(len(codes), np.bool_)
        held = list(map(self._passed.get, distinct))
        new = [code for code, times_of in enumerate(held) if times_of is None]
        at = np.array(new, np.int64)
        passed[first[at]] = True
        names = [distinct[code] for code in new]
        self._passed.update(zip(names, near[at].tolist(), strict=True))
        self.bytes += sized_all(names) + _KEY_BYTES * len(new)
        for code, (times_of, time) in enumerate(zip(held, near.tolist(), strict=True)):
            if times_of is None:
                continue
            like = self._like(distinct[code], time)
            if like is None:
                passed[first[code]] = True
            else:
                near[code] = like
        left = np.abs(times - near[codes]) >= self._within.us
        rest = np.flatnonzero(left)
        for place, code, time in zip(
            rest.tolist(), codes[rest].tolist(), times[rest].tolist(), strict=True
        ):
            passed[place] = self._like(distinct[code], time) is None
        return passed, [distinct[code] for code in codes[passed].tolist()]

    def _like(self, key: Hashable, time: int) -> int | None:
        """A time near which the key has passed; if there is none, it passes now."""
        held = self._passed[key]
        if isinstance(held, int):
            if abs(held - time) < self._within.us:
                return held
            self._passed[key] = [held, time] if held < time else [time, held]
            return None
        at = bisect_left(held, time)
        if at < len(held) and held[at] - time < self._within.us:
            return held[at]
        if at and time - held[at - 1] < self._within.us:
            return held[at - 1]
        held.insert(at, time)
        return None

    def _note(
        self, keys: list[Hashable], times: Int64s, result: Result, which: Mask
    ) -> None:
        """File what has passed under its time."""
        if not keys:
            return
        buckets = times // self._within.us
        self.bytes += _TIME_BYTES * len(buckets)
        order = np.argsort(buckets, kind="stable")
        distinct, first = np.unique(buckets[order], return_index=True)
        ends = [*first[1:].tolist(), len(order)]
        filed = [keys[at] for at in order.tolist()]
        for bucket, begin, end in zip(
            distinct.tolist(), first.tolist(), ends, strict=True
        ):
            if bucket not in self._buckets:
                self._buckets[bucket] = []
                heapq.heappush(self._order, bucket)
            self._buckets[bucket] += filed[begin:end]
        if self.needs is not None:
            part, stamp, seq = (
                result.rows.get_column(n).to_numpy()[which] for n in (PART, STAMP, SEQ)
            )
            self.needs.add(buckets, part, stamp, seq)

    def _forget(self) -> None:
        """Let go of what no row that may still pass can be near to."""
        if self._watermark.mark == NONE:
            return
        width = self._within.us
        limit = self._watermark.mark - 2 * width
        gone: list[int] = []
        while self._order and (self._order[0] + 1) * width - 1 <= limit:
            bucket = heapq.heappop(self._order)
            gone.append(bucket)
            self._drop(self._buckets.pop(bucket), (bucket + 1) * width - 1)
        if self.needs is not None and gone:
            self.needs.forget(np.array(gone, np.int64))

    def _drop(self, keys: list[Hashable], until: int) -> None:
        """Forget the times of some keys up to `until`."""
        self.bytes -= _TIME_BYTES * len(keys)
        over: list[Hashable] = []
        for key in keys:
            held = self._passed.get(key)
            if isinstance(held, list):
                del held[: bisect_right(held, until)]
                if held:
                    continue
            elif held is None or held > until:
                continue
            del self._passed[key]
            over.append(key)
        self.bytes -= sized_all(over) + _KEY_BYTES * len(over)


def _chosen(result: Result, passed: Mask) -> pl.DataFrame:
    return without(result.rows.filter(pl.Series(passed)), (ROW,))
