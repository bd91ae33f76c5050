"""FRAME: verbs that bring two inputs together: joins with a table, joins and merges of frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

import polars as pl

from streamlab.durations import fixed_span
from streamlab.errors import (
    LatenessNeededError,
    RevisingFrameError,
    StreamStoppedError,
    UsageError,
)
from streamlab.frames.store import Keep
from streamlab.live import asking, sharing, tables
from streamlab.live.ordering import Ordering
from streamlab.plans import nodes
from streamlab.plans.nodes import is_ordered

Columns = str | Iterable[str] | None


class Combining(Ordering):
    """Joins and merges."""

    def join(
        self,
        other: Any,
        on: tables.On = None,
        how: str = "inner",
        *,
        left_on: tables.On = None,
        right_on: tables.On = None,
        suffix: str = "_right",
        validate: str = "m:m",
        nulls_equal: bool = False,
        coalesce: bool | None = None,
    ) -> Self:
        """Each row joined with a table that does not change, as polars' `join`.

        Args:
            other: a polars frame (a lazy one is collected once), a pandas frame, an Arrow table.
            on: key columns, or row-wise expressions, of both sides.
            how: "inner", "left", "semi", "anti" or "cross": rows keep their order; one that
                becomes several counts once. "right" or "full": rows of the table without a
                match are there from the beginning, behind all others, and each leaves when its
                first match comes: a frame whose rows are revised. It keeps 100,000 rows beside
                those of the table, and in a `Change` the column `__joined` names a row.
            left_on: keys of this frame.
            right_on: keys of the table.
            suffix: of table columns whose names this frame has too.
            validate: "m:1" refuses a table with several rows of a key.
            nulls_equal: whether null keys match.
            coalesce: as polars has it.

        Raises:
            NotIncrementalError: `validate` asks something of the whole stream.
            RevisingFrameError: "right" or "full", and this frame's own rows are revised.
            ModeError: "right" or "full", and this frame reads for a group.
            UsageError: `other` is a live frame; the message names the verbs for those.
        """
        table = tables.as_table(other)
        if table is None:
            raise UsageError(self._no_table(other))
        if on is not None:
            left_on = right_on = on
        node = tables.static_join(
            self,
            table,
            how=how,
            left_on=left_on,
            right_on=right_on,
            validate=validate,
            suffix=suffix,
            nulls_equal=nulls_equal,
            coalesce=coalesce,
        )
        return (
            self._outer(node)
            if isinstance(node, nodes.OuterJoin)
            else self._child(node)
        )

    def join_asof(
        self,
        other: Any,
        *,
        by: Columns = None,
        by_left: Columns = None,
        by_right: Columns = None,
        tolerance: Any = None,
        lateness: Any = None,
        strategy: Literal["backward", "forward", "nearest"] = "backward",
        suffix: str = "_right",
        on: str | None = None,
        left_on: str | None = None,
        right_on: str | None = None,
    ) -> Self:
        """Each row with the nearest row of another live frame, or of a table, by time.

        With a live frame both sides go by their event times, and are put in order first; a row
        leaves when neither side can bring an earlier one. All columns of the other side are
        there but its `by`; one whose name this frame has too (its event time, as a rule) has
        the suffix. Of several equally near rows the last by partition and offset is taken
        (with "forward" the first). `frame.other` is the other side, in order.

        With a table each row looks up by itself, and `on` names the columns, as in polars.

        Args:
            other: a live frame, of this source or of another; or a table.
            by: columns that must be equal.
            by_left: the same, as this frame calls them.
            by_right: as the other side calls them.
            tolerance: how far away a row may be; needed with a live frame.
            lateness: how long to wait for earlier rows of a side that is not in order.
            strategy: "backward", "forward" or "nearest".
            suffix: see above.
            on: column of time, with a table.
            left_on: the same, of this frame.
            right_on: the same, of the table.

        Raises:
            LatenessNeededError: a side is not in order, and no lateness was given.
            RevisingFrameError: a side's rows are revised.
            UsageError: no tolerance; keys that don't go together.
        """
        keys = _pairs("join_asof", by, by_left, by_right)
        if strategy not in {"backward", "forward", "nearest"}:
            raise UsageError(
                f"join_asof(…, strategy={strategy!r}): there are backward, forward, nearest."
            )
        table = tables.as_table(other)
        if table is not None:
            return self._child(
                tables.static_asof(
                    self,
                    table,
                    on=self._times(table, on or left_on, on or right_on),
                    by=keys,
                    tolerance=tolerance,
                    strategy=strategy,
                    suffix=suffix,
                )
            )
        if on or left_on or right_on:
            raise UsageError(
                "join_asof: two live frames are joined by their event times (sl.topic(…, "
                "time=…)); on= is for a table."
            )
        span = _tolerance("join_asof", tolerance)
        left, right = self._two("join_asof", other, lateness)
        return self._combined(
            nodes.Join(left, right.plan, "asof", keys, span, strategy, "left", suffix),
            right,
        )

    def join_within(
        self,
        other: Any,
        *,
        by: Columns = None,
        by_left: Columns = None,
        by_right: Columns = None,
        tolerance: Any = None,
        lateness: Any = None,
        how: Literal["inner", "left"] = "inner",
        suffix: str = "_right",
    ) -> Self:
        """Each row with every row of another live frame that is at most `tolerance` away.

        Both sides go by their event times and are put in order first. Rows come in this
        frame's order, those of one row in the other's. Columns and the other arguments are as
        in `join_asof`.

        Args:
            other: a live frame, of this source or of another.
            by: columns that must be equal.
            by_left: the same, as this frame calls them.
            by_right: as the other side calls them.
            tolerance: how far apart two rows may be, before or after; exactly that counts.
            lateness: how long to wait for earlier rows of a side that is not in order.
            how: "left" keeps rows that find nothing.
            suffix: of columns whose names this frame has too.

        Raises:
            LatenessNeededError: a side is not in order, and no lateness was given.
            RevisingFrameError: a side's rows are revised.
            UsageError: no tolerance; keys that don't go together.
        """
        keys = _pairs("join_within", by, by_left, by_right)
        if how not in {"inner", "left"}:
            raise UsageError(f"join_within(…, how={how!r}): there are inner, left.")
        span = _tolerance("join_within", tolerance)
        left, right = self._two("join_within", other, lateness)
        return self._combined(
            nodes.Join(left, right.plan, "within", keys, span, "", how, suffix), right
        )

    def merge_sorted(self, other: Any, *, lateness: Any = None) -> Self:
        """The rows of both frames as one, in the order of event time.

        A row leaves when the other side has come as far; of rows at one time this frame's come
        first. A side that is idle holds nothing back.

        Args:
            other: a live frame with the same columns, of this source or of another.
            lateness: how long to wait for earlier rows of a side that is not in order.

        Raises:
            LatenessNeededError: a side is not in order, and no lateness was given.
            RevisingFrameError: a side's rows are revised.
            UsageError: the columns are not the same.
        """
        left, right = self._two("merge_sorted", other, lateness)
        return self._combined(nodes.Merge(left, right.plan), right)

    @property
    def other(self) -> Self:
        """The second side of a join or a merge, in order: its `.late`, its `.stats`.

        Raises:
            UsageError: it is no join of two live frames.
        """
        if self._other is None:
            raise UsageError(
                f"{self.name} is no join of two live frames: .other is the second side of one."
            )
        return self._other

    def _outer(self, node: nodes.OuterJoin) -> Self:
        sharing.refuse_outer(self, node.how)
        self._refuse_computed(node)
        self._check_known(node)
        # What the parent keeps is no measure of how many rows the table has.
        frame = self._make(node, keep=Keep())
        frame._begin()  # noqa: SLF001 - of the same class
        return frame

    def _combined(self, node: nodes.Join | nodes.Merge, right: Self) -> Self:
        self._refuse_computed(node)
        if nodes.is_known(node) and self._feed.spec.source.schema is not None:
            nodes.output_schema(node, self._feed.spec.source.schema)
        frame = self._make(node)
        frame._other = right  # noqa: SLF001 - of the same class
        if right.part and right._feed is self._feed:
            frame._parts[type(node)] = right  # noqa: SLF001 - it goes with the joined frame
        right._begin()
        frame._begin()  # noqa: SLF001
        return frame

    def _two(self, verb: str, other: Any, lateness: Any) -> tuple[nodes.Node, Self]:
        """This side's plan and the other side's frame, both in order.

        Raises:
            UsageError: see the verbs.
        """
        if not isinstance(other, Combining):
            raise UsageError(
                f"{verb} takes a live frame, or use join(table, …): this is a "
                f"{type(other).__name__}."
            )
        self._check_side(verb, lateness)
        other._check_side(verb, lateness)  # noqa: SLF001 - of the same class
        left = self._node
        if not is_ordered(left):
            left = _in_order(left, lateness)
        right: Any = other
        apart = right._feed is not self._feed  # noqa: SLF001 - of the same class
        if not is_ordered(other.plan):
            right = right._make(_in_order(other.plan, lateness), part=True)
        elif apart:
            # A step of its own, for which its rows can be asked for once more.
            right = right._make(nodes.Drop(other.plan, ()), part=True)
        return left, right

    def _check_side(self, verb: str, lateness: Any) -> None:
        if self.key:
            raise RevisingFrameError(
                f"{self.name} corrects its rows, and {verb} can't take that back. "
                f"{asking.once(self)}".rstrip()
            )
        sharing.refuse_joining(self, verb)
        if self._feed.over == "stopped" or self._stopped:
            raise StreamStoppedError(
                f"{verb}: {self.name} was stopped. The rows there are can be joined with "
                "polars: frame.df."
            )
        if lateness is None and not is_ordered(self._node):
            call = f'{verb}(…, lateness="{{}}")'
            raise LatenessNeededError(
                f"{verb} needs to know how long to wait for earlier rows of {self.name}. "
                + asking.advice(self._feed, call)
            )

    def _times(
        self, table: pl.DataFrame, ours: str | None, theirs: str | None
    ) -> tuple[str, str]:
        """The columns of time of a join with a table."""
        left = ours or self.time_column
        right = theirs or left
        if left is None or right is None:
            raise UsageError(
                'join_asof with a table on which column of time? Write on="time".'
            )
        if right not in table.columns and theirs is None:
            raise UsageError(
                f"join_asof: the table has no column {right!r}, which {self.name} goes by. "
                f"Its own: right_on=… ({', '.join(table.columns)})."
            )
        return left, right

    def _no_table(self, other: Any) -> str:
        if not isinstance(other, Combining):
            return (
                "join takes a polars frame, a pandas frame or an Arrow table, not a "
                f"{type(other).__name__}."
            )
        return (
            f"join(…) takes a table, and {other.name} is live: a row that comes tomorrow would "
            "have to wait for ever. By time: the nearest row, "
            'join_asof(…, by=…, tolerance="1s", lateness="2s"); all rows near it, '
            'join_within(…); both as one, merge_sorted(…, lateness="2s"). With the rows '
            "of now: join(other.df, …)."
        )


def _in_order(node: nodes.Node, lateness: Any) -> nodes.InOrder:
    ahead = fixed_span("1h", "max_ahead")
    return nodes.InOrder(node, fixed_span(lateness, "lateness"), ahead)


def _tolerance(verb: str, value: Any) -> Any:
    if value is None:
        raise UsageError(
            f"{verb} needs to know how far apart two rows may be, or it would keep all of them: "
            f'{verb}(…, tolerance="1s").'
        )
    return fixed_span(value, "tolerance")


def _pairs(
    verb: str, by: Columns, by_left: Columns, by_right: Columns
) -> tuple[tuple[str, str], ...]:
    if by is not None and (by_left is not None or by_right is not None):
        raise UsageError(f"{verb}: by=, or by_left= and by_right=, but not both.")
    left, right = (
        _names(by if by is not None else each) for each in (by_left, by_right)
    )
    if len(left) != len(right):
        raise UsageError(
            f"{verb}: by_left= and by_right= name as many columns each, one to one."
        )
    return tuple(zip(left, right, strict=True))


def _names(columns: Columns) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns or ())
