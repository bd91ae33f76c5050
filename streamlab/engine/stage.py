"""What an operator of the graph is made of: its state, what goes in, what comes out.

There are two kinds. An *aggregating* stage (windows, running groups) first judges its rows, then has
polars aggregate them, together with all others of the batch in one `collect_all`, then merges the
result. A *direct* one does everything itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

import polars as pl

from streamlab.engine.faults import PlanError
from streamlab.engine.needs import Bounds, Needed, Past
from streamlab.engine.outcome import Batch, Counts
from streamlab.engine.rowwise import ROW, Result, without
from streamlab.engine.watermark import NONE
from streamlab.plans.nodes import Node


class Input(NamedTuple):
    """One side's part of a micro-batch.

    Attributes:
        origin: the batch that the row-wise steps before the stage ran on.
        result: what came out of those steps.
    """

    origin: Batch
    result: Result

    def fault(self, problem: BaseException, node: Node, place: int) -> PlanError:
        """The error of a step that fails on the row at `place` of the result."""
        row = int(self.result.rows.get_column(ROW)[place])
        record = without(self.origin.rows.slice(row, 1), (ROW,))
        return PlanError(problem, node, record, row)


class Effect(NamedTuple):
    """What a batch did.

    Attributes:
        rows: an append frame's new rows, with hidden columns; a keyed one's new and changed ones.
        counts: of the records.
        removed: keyed: rows (the key columns at least) that are gone; None for none.
        closed: rows of windows that closed, sorted, with hidden columns.
        late, rejected: rows that came too late, or have no usable time; with hidden columns.
        evicted: rows of open windows, or keys, given up.
        tombstones: records without a value that were taken as "this key is gone".
        error: why the step stops, or None. All else is of the rows before the one at fault.
    """

    rows: pl.DataFrame
    counts: Counts = Counts()
    removed: pl.DataFrame | None = None
    closed: pl.DataFrame | None = None
    late: pl.DataFrame | None = None
    rejected: pl.DataFrame | None = None
    evicted: int = 0
    tombstones: int = 0
    error: PlanError | None = None


class Setting(NamedTuple):
    """What a stage is told when it is made.

    Attributes:
        began: event time the frame begins at; None from the first record there ever was.
        max_open: rows of open windows, or keys, it keeps at most.
        committing: keep account of the oldest record that is still needed.
        past: the reading that this one goes on with.
    """

    began: datetime | None
    max_open: int
    committing: bool = False
    past: Past | None = None


class Stage(Protocol):
    """State of one operator. Owned by one worker thread."""

    @property
    def needs(self) -> Needed | None:
        """The oldest records it still needs; None if nobody commits, or it never needs any."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes of state held."""
        ...

    @property
    def watermark(self) -> datetime | None:
        """How far event time has certainly come, lateness taken off; None before there is any."""
        ...

    @property
    def frontier(self) -> int | None:
        """Rows put out come in event-time order, and none earlier than this (µs) will follow;
        None if they come in any order.
        """
        ...

    @property
    def bounds(self) -> Bounds:
        """Between which windows it stands, for a commit."""
        ...

    def known(self, kind: str) -> pl.DataFrame | None:
        """What a frame that is made only now begins with ("rows", "closed", "late"); None if
        that is what the frame of the same plan keeps.
        """
        ...

    def is_open(self, start: int) -> bool:
        """Whether rows of a key whose first column is `start` may still change."""
        ...


class Aggregating(Stage, Protocol):
    """A stage that has polars aggregate; nothing changes before `commit`."""

    def judge(self, origin: Batch, result: Result) -> Any:
        """Every row's verdict; has `taken`, the rows to aggregate."""
        ...

    def query(self, judged: Any) -> pl.LazyFrame:
        """The batch's own aggregates."""
        ...

    def commit(self, judged: Any, groups: pl.DataFrame) -> Effect:
        """Merge them; what that did."""
        ...


@runtime_checkable
class Takes(Protocol):
    """Something that takes a micro-batch by itself."""

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """A micro-batch; one input a side, None for one whose columns are not known yet.

        Nothing has changed if it raises. None: columns are not known yet.
        """
        ...


class Direct(Takes, Stage, Protocol):
    """A stage that works by itself."""


class Appending:
    """What stages have in common whose rows never change, and that have no windows."""

    @property
    def watermark(self) -> datetime | None:
        """None: nothing hangs on event time."""
        return None

    @property
    def frontier(self) -> int | None:
        """None: rows come in any order."""
        return None

    @property
    def bounds(self) -> Bounds:
        """There are no windows."""
        return Bounds(NONE, None)

    def known(self, _: str) -> pl.DataFrame | None:
        """What has come out is what the frame of the same plan keeps."""
        return None

    def is_open(self, _: int) -> bool:
        """What has come out never changes."""
        return False
