"""FRAME: what can be read of a live frame, by people and by views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Self

import pandas as pd
import polars as pl
import pyarrow as pa

from streamlab.changes import Change
from streamlab.frames.feed import Feed
from streamlab.frames.members import Member
from streamlab.frames.store import Keep
from streamlab.live import asking
from streamlab.live.cells import CELLS, Replaceable
from streamlab.live.stats import Stats
from streamlab.observed import Failure, Snapshot, Status
from streamlab.plans import nodes
from streamlab.plans.nodes import output_schema
from streamlab.runtime.kernel import variable_name
from streamlab.views.altair_data import AltairData


class Reading(AltairData):
    """The part of a live frame that only looks.

    A live frame is a plan (`_node`), a place in a running source (`_feed`), and, once somebody
    reads it, a store (`_member`).
    """

    def __init__(
        self,
        feed: Feed,
        node: nodes.Node,
        *,
        topic: Any,
        parent: Self | None = None,
        keep: Keep | None = None,
        member: Member | None = None,
        part: bool = False,
    ) -> None:
        """Not called by users: see `Topic.live`.

        Args:
            feed: the source that runs.
            node: what the frame is.
            topic: what it is read from.
            parent: the frame it hangs on; None for a source.
            keep: what it retains; None as its parent.
            member: its store, if there is one already.
            part: whether it lives and goes with its parent (`closed`, `late`, `errors`).
        """
        self._feed = feed
        self._node = node
        self._topic = topic
        self._parent = parent
        self._keep = keep if keep is not None else self._parents_keep(parent)
        self._made = member
        self.part = part
        self._stopped = False
        self._other: Self | None = None
        self._parts: dict[type, Self] = {}
        self.entry = CELLS.unlisted(self) if part else CELLS.made(self)

    @staticmethod
    def _parents_keep(parent: Reading | None) -> Keep:
        """A row-wise child keeps what its parent keeps, but for the shared bytes."""
        if parent is None or parent.key:
            return Keep()
        return Keep(rows=parent._keep.rows, age=parent._keep.age)  # noqa: SLF001

    # -- what it holds -----------------------------------------------------------------

    @property
    def _member(self) -> Member:
        """Its store, made when somebody first reads, shows or waits for it."""
        if self._made is None:
            read = None
            if isinstance(self._node, nodes.Recompute) and self._parent is not None:
                read = self._parent._member  # noqa: SLF001 - of the same class
            self._made = self._feed.add(self._node, self._keep, read)
            for node, other in asking.joined(self):
                member, source = other._member, other._feed  # noqa: SLF001
                self._feed.crossing.join(node, member, source.crossing)
            if self._stopped:  # never read before: its rows as of now, and no more
                self._feed.remove(self._made)
        return self._made

    def _begin(self) -> None:
        """Collect from now on, whoever looks when."""
        self._member  # noqa: B018 - the first look makes it

    @property
    def df(self) -> pl.DataFrame:
        """All rows of this moment: immutable, at once."""
        return self.snapshot().df

    def lazy(self) -> pl.LazyFrame:
        """`df`, lazily."""
        return self.df.lazy()

    def to_pandas(self) -> pd.DataFrame:
        """`df` as a pandas frame."""
        return self.df.to_pandas()

    def to_arrow(self) -> pa.Table:
        """`df` as an Arrow table."""
        return self.df.to_arrow()

    def head(self, n: int = 5) -> pl.DataFrame:
        """The oldest `n` rows of this moment."""
        return self.df.head(n)

    def tail(self, n: int = 5) -> pl.DataFrame:
        """The newest `n` rows of this moment."""
        return self.df.tail(n)

    def __len__(self) -> int:
        member = self._member
        return self._feed.published.held.get(member, member.held).height

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, column: str) -> pl.Series:
        return self.df[column]

    @property
    def schema(self) -> pl.Schema | None:
        """Column → type; None before the first record told it."""
        return self._promised() or (self.df.schema or None)

    @property
    def columns(self) -> list[str]:
        """Names of the columns; [] before the first record told them."""
        return list(self.schema or ())

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that name a row whose other values may be revised; () if none are."""
        return nodes.is_keyed(self._node)

    @property
    def plan(self) -> nodes.Node:
        """What it is, as a value."""
        return self._node

    @property
    def source(self) -> Self:
        """The frame of the source itself."""
        frame = self
        while frame._parent is not None:
            frame = frame._parent
        return frame

    @property
    def began(self) -> datetime | None:
        """Event time of its first row; None if it has everything since the first record."""
        return self._member.began

    @property
    def version(self) -> int:
        """Rises with every change of this frame."""
        member = self._member
        return self._feed.published.held.get(member, member.held).version

    @property
    def watermark(self) -> datetime | None:
        """No row older than this is expected any more (before any lateness)."""
        return self._member.watermark or self._feed.pipeline.root.watermark

    @property
    def error(self) -> BaseException | None:
        """Why it failed, or None."""
        return self._member.error or self._feed.error

    @property
    def stats(self) -> Stats:
        """Its accounts: what became of every record."""
        return asking.stats(self._feed, self._member)

    def explain(self) -> str:
        """How it is worked out: its steps, what each keeps, and how much that is now."""
        from streamlab.live.explaining import explain

        held = {} if self._made is None else self.stats.operator.state
        return explain(self._node, self._feed.spec.source.schema, held)

    def lateness(self) -> pl.DataFrame:
        """How late rows are: a row per partition, and one for all.

        `p50`, `p99`, `max`: how far rows trail the newest one of their partition that came
        before them. That is what `lateness=` means, in windows and in `in_order`: take at least
        the `max` to lose none of these rows, the `p99` to lose one in a hundred.
        `delay_…`: from event time to the broker's timestamp, whatever the order.

        Measured over the rows that the source keeps now (`keep=`), in the order in which they
        came; of a frame made by `filter` and its like over those that are in it.
        """
        from streamlab.live.lateness import lateness

        return lateness(self)

    # -- what views ask ------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The variable it is bound to, else the topic's name."""
        return variable_name(self) or self._feed.spec.name

    @property
    def steps(self) -> str:
        """Its plan in a few words."""
        return nodes.steps(self._node)

    @property
    def time_column(self) -> str | None:
        """The shown column that event time is in."""
        return asking.time_column(self._node, self.columns)

    def snapshot(self) -> Snapshot:
        """All rows at one version."""
        member = self._member
        held = self._feed.published.held.get(member, member.held)
        frame = held.frame()
        if not frame.columns:  # nothing has come yet: at least say what will
            return Snapshot(pl.DataFrame(schema=self._promised() or {}), held.version)
        return Snapshot(member.display(frame), held.version)

    def _promised(self) -> pl.Schema | None:
        """The columns that the plan will have, if the source's are known."""
        known = self._feed.spec.source.schema
        made = (nodes.Recompute, nodes.Late, nodes.Errors)
        if known is None or isinstance(self._node, made):
            return None
        if not nodes.is_known(self._node):
            return None
        return output_schema(self._node, known)

    def status(self) -> Status:
        """Its state in numbers."""
        return asking.status(self._feed, self._member, asking.stale(self))

    def failure(self) -> Failure | None:
        """Why it failed, for the display."""
        return self._member.failure or self._feed.failure

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` with every change; see `Observed`."""
        return self._member.listen(listener)

    def stop_source(self) -> None:
        """Stop the whole source; returns at once."""
        self._feed.stop(wait=False)

    def siblings(self) -> int:
        """How many frames hang on the source."""
        return len(self._feed.pipeline.members) - 1  # `errors` is always there

    # -- its end ---------------------------------------------------------------------------

    def needs(self) -> Sequence[Replaceable]:
        sides = (self._parent, self._other)
        return [side for side in sides if side is not None]

    def retire(self) -> None:
        if self._parent is None:
            self._feed.stop(wait=False)
        else:
            self._leave()

    def _leave(self) -> None:
        for part in self._parts.values():
            part._leave()  # noqa: SLF001 - of the same class
        self._parts.clear()
        if self._stopped or self._made is self._feed.pipeline.errors:
            return
        self._stopped = True
        if self._made is None:
            return
        self._feed.remove(self._made)
        for node, other in asking.joined(self):
            if other.part and not self._feed.crossing.has(node):
                other._leave()  # noqa: SLF001 - of the same class
