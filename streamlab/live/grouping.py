"""FRAME: verbs that keep something per key: running groups, the first row of each key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Self, TypeVar

import polars as pl

from streamlab.durations import Span, fixed_span
from streamlab.errors import ColumnNotFoundError, SpanError, UsageError
from streamlab.frames.store import Keep
from streamlab.live import asking, sharing
from streamlab.live.verbs import Verbs
from streamlab.plans import nodes
from streamlab.plans.exprs import check_aggregation, parse
from streamlab.plans.tombstones import key_is_lost
from streamlab.records import KEY

F = TypeVar("F")


class Grouping(Verbs):
    """Running aggregates, and rows that come once."""

    def group_by(
        self, *by: str | pl.Expr | Iterable[str], ttl: Any = None, **named: Any
    ) -> GroupBuilder[Self]:
        """Running groups: all rows since the frame began, by key; `.agg(…)` makes the frame.

        Rows count in the order in which they came. `.last()` is the compacted view: the newest
        row of each key; of `group_by("_key").last()` a tombstone (a record with a key and no
        value) deletes the row.

        The frame keeps 100,000 keys; beyond that those leave that have not changed for longest
        (`stats.operator.evicted`), and begin anew with their next row.

        Args:
            by: key columns, by name or as `pl.col(…)`.
            ttl: a key leaves when event time has gone on for so long since its newest row
                ("1h"); rows that come later than that are `expired`. None keeps it for good.
            named: not taken; a key that must be worked out is a column first.

        Raises:
            UsageError: no key, or not a column.
            RevisingFrameError: this frame's own rows are revised.
            ModeError: a group commits for this source.
        """
        self._refuse_revised("group_by")
        sharing.refuse_forever(self, "group_by", "a running group")
        keys = _key_names(by, named)
        _check_columns(self, keys)
        group = nodes.GroupBy(self._node, keys, (), _time_to_live(ttl))
        return GroupBuilder(group, self._grouped)

    def unique(
        self,
        subset: str | Iterable[str] | None = None,
        *,
        keep: str = "first",
        within: Any = None,
    ) -> Self:
        """The first row of each key, in the order in which rows come.

        Without `within` all keys there have been are remembered for good, inside the byte
        budget. With it a row passes unless one of its key has passed less than `within` away in
        event time; rows more than that behind the watermark are `expired`.

        Args:
            subset: key columns; all columns by default.
            keep: "first", as polars' `unique` has it ("any" is the first, too).
            within: rows of a key less than this apart in event time are the same ("10m").

        Raises:
            UsageError: `keep` wants rows that a stream can't tell yet.
            RevisingFrameError: this frame's own rows are revised.
            ModeError: a group commits for this source, and `within` is not given.
        """
        self._refuse_revised("unique")
        keys = asking.names(() if subset is None else (subset,))
        _refuse_keep(keep, keys)
        span = None if within is None else fixed_span(within, "within")
        if span == Span(0, 0):
            raise SpanError(
                f"within={within!r}: no two rows are that close. Write a span, or leave it out: "
                "then the first row of each key passes, for good."
            )
        if span is None:
            sharing.refuse_forever(self, "unique", "unique() without within=")
        else:
            sharing.refuse_stateful(self, "unique")
        _check_columns(self, keys)
        return self._kept_from_now(nodes.Unique(self._node, keys, span))

    def _grouped(self, group: nodes.GroupBy) -> Self:
        if group.compacted and KEY in group.by:
            lost = key_is_lost(group)
            if lost:
                raise UsageError(
                    f'group_by("{KEY}").last(): {lost}, so a tombstone would not find its row. '
                    f"Group first: {self.source.name}.group_by({KEY!r}).last(), then the other "
                    "steps; or take columns one by one, without tombstones: "
                    f'.group_by({KEY!r}).agg(pl.col("…").last()).'
                )
        # What the parent keeps is no measure of how many keys there are.
        self._refuse_computed(group)
        self._check_known(group)
        frame = self._make(group, keep=Keep())
        frame._begin()  # noqa: SLF001 - of the same class
        return frame

    def _kept_from_now(self, node: nodes.Node) -> Self:
        frame = self._child(node)
        frame._begin()  # noqa: SLF001 - of the same class
        return frame


class GroupBuilder(Generic[F]):
    """A running group that waits for its aggregates."""

    def __init__(
        self, group: nodes.GroupBy, make: Callable[[nodes.GroupBy], F]
    ) -> None:
        """`make` turns the finished group into a frame."""
        self._group = group
        self._make = make

    def agg(self, *aggs: Any, **named: Any) -> F:
        """One row per key, with these aggregates of all its rows so far.

        Args:
            aggs: any polars aggregations: `pl.len()`, `pl.col("price").mean()`.
            named: the same, by the name of the column they make.

        Returns:
            A keyed frame: the `by` columns, the aggregates. `first` and `last` follow the order
            in which rows came.
        """
        exprs = parse(aggs, named)
        if not exprs:
            raise UsageError(f"{self!r}")
        for expr in exprs:
            name = expr.meta.output_name(raise_if_undetermined=False)
            if name is None:
                raise UsageError(
                    f"agg({expr}): several columns at once. Write them out: "
                    'agg(pl.col("price").mean(), pl.col("size").mean()). The newest row of '
                    "each key, whole: .last()."
                )
            check_aggregation(expr, name=name)
        return self._made(exprs, compacted=False)

    def last(self) -> F:
        """The compacted view: the newest row of each key, whole.

        Of `group_by("_key").last()` a tombstone deletes the row of its key. It stays one of the
        source's `.errors`, whose records without a value can't become rows for anybody else;
        the view counts it as `stats.operator.tombstones`, and not as rejected in its status.
        """
        return self._made((pl.all().last(),), compacted=True)

    def _made(self, aggs: tuple[pl.Expr, ...], *, compacted: bool) -> F:
        g = self._group
        return self._make(nodes.GroupBy(g.parent, g.by, aggs, g.ttl, compacted))

    def __repr__(self) -> str:
        return (
            f"a {nodes.label(self._group)} without aggregates; add .agg(n=pl.len()), or .last() "
            "for the newest row of each key"
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self!r}")


def _key_names(by: Iterable[Any], named: dict[str, Any]) -> tuple[str, ...]:
    """The names of key columns, however they were given."""
    if named:
        name = next(iter(named))
        raise UsageError(
            f"group_by({name}=…): keys are columns here. Make it one first: "
            f'with_columns({name}=…).group_by("{name}").'
        )
    found: list[str] = []
    for each in by:
        several = [each] if isinstance(each, str | pl.Expr) else each
        found += [one if isinstance(one, str) else _column(one) for one in several]
    if not found:
        raise UsageError(
            'group_by() of what? Name a key column: group_by("symbol"). Over all rows of a '
            'time: window("10s"). Over all that is kept, every tick: '
            ".recompute(lambda lf: lf.select(…))."
        )
    return tuple(dict.fromkeys(found))


def _column(key: Any) -> str:
    if isinstance(key, pl.Expr) and key.meta.is_column():
        return key.meta.output_name()
    raise UsageError(
        f"group_by({key}): keys are columns here. Make it one first: "
        'with_columns(key=…).group_by("key").'
    )


def _check_columns(frame: Any, names: Iterable[str]) -> None:
    columns = frame.schema
    for name in names:
        if columns is not None and name not in columns:
            if name == KEY:
                raise ColumnNotFoundError(
                    f"no column {KEY!r} in {nodes.where(frame.plan)}: the records' keys are "
                    f'there with sl.topic(…, meta=["{KEY}"]).'
                )
            raise ColumnNotFoundError.among(name, nodes.where(frame.plan), columns)


def _time_to_live(ttl: Any) -> Span | None:
    if ttl is None:
        return None
    found = fixed_span(ttl, "ttl")
    if found == Span(0, 0):
        raise SpanError(
            f'ttl={ttl!r}: a key would be gone as soon as it comes. Write a span: "1h".'
        )
    return found


def _refuse_keep(keep: str, keys: tuple[str, ...]) -> None:
    if keep in ("first", "any"):
        return
    by = ", ".join(map(repr, keys)) or '"key"'
    every = ", ".join(map(repr, keys))
    ways = {
        "last": f"The newest row of each key, revised as rows come: group_by({by}).last().",
        "none": "Over what is kept, every tick: "
        f'.recompute(lambda lf: lf.unique({every}{", " if every else ""}keep="none")).',
    }
    if keep not in ways:
        raise UsageError(f'unique(keep={keep!r}): there is "first".')
    raise UsageError(
        f"unique(keep={keep!r}): another row of the key may still come, so only the first is "
        f"known at once. {ways[keep]}"
    )
