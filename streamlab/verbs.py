"""FRAME: a live frame's verbs. Each makes a new frame on the same source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import polars as pl

from streamlab import asking
from streamlab.errors import LatenessNeededError, RevisingFrameError, UsageError
from streamlab.frame import Keep
from streamlab.keeping import parse_keep
from streamlab.members import Member
from streamlab.plans import nodes
from streamlab.plans.exprs import check_row_wise, parse, parse_predicates
from streamlab.plans.nodes import output_schema
from streamlab.reading import Reading
from streamlab.windows import WindowBuilder, window_spec


class Verbs(Reading):
    """Polars' verbs, on what arrives."""

    def _make(
        self,
        node: nodes.Node,
        *,
        keep: Keep | None = None,
        member: Member | None = None,
    ) -> Self:
        """A frame of the same source that hangs on this one."""
        return type(self)(
            self._feed, node, topic=self._topic, parent=self, keep=keep, member=member
        )

    def filter(self, *predicates: Any, **constraints: Any) -> Self:
        """Rows for which all predicates hold, as polars' `filter`."""
        found = parse_predicates(predicates, constraints)
        return self._row_wise("filter", found, nodes.Filter(self._node, found))

    def select(self, *exprs: Any, **named: Any) -> Self:
        """Only these columns, as polars' `select`; each row by itself."""
        found = parse(exprs, named)
        return self._row_wise("select", found, nodes.Select(self._node, found))

    def with_columns(self, *exprs: Any, **named: Any) -> Self:
        """These columns added, as polars' `with_columns`; each row by itself."""
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
        return self._make(self._node, keep=keep)

    def window(
        self,
        every: Any = None,
        *,
        by: str | Iterable[str] | None = None,
        on: str | None = None,
        offset: Any = None,
        time_zone: str = "UTC",
        lateness: Any = None,
        max_ahead: Any = "1h",
    ) -> WindowBuilder:
        """Tumbling windows `[start, start + every)` over event time; `.agg(…)` makes the frame.

        Args:
            every: length: "10s", "1d", a `timedelta`; an integer for an integer `on`.
            by: further columns to group by.
            on: column of event time, if it is not the source's.
            offset: moves the starts.
            time_zone: where windows of a day and longer begin.
            lateness: how far a row may trail the newest of its partition before its window
                closes; None never closes a window that is still kept.
            max_ahead: a row dated further ahead of its broker's timestamp is rejected.

        Raises:
            SpanError: a span can't be read.
            RevisingFrameError: this frame's own rows are revised.
        """
        self._refuse_revised("window")
        spec = window_spec(
            self,
            every=every,
            by=by,
            on=on,
            offset=offset,
            time_zone=time_zone,
            lateness=lateness,
            max_ahead=max_ahead,
        )
        return WindowBuilder(spec, self._aggregated)

    def _aggregated(self, window: nodes.Window) -> Self:
        frame = self._child(window)
        frame._member  # noqa: B018 - a window counts from now on, whoever looks
        return frame

    def recompute(self, fn: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Self:
        """Any lazy query over what this frame keeps, run anew as rows arrive.

        Args:
            fn: gets the kept rows as a `LazyFrame`, returns a `LazyFrame`. One run at a time,
                always on the newest version.
        """
        self._member  # noqa: B018 - it reads this frame's store
        frame = self._make(nodes.Recompute(self._node, fn))
        frame._member  # noqa: B018
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
        return self._satellite(nodes.Closed(window))

    @property
    def late(self) -> Self:
        """A row for each (record, window) that came after the window had closed."""
        window = nodes.window_of(self._node)
        if window is None:
            raise UsageError(
                f"{self.name} has no windows, so nothing is late: late rows are those of "
                'live.window("10s", lateness="5s").agg(…).late'
            )
        return self._satellite(nodes.Late(window))

    @property
    def errors(self) -> Self:
        """A row for each record that could not be decoded, with the reason."""
        member = self._feed.pipeline.errors
        return self._satellite(member.node, member)

    def _satellite(self, node: nodes.Node, member: Member | None = None) -> Self:
        """`closed`, `late`, `errors`: the same frame at every call, told by its node's kind."""
        kept: dict[tuple[type, int], Self] = self.source.__dict__.setdefault(
            "_satellites", {}
        )
        parent = getattr(node, "parent", None)
        name = (type(node), id(parent))
        if name not in kept:
            frame = self._make(node, member=member)
            frame._member  # noqa: B018 - it collects from now on
            kept[name] = frame
        return kept[name]

    def _window(self, what: str) -> nodes.Window:
        if not isinstance(self._node, nodes.Window):
            raise UsageError(
                f".{what} belongs to a window's frame: "
                'live.window("10s", lateness="5s").agg(…).' + what
            )
        return self._node

    def _row_wise(self, verb: str, exprs: Sequence[pl.Expr], node: nodes.Node) -> Self:
        for expr in exprs:
            check_row_wise(expr, verb=verb, schema=self.schema)
        return self._child(node)

    def _child(self, node: nodes.Node) -> Self:
        if isinstance(self._node, (nodes.Recompute, nodes.Errors)):
            raise UsageError(
                f"{nodes.label(node)} of a frame that is not made row by row: write it into "
                "the query, .recompute(lambda lf: lf…)."
            )
        known = self._feed.spec.source.schema
        if known is not None and not isinstance(self._node, (nodes.Late, nodes.Closed)):
            output_schema(node, known)  # a misspelt column is said now, not ticks later
        return self._make(node)

    def _refuse_revised(self, verb: str) -> None:
        if self.key:
            raise RevisingFrameError(
                f"{self.name} corrects its rows, and {verb} can't take that back: its rows are "
                "revised. Each window once, when it closes: .closed. Over what is kept, at "
                f"every tick: .recompute(lambda lf: lf.{verb}(…))."
            )
