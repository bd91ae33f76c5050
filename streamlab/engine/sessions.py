"""Session windows: rows of a key less than a gap apart are one window."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.changes import PART, SEQ, STAMP, WINDOW_START
from streamlab.durations import Span
from streamlab.engine import verdict
from streamlab.engine.aggregator import CLOCK, START, Aggregator
from streamlab.engine.assign import moments
from streamlab.engine.keys import coded, plain
from streamlab.engine.needs import Bounds, Past
from streamlab.engine.outcome import Batch
from streamlab.engine.rowwise import Result
from streamlab.engine.sessionslots import Joined, SessionSlots
from streamlab.engine.stage import Effect
from streamlab.engine.verdict import NO_PAIRS, Judged, Pairs
from streamlab.engine.watermark import NONE, Int64s
from streamlab.engine.window import WindowOperator
from streamlab.plans.nodes import Window

_SESSION = "__session"  # serial number of the session that a doubtful row went into


class _Groups(NamedTuple):
    """Rows of a batch, put together where they are less than a gap apart; by number.

    Attributes:
        firsts: first event time.
        ends: the last, and the gap.
    """

    firsts: Int64s
    ends: Int64s


class SessionOperator(WindowOperator):
    """Sessions `[first, last + gap)` of each key.

    A row whose own `[time, time + gap)` is over is late, and so is one that touches a session
    of its key that had closed. All others go into the sessions they touch, and make these one;
    a row that touches none begins one. Which sessions there are therefore does not hang on the
    order of the rows that were on time, and a batch can be merged as a whole.
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
        """As for tumbling windows."""
        self._sessions = SessionSlots([schema[name] for name in node.by])
        self._aliases: dict[int, list[int]] = {}
        self._removed: pl.DataFrame | None = None
        self._doubtful: pl.DataFrame | None = None
        super().__init__(
            node,
            schema,
            began=began,
            max_open=max_open,
            committing=committing,
            past=past,
        )
        self.evicted_until = NONE  # what an earlier reading closed is told row by row

    def _states(self, schema: pl.Schema) -> tuple[SessionSlots, Aggregator]:
        return self._sessions, Aggregator(self.node.aggs, schema, numbered=True)

    @property
    def bounds(self) -> Bounds:
        over, whole_from = super().bounds
        return Bounds(max(over, self._past_over), whole_from)

    @property
    def _gap(self) -> int:
        every = self.node.every
        return every.us if isinstance(every, Span) else every

    def judge(self, origin: Batch, result: Result) -> Judged:
        """Give every row its verdict, and put those together that are a session by themselves."""
        rows, gap = result.rows, self._gap
        times, limit, watermark = self._limited(origin, result)
        good, clock = times.good, times.values
        if self._past is not None:
            # Rows that are read again may belong to a session that was still open.
            again = self._read_before(rows, np.arange(rows.height))
            limit = np.where(again, limit, np.maximum(limit, self._past_over))
        over = good & (clock + gap <= limit)
        keys = rows.select(self.node.by)
        codes, heads = coded(keys) if keys.width else _one_key(rows.height)
        taken = good & ~over
        touching = NO_PAIRS
        if (trailing := taken & (clock < limit)).any():
            there = np.isin(codes, codes[trailing]) & taken
            key_of = plain(keys[pl.Series(heads)] if keys.width else keys, len(heads))
            touching = self._touching(
                np.flatnonzero(there), codes, key_of, clock, limit
            )
            taken[touching.rows] = False
        at = np.flatnonzero(over)
        own = Pairs(at, clock[at], clock[at] + gap, (limit - clock - gap)[at])
        late, expired = self._parted(rows, _both(own, touching))
        behind, gone = (np.zeros(len(good), np.bool_) for _ in range(2))
        behind[late.rows], gone[expired.rows] = True, True
        into, groups = _grouped(rows, clock, codes, taken, gap)
        counts = verdict.count(result, taken, behind, gone)
        return Judged(
            rows, times, late, expired, into, watermark, counts, origin.final, groups
        )

    def _touching(
        self,
        places: Int64s,
        codes: Int64s,
        key_of: list[Hashable],
        clock: Int64s,
        limit: Int64s,
    ) -> Pairs:
        """Rows among `places` that touch a session which was over when they came.

        One by one: which sessions there were hangs on the rows before. Only keys that have a row
        behind the limit come here.
        """
        sessions: dict[int, list[tuple[int, int]]] = {}
        found: list[tuple[int, int, int, int]] = []
        for row in places.tolist():
            code, time, over = int(codes[row]), int(clock[row]), int(limit[row])
            if code not in sessions:
                sessions[code] = self._sessions.of(key_of[code])
            mine, end = sessions[code], time + self._gap
            low = bisect_right(mine, time, key=lambda each: each[1])
            high = low
            while high < len(mine) and mine[high][0] < end:
                high += 1
            closed = [each for each in mine[low:high] if each[1] <= over]
            if closed:
                (start, until), *_ = closed
                found.append((row, start, until, over - until))
                continue
            parts = [(time, end), *mine[low:high]]
            whole = min(start for start, _ in parts), max(until for _, until in parts)
            mine[low:high] = [whole]
        return Pairs(*np.array(found, np.int64).reshape(-1, 4).T)

    def _merge(self, judged: Judged, groups: pl.DataFrame) -> Int64s:
        found: _Groups = judged.plan
        number = groups.get_column(START).to_numpy()
        by = groups[list(self.node.by)] if self.node.by else groups.select()
        keys = plain(by, groups.height)
        joined = self._sessions.join(found.firsts[number], found.ends[number], keys)
        slots, every = joined.slots, np.arange(groups.height)
        room = self._sessions.capacity
        self._aggregator.spread(every, slots, joined.new, room, groups)
        self._aggregator.keep_in(every, slots, slots, groups, judged.taken)
        self._aggregator.absorb(joined.into, joined.absorbed)
        self._removed = self._gone(joined)
        of_number = np.zeros(len(found.firsts), np.int64)
        of_number[number] = self._serials(slots)
        self._note(judged, of_number[judged.taken.get_column(START).to_numpy()])
        self._unite(joined)
        return self._shown(np.unique(slots))

    def _unite(self, joined: Joined) -> None:
        """What was kept for sessions that are part of another one now is kept for that."""
        pairs = zip(joined.into.tolist(), joined.absorbed.tolist(), strict=True)
        for into, absorbed in pairs:
            one, other = self._serials(np.array([into, absorbed])).tolist()
            if self.needs is not None:
                self.needs.absorb(one, other)
            if self._doubtful is not None:
                number = pl.col(_SESSION)
                moved = pl.when(number == other).then(one).otherwise(number)
                self._doubtful = self._doubtful.with_columns(moved.alias(_SESSION))
            if self._aggregator.keeps_rows:  # they lie where they were
                mine = self._aliases.setdefault(into, [])
                mine += [absorbed, *self._aliases.pop(absorbed, [])]
            else:
                self._sessions.release(np.array([absorbed]))

    def _note(self, judged: Judged, serials: Int64s) -> None:
        """Keep account of the records in sessions; `serials` of each row taken."""
        taken = judged.taken
        if self.needs is not None:
            place = (taken.get_column(n).to_numpy() for n in (PART, STAMP, SEQ))
            self.needs.add(serials, *place)
        if self._past is None or not taken.height:
            return
        clock = taken.get_column(CLOCK).to_numpy()
        ends = clock + self._gap
        maybe = ends <= self._past_over
        if not maybe.any():
            return
        at = np.flatnonzero(maybe)
        pairs = Pairs(at, clock[at], ends[at], self._past_over - ends[at])
        rows = taken.drop(START, CLOCK)
        lines = verdict.missed_rows(rows, pairs, self._dtype)
        more = lines.with_columns(pl.Series(_SESSION, serials[at]))
        known = [] if self._doubtful is None else [self._doubtful]
        self._doubtful = pl.concat([*known, more])

    def commit(self, judged: Judged, groups: pl.DataFrame) -> Effect:
        """Merge the block's aggregates into the state; what that did."""
        effect = super().commit(judged, groups)
        limit = max(self._over(final=judged.final), self.evicted_until)
        if limit != NONE:
            gone = self._sessions.forget(limit - self._gap)
            if self.needs is not None:
                self.needs.forget(gone)
        return effect._replace(removed=self._removed)

    def _gone(self, joined: Joined) -> pl.DataFrame | None:
        """Keys that are not there any more: a session grew backwards, or became part of one."""
        shown = joined.ends > self._past_over
        if not shown.any():
            return None
        keys = self._sessions.keys(joined.moved[shown], self.node.by)
        starts = moments(WINDOW_START, joined.old[shown], self._dtype)
        return pl.DataFrame([starts, *keys.get_columns()])

    def _shown(self, slots: Int64s) -> Int64s:
        """Those that are not, as far as is known, a part of what an earlier reading closed."""
        return slots[self._sessions.ends[slots] > self._past_over]

    def _results(self, slots: Int64s) -> list[pl.Series]:
        aliases = [
            (alias, place)
            for place, slot in enumerate(slots.tolist())
            for alias in self._aliases.get(slot, ())
        ]
        other, at = np.array(aliases, np.int64).reshape(-1, 2).T
        windows = np.concatenate([slots, other])
        return self._aggregator.results(slots, windows, other, at)

    def _partial(self, starts: Int64s) -> NDArray[np.bool_]:
        """A record less than a gap before the first may have been missed."""
        if self._from is None:
            return np.zeros(len(starts), np.bool_)
        return starts < self._from + self._gap

    def _let_go(self, slots: Int64s) -> None:
        if not len(slots):
            return
        lists = [self._aliases.pop(slot, []) for slot in slots.tolist()]
        aliases = [alias for each in lists for alias in each]
        if self._doubtful is not None:
            self._bring_home(slots)
        every = np.concatenate([slots, np.array(aliases, np.int64)])
        self._aggregator.forget(every.tolist())
        self._sessions.release(every)
        if not self._sessions.used:
            self._aggregator.shrink()

    def _bring_home(self, slots: Int64s) -> None:
        """Rows of sessions that never outgrew what an earlier reading had closed."""
        if self._doubtful is None:
            return
        ghosts = slots[self._sessions.ends[slots] <= self._past_over]
        number = pl.col(_SESSION)
        home = number.is_in(self._serials(ghosts).tolist())
        self._expired.add(self._doubtful.filter(home).drop(_SESSION))
        left = number.is_in(self._serials(slots).tolist()).not_()
        self._doubtful = self._doubtful.filter(left)

    def _serials(self, slots: Int64s) -> Int64s:
        return np.abs(self._sessions.serials[slots])


