"""FRAME: verbs over rows in the order of event time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import polars as pl

from streamlab.durations import fixed_span
from streamlab.errors import LatenessNeededError, UsageError
from streamlab.live import asking, sharing
from streamlab.live.grouping import Grouping
from streamlab.live.verbs import Verb
from streamlab.plans import nodes
from streamlab.plans.exprs import call_words, check_row_wise
from streamlab.plans.looking_back import check, looks_back


class Ordering(Grouping):
    """Rows put in order, and what is in order may look back."""

    def in_order(self, lateness: Any = None, *, max_ahead: Any = "1h") -> Self:
        """The same rows in the order of event time, partition, offset.

        A row waits until no earlier one is expected any more. Rows that come too late for
        that are in `.late`. What is in order may look back: `shift`, `diff`, `cum_sum`,
        `rolling_mean_by` and their like, `.over(…)` or over all.

        Args:
            lateness: how far a row may trail the newest of its partition: "2s", a `timedelta`.
            max_ahead: a row dated further ahead of its broker's timestamp is rejected.

        Raises:
            LatenessNeededError: no lateness was given; the message suggests the measured one.
            RevisingFrameError: this frame's own rows are revised.
            SpanError: a span can't be read.
        """
        self._refuse_revised("in_order")
        if lateness is None:
            raise LatenessNeededError(
                "in_order() needs to know how long to wait for earlier rows. "
                + asking.order_advice(self._feed)
            )
        sharing.refuse_stateful(self, "in_order")
        self._refuse_timeless()
        limit = fixed_span(lateness, "lateness")
        ahead = fixed_span(max_ahead, "max_ahead")
        frame = self._child(nodes.InOrder(self._node, limit, ahead))
        frame._begin()  # noqa: SLF001 - of the same class
        return frame

    def _row_wise(self, verb: Verb, exprs: Sequence[pl.Expr], node: nodes.Node) -> Self:
        """Steps that look at each row by itself, and over rows in order such as look back."""
        schema, keyed = self.schema, bool(self.key)
        ordered = nodes.is_ordered(self._node)
        looking = []
        for expr in exprs:
            if looks_back(expr):
                if isinstance(nodes.reviser_of(self._node), nodes.OuterJoin):
                    self._refuse_revised(verb)
                check(expr, verb=verb, schema=schema, ordered=ordered, keyed=keyed)
                looking.append(call_words(expr, verb))
            else:
                check_row_wise(expr, verb=verb, schema=schema)
        if not looking:
            return super()._row_wise(verb, exprs, node)
        sharing.refuse_looking_back(self, looking[0])
        frame = self._child(nodes.Running(self._node, tuple(exprs), verb))
        frame._begin()  # noqa: SLF001 - of the same class
        return frame

    def _refuse_timeless(self) -> None:
        """Windows over integers have no event time to be put in the order of."""
        for each in nodes.chain(self._node):
            if isinstance(each, nodes.Closed) and isinstance(each.parent.every, int):
                raise UsageError(
                    f"in_order: {self.name} comes from windows over {each.parent.on!r}, which "
                    "is no time. They close in their own order already."
                )
