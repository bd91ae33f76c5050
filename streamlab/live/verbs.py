"""FRAME: a live frame's verbs. Each makes a new frame on the same source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import polars as pl

from streamlab.errors import LatenessNeededError, RevisingFrameError, UsageError
from streamlab.frames.keeping import parse_keep
from streamlab.frames.members import Member
from streamlab.frames.store import Keep
from streamlab.live import asking, sharing
from streamlab.live.reading import Reading
from streamlab.live.windows import WindowBuilder, window_spec
from streamlab.plans import nodes
from streamlab.plans.exprs import check_row_wise, check_select, parse, parse_predicates
from streamlab.plans.nodes import output_schema

Verb = Literal["with_columns", "select", "filter"]


class Verbs(Reading):
    """Polars' verbs, on what arrives."""

    def _make(
        self,
        node: nodes.Node,
        *,
        keep: Keep | None = None,
        member: Member | None = None,
        part: bool = False,
    ) -> Self:
        """A frame of the same source that hangs on this one."""
        return type(self)(
            self._feed,
            node,
            topic=self._topic,
            parent=self,
            keep=keep,
            member=member,
            part=part,
        )

    def filter(self, *predicates: Any, **constraints: Any) -> Self:
        """Rows for which all predicates hold, as polars' `filter`; over rows in order they may
        look back.
        """
        found = parse_predicates(predicates, constraints)
        return self._row_wise("filter", found, nodes.Filter(self._node, found))

    def select(self, *exprs: Any, **named: Any) -> Self:
        """Only these columns, as polars' `select`; each row by itself, or looking back over
        rows in order.
        """
        found = parse(exprs, named)
        return self._row_wise("select", found, nodes.Select(self._node, found))

    def with_columns(self, *exprs: Any, **named: Any) -> Self:
        """These columns added, as polars' `with_columns`; each row by itself, or looking back
        (`shift`, `cum_sum`, `rolling_mean`) over rows in order: of `in_order`, joins, `.closed`.
        """
        found = parse(exprs, named)
        return self._row_wise(
            "with_columns", found, nodes.WithColumns(self._node, found)
        )

    def drop(self, *columns: str | Iterable[str]) -> Self:
        """All columns but these."""
        return self._child(nodes.Drop(self._node, asking.names(columns)))

    def rename(self, mapping: Mapping[str, str]) -> Self:
        """Columns under other names, old → new."""
        return self._child(nodes.Rename(self._node, dict(mapping)))

    def explode(self, *columns: str | Iterable[str]) -> Self:
        """One row per element of these list columns."""
        self._refuse_revised("explode")
        return self._child(nodes.Explode(self._node, asking.names(columns)))

    def unnest(self, *columns: str | Iterable[str]) -> Self:
        """The fields of these struct columns as columns."""
        return self._child(nodes.Unnest(self._node, asking.names(columns)))

    def keep(self, *limits: Any) -> Self:
        """The same rows, retained differently: `keep("5m")`, `keep(10_000)`."""
        keep = parse_keep(limits)
        reviser = nodes.reviser_of(self._node)
        if keep.age is not None and isinstance(
            reviser, nodes.GroupBy | nodes.OuterJoin
        ):
            way = f'Keys leave after a time with group_by(…, ttl="{keep.age.text}").'
            if isinstance(reviser, nodes.OuterJoin):
                way = "By number: keep(100_000), beginning with the oldest records'."
            raise UsageError(
                f"keep({limits[0]!r}): the rows of {self.name} have no event time. {way}"
            )
        return self._make(self._node, keep=keep)

    def window(
        self,
        every: Any = None,
        *,
        gap: Any = None,
        by: str | Iterable[str] | None = None,
        on: str | None = None,
        period: Any = None,
        offset: Any = None,
        time_zone: str = "UTC",
        lateness: Any = None,
        max_ahead: Any = "1h",
    ) -> WindowBuilder[Self]:
        """Windows over event time; `.agg(…)` makes the frame.

        Tumbling ones `[start, start + every)`: `window("10s")`. Hopping ones
        `[start, start + period)`, begun at every `every`: `window("10s", period="1m")`; a record
        belongs to all that hold it. Sessions, which last as long as rows of a key are less than
        `gap` apart: `window(gap="30s", by="user")`.

        Args:
            every: from one start to the next: "10s", "1d", "1mo", a `timedelta`; an integer for
                an integer `on`.
            gap: of sessions: a row so long after the last one, or longer, begins a new session.
                A session's `window_end` is its last row's time and the gap.
            by: further columns to group by.
            on: column of event time, if it is not the source's.
            period: a window's length, if it is not `every`.
            offset: moves the starts.
            time_zone: where windows of a day and longer begin, and days and months are counted.
            lateness: how far a row may trail the newest of its partition before its window
                closes; None never closes a window that is still kept.
            max_ahead: a row dated further ahead of its broker's timestamp is rejected.

        Raises:
            SpanError: a span can't be read.
            UsageError: arguments of two kinds of windows, or far too many windows a record.
            RevisingFrameError: this frame's own rows are revised.
        """
        self._refuse_revised("window")
        sharing.refuse_window(self, lateness=lateness)
        spec = window_spec(
            self,
            every=every,
            gap=gap,
            by=by,
            on=on,
            period=period,
            offset=offset,
            time_zone=time_zone,
            lateness=lateness,
            max_ahead=max_ahead,
        )
        return WindowBuilder(spec, self._aggregated)

    def _aggregated(self, window: nodes.Window) -> Self:
        frame = self._child(window)
        frame._begin()  # noqa: SLF001 - of the same class
        return frame

    def recompute(self, fn: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Self:
        """Any lazy query over what this frame keeps, run anew as rows arrive.

        Args:
            fn: gets the kept rows as a `LazyFrame`, returns a `LazyFrame`. One run at a time,
                always on the newest version.
        """
        node = nodes.Recompute(self._node, fn)
        self._refuse_computed(node)
        frame = self._make(node)
        frame._begin()  # noqa: SLF001 - of the same class
        return frame

    @property
    def closed(self) -> Self:
        """Each window once, when the watermark has passed its end; rows never change."""
        window = self._window("closed")
        if window.lateness is None and self._feed.spec.stop is None:
            raise LatenessNeededError(
                f".closed needs to know when a window is over. "
                f"{asking.lateness_advice(self._feed, window)}"
            )
        return self._part(nodes.Closed(window))

    @property
    def late(self) -> Self:
        """A row for each record that came too late: for its window, or to be put in order."""
        step = asking.judging(self._node)
        if step is None:
            raise UsageError(
                f"{self.name} has no windows, so nothing is late: late rows are those of "
                'live.window("10s", lateness="5s").agg(…).late or live.in_order("2s").late'
            )
        frames: list[Self] = [self, *asking.ancestors(self)]
        # A step that a join put in has no frame of its own.
        above = next((frame for frame in frames if frame.plan is step), self)
        return above._part(nodes.Late(step))  # noqa: SLF001 - of the same class

    @property
    def errors(self) -> Self:
        """A row for each record that could not be decoded, with the reason."""
        member = self._feed.pipeline.errors
        return self.source._part(member.node, member)  # noqa: SLF001 - of the same class

    def _part(self, node: nodes.Node, member: Member | None = None) -> Self:
        """`closed`, `late`, `errors`: the same frame at every call, a part of this one."""
        kind = type(node)
        if kind not in self._parts:
            frame = self._make(node, keep=Keep(), member=member, part=True)
            frame._begin()  # noqa: SLF001 - of the same class
            self._parts[kind] = frame
        return self._parts[kind]

    def _window(self, what: str) -> nodes.Window:
        if not isinstance(self._node, nodes.Window):
            raise UsageError(
                f".{what} belongs to a window's frame: "
                'live.window("10s", lateness="5s").agg(…).' + what
            )
        return self._node

    def _row_wise(self, verb: Verb, exprs: Sequence[pl.Expr], node: nodes.Node) -> Self:
        for expr in exprs:
            check_row_wise(expr, verb=verb, schema=self.schema)
        if isinstance(node, nodes.Select):
            check_select(exprs, self.schema)
        return self._child(node)

    def _child(self, node: nodes.Node) -> Self:
        self._refuse_computed(node)
        self._check_known(node)
        return self._make(node)

    def _check_known(self, node: nodes.Node) -> None:
        """A misspelt column is said now, not ticks later."""
        known = self._feed.spec.source.schema
        known = known if nodes.is_known(node) else None
        if known is not None and not isinstance(self._node, (nodes.Late, nodes.Closed)):
            output_schema(node, known)

    def _refuse_computed(self, node: nodes.Node) -> None:
        errors = isinstance(self._node, nodes.Errors)
        if errors and isinstance(node, nodes.Recompute):
            return
        if errors or isinstance(self._node, nodes.Recompute):
            way = "recompute(lambda lf: lf…)" if errors else "the query"
            raise UsageError(
                f"{nodes.label(node)}: {self.name} is not made row by row. Write the step into "
                f"{way}, which runs over all of it."
            )

    def _refuse_revised(self, verb: str) -> None:
        if self.key:
            words = "group_by_dynamic" if verb == "window" else verb
            raise RevisingFrameError(
                f"{self.name} corrects its rows, and {verb} can't take that back. "
                f"{asking.once(self)}Over what is kept, at every tick: "
                f".recompute(lambda lf: lf.{words}(…))."
            )
