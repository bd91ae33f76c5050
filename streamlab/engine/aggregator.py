"""A window's aggregations, each on its own road: partial states, or the raw rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import polars as pl

from streamlab.changes import PART
from streamlab.engine.copies import enough, repeated
from streamlab.engine.hops import within
from streamlab.engine.rawrows import SLOT, RawRows
from streamlab.engine.states import State, state_of
from streamlab.engine.watermark import Int64s
from streamlab.plans.aggregates import Partial, Split, split
from streamlab.plans.steady import steady

START, CLOCK, PLACE, NUMBER = "__start", "__clock", "__place", "__number"


NOBODY: Int64s = np.empty(0, np.int64)


class Aggregator:
    """All aggregations of one operator, by slot."""

    def __init__(
        self,
        aggs: Iterable[pl.Expr],
        schema: pl.Schema,
        *,
        arrival: bool = False,
        numbered: bool = False,
    ) -> None:
        """Prepare.

        Args:
            aggs: each with its name.
            schema: shown columns of the rows that are aggregated.
            arrival: rows of a slot are in the order of arrival, not of event time; kept rows
                lie by slot, not by window.
            numbered: a slot's rows may come to lie behind others that came later, so they bear
                the number of their arrival.
        """
        self._aggs = tuple(aggs)
        self._arrival = arrival
        self._splits: list[Split | None] = [
            split(each, schema, arrival=arrival) for each in self._aggs
        ]
        self._room = 0
        self._states: list[list[State]] = []
        self.shrink()
        pairs = zip(self._aggs, self._splits, strict=True)
        self._plain = {
            each.name for each in self._splits if each is not None and _is_plain(each)
        }
        self._raw = [steady(expr, schema) for expr, found in pairs if not found]
        self._needed = _columns_of(self._raw, schema)
        self._rows = RawRows()
        columns = {name: schema[name] for name in self._needed}
        order: dict[str, pl.DataType] = {}
        if not arrival:
            order = {CLOCK: pl.Int64(), PART: pl.Int32()}
        if numbered:
            order[NUMBER] = pl.Int64()
        self._order, self._arrived = list(order), 0
        self._blank = pl.DataFrame(schema={**columns, **order, SLOT: pl.Int64()})

    @property
    def bytes(self) -> int:
        """Bytes held by states and rows."""
        held = sum(state.bytes for states in self._states for state in states)
        return held + self._rows.bytes

    @property
    def keeps_rows(self) -> bool:
        """Whether any aggregation needs them."""
        return bool(self._raw)

    def over(
        self,
        rows: pl.DataFrame,
        by: tuple[str, ...],
        beside: Mapping[str, pl.Expr] = MappingProxyType({}),
    ) -> pl.LazyFrame:
        """The batch's own aggregates: `START`, the `by` columns, then one or more columns per
        partial state (and, if rows are kept, the places of each group's rows).

        Args:
            rows: with `START`.
            by: key columns.
            beside: further columns → what is taken of each group's.
        """
        values: list[pl.Expr] = []
        takes: list[pl.Expr] = []
        for number, (partial, state) in enumerate(self._partials()):
            value, where = pl.col(f"__v{number}"), None
            values.append(partial.value.alias(f"__v{number}"))
            if partial.where is not None:
                values.append(partial.where.alias(f"__w{number}"))
                where = pl.col(f"__w{number}")
            part = value if where is None else value.filter(where)
            for place, take in enumerate(state.exprs(part)):
                takes.append(take.alias(f"__p{number}_{place}"))
        if self._raw:
            takes.append(pl.col(PLACE).implode())
        keyed = [pl.col(START), *(pl.col(name) for name in by)]
        few = 0 < rows.height < enough()
        fed = (repeated(rows) if few else rows).lazy().with_row_index(PLACE)
        takes += beside.values()
        inputs = fed.select(*keyed, PLACE, *values, *beside)
        if (
            few
        ):  # compared with the length, which polars can't move before the evaluation
            inputs = inputs.filter(pl.col(PLACE) < pl.len() // enough())
        return inputs.group_by(START, *by).agg(takes)

    def merge(
        self, slots: Int64s, new: Int64s, room: int, groups: pl.DataFrame
    ) -> None:
        """Add a batch's aggregates; row i of `groups` belongs to `slots[i]`, all distinct."""
        for number, (_, state) in enumerate(self._partials()):
            if room > self._room:
                state.grow(room)
            state.reset(new)
            names = [n for n in groups.columns if n.startswith(f"__p{number}_")]
            state.merge(slots, [groups.get_column(name) for name in names])
        self._room = max(room, self._room)

    def spread(
        self, place: Int64s, slots: Int64s, new: Int64s, room: int, groups: pl.DataFrame
    ) -> None:
        """`merge` where a group may go to several slots, and a slot may be given several.

        Args:
            place: rows of `groups`.
            slots: where each goes.
            new: slots without anything in them yet.
            room: slots there are.
            groups: the batch's aggregates.
        """
        if not self._partials():
            self._room = max(room, self._room)
            return
        for turn in turns(slots):
            which = pl.Series(place[turn], dtype=pl.UInt32)
            self.merge(slots[turn], new, room, groups[which])
            new = new[:0]

    def absorb(self, slots: Int64s, others: Int64s) -> None:
        """Add to each slot what is in another one, which is not used any more."""
        for turn in turns(slots):
            for _, state in self._partials():
                state.merge(slots[turn], state.parts(others[turn]))

    def keep(self, slots: Int64s, groups: pl.DataFrame, rows: pl.DataFrame) -> None:
        """Keep the batch's rows, if any aggregation needs them (after `merge`)."""
        if self._raw:
            start = groups.get_column(START).to_numpy()
            windows = slots if self._arrival else start
            self.keep_in(np.arange(groups.height), slots, windows, groups, rows)

    def keep_in(
        self,
        place: Int64s,
        slots: Int64s,
        windows: Int64s,
        groups: pl.DataFrame,
        rows: pl.DataFrame,
    ) -> None:
        """The same where a group may go to several slots: a row is kept for each of them.

        Args:
            place: rows of `groups`, rising.
            slots: where each goes.
            windows: under which each is forgotten.
            groups: the batch's aggregates.
            rows: the batch's rows.
        """
        if not self._raw:
            return
        lists = groups.get_column(PLACE)
        group = np.empty(rows.height, np.int64)
        of_group = lists.list.len().to_numpy()
        group[lists.explode().to_numpy()] = np.repeat(np.arange(len(lists)), of_group)
        counts = np.bincount(place, minlength=len(lists))
        begin = np.cumsum(counts) - counts
        copies = counts[group]
        row = np.repeat(np.arange(rows.height), copies)
        at = begin[group[row]] + within(copies)
        if NUMBER in self._order:
            numbers = pl.Series(NUMBER, np.arange(rows.height) + self._arrived)
            rows = rows.hstack([numbers])
            self._arrived += rows.height
        kept = rows.select(*self._needed, *self._order)
        if len(row) != rows.height:
            kept = kept[pl.Series(row, dtype=pl.UInt32)]
        self._rows.add(kept.with_columns(pl.Series(SLOT, slots[at])), windows[at])

    def results(
        self,
        slots: Int64s,
        windows: Int64s,
        others: Int64s = NOBODY,
        places: Int64s = NOBODY,
    ) -> list[pl.Series]:
        """The finished aggregates of `slots`, in the order they were asked for.

        Args:
            slots: which.
            windows: under which their rows are kept.
            others: slots that some of them have absorbed.
            places: in `slots`, of those that did.
        """
        raw: dict[str, pl.Series] = {}
        if self._raw:
            place = np.full(self._room, -1, np.int64)
            place[slots], place[others] = np.arange(len(slots)), places
            raw = self._from_rows(len(slots), place, np.unique(windows).tolist())
        read = np.tile(slots, 2) if len(slots) == 1 else slots  # see `copies`
        found: list[pl.Series] = []
        for each, expr, states in zip(
            self._splits, self._aggs, self._states, strict=True
        ):
            name = expr.meta.output_name()
            if each is None:
                found.append(raw[name])
                continue
            pairs = zip(each.partials, states, strict=True)
            parts = pl.DataFrame([s.read(read).alias(p.name) for p, s in pairs])
            if name in self._plain:
                found.append(parts.to_series().alias(name).head(len(slots)))
                continue
            whole = parts.with_columns(each.final.alias(name)).get_column(name)
            found.append(whole.head(len(slots)))
        return found

    def forget(self, starts: Iterable[int]) -> None:
        """Let go of the rows of these windows. States are overwritten when slots are reused."""
        if self._raw:
            for start in starts:
                self._rows.drop(start)

    def shrink(self) -> None:
        """Let go of all states: no slot is in use."""
        self._states = [
            [state_of(partial) for partial in found.partials] if found else []
            for found in self._splits
        ]
        self._room = 0

    def _partials(self) -> list[tuple[Partial, State]]:
        return [
            (partial, state)
            for found, states in zip(self._splits, self._states, strict=True)
            if found
            for partial, state in zip(found.partials, states, strict=True)
        ]

    def _from_rows(
        self, count: int, place: Int64s, starts: Iterable[int]
    ) -> dict[str, pl.Series]:
        """The aggregates that need all rows, evaluated for `count` slots: by slot, their places.

        Order inside a window is event time, partition, arrival: rows of a slot lie in order of
        arrival, and the sort is stable.
        """
        rows = self._rows.of(starts)
        rows = self._blank if rows is None else rows
        places = pl.Series(SLOT, place[rows.get_column(SLOT).to_numpy()])
        rows = rows.with_columns(places).filter(pl.col(SLOT) >= 0)
        if 0 < rows.height < enough():  # a copy of a group is a group, and comes behind
            copy = pl.int_range(pl.len()) // rows.height * count
            rows = repeated(rows).with_columns(pl.col(SLOT) + copy)
        if self._order:
            rows = rows.sort(*self._order, maintain_order=True)
        found = rows.group_by(SLOT).agg(self._raw).sort(SLOT)
        names = [expr.meta.output_name() for expr in self._raw]
        return {name: found.get_column(name).head(count) for name in names}


def _columns_of(exprs: Iterable[pl.Expr], schema: pl.Schema) -> list[str]:
    """The columns that `exprs` read; all of them if a selector hides which."""
    named: set[str] = set()
    for expr in exprs:
        if expr.meta.has_multiple_outputs():
            return list(schema)
        named.update(expr.meta.root_names())
    return [name for name in schema if name in named]


def _is_plain(each: Split) -> bool:
    """Whether the result is the only partial itself: then no query need be run for it."""
    if len(each.partials) != 1:
        return False
    return each.final.meta.undo_aliases().meta.eq(pl.col(each.partials[0].name))


def turns(slots: Int64s) -> list[Int64s]:
    """Places, in as few parts as there can be so that no slot comes twice in one."""
    order = np.argsort(slots, kind="stable")
    _, counts = np.unique(slots, return_counts=True)
    if not len(counts):
        return []
    turn = within(counts)
    return [np.sort(order[turn == each]) for each in range(int(counts.max()))]