def _one_key(height: int) -> tuple[Int64s, Int64s]:
    """Rows without a key are all of one."""
    return np.zeros(height, np.int64), np.zeros(min(height, 1), np.int64)


def _both(one: Pairs, other: Pairs) -> Pairs:
    if not len(other.rows):
        return one
    pairs = zip(one, other, strict=True)
    both = Pairs(*(np.concatenate(columns) for columns in pairs))
    order = np.argsort(both.rows, kind="stable")
    return Pairs(*(column[order] for column in both))


def _grouped(
    rows: pl.DataFrame,
    clock: Int64s,
    codes: Int64s,
    taken: NDArray[np.bool_],
    gap: int,
) -> tuple[pl.DataFrame, _Groups]:
    """The rows taken, each with the number of its group, and the groups."""
    into = rows if taken.all() else rows.filter(pl.Series(taken))
    clock, codes = clock[taken], codes[taken]
    order = np.lexsort((clock, codes))
    time, code = clock[order], codes[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(code) != 0) | (np.diff(time) >= gap)
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(first) - 1
    last = np.append(first[1:], np.ones(min(len(first), 1), np.bool_))
    columns = [pl.Series(START, number), pl.Series(CLOCK, clock)]
    return into.hstack(columns), _Groups(time[first], time[last] + gap)
