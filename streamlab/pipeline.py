"""FRAME: everything between a source's raw records and its published frames.

A `Pipeline` belongs to one worker thread: it decodes a block, runs all plans on it, puts the
changes into the stores, keeps the budget, publishes one version of everything, and tells the
views. Nothing here waits for a network or for a view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import polars as pl

from streamlab.changes import HIDDEN_SCHEMA, PART, SEQ, STAMP, TIME, Change
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.errors import StateLimitError
from streamlab.failures import describe
from streamlab.frame import Budget, Held, Keep
from streamlab.intake import Intake, Taken
from streamlab.members import Member, SourceCounts
from streamlab.observed import Failure
from streamlab.plans.nodes import Errors, Late, Node, Recompute, Source, label
from streamlab.records import Offset, Partition, Records
from streamlab.rowstore import RowStore

ERRORS_KEPT = Keep(rows=10_000)
WARN_STATE = 0.8


class Published(NamedTuple):
    """One version of a source and all frames on it.

    Attributes:
        version: rises by one with every micro-batch.
        records: records handed over since the source began, rejects included.
        done: per partition, the first offset whose effect is not in the frames yet.
        held: every frame's rows at this version.
    """

    version: int
    records: int
    done: Mapping[Partition, Offset]
    held: Mapping[Member, Held]


class Pipeline:
    """The worker's side of a source; see the module's docstring.

    Args:
        source: the plan's top.
        intake: decodes; None until the first records tell the schema.
        keep: what the source's frame retains.
        budget: shared by all stores and operators.
        from_start: whether the source begins at the first record there is.
        now_ms: the clock's time, for failure displays.
        discover: makes an intake from the first payloads.
    """

    def __init__(
        self,
        source: Source,
        intake: Intake | None,
        *,
        keep: Keep,
        budget: Budget,
        from_start: bool,
        now_ms: Callable[[], int],
        discover: Callable[[Sequence[Records]], Intake],
    ) -> None:
        """Begin empty."""
        self.source = source
        self.budget = budget
        self.counts = SourceCounts()
        self.from_start = from_start
        self._discover = discover
        self._now_ms = now_ms
        self._graph: Graph | None = None
        self.intake: Intake | None = None
        self.root = Member(source, keep, budget)
        self.errors = Member(Errors(source), ERRORS_KEPT, budget)
        self.members: list[Member] = [self.root, self.errors]
        self._by_handle: dict[int, Member] = {}
        self.published = Published(0, 0, {}, {})
        self.recompute: Callable[[Member], None] = lambda _: None
        self._unborn: list[Member] = []
        if intake is not None:
            self._learn(intake)

    # -- frames come and go ------------------------------------------------------------

    def add(self, node: Node, keep: Keep) -> Member:
        """A new frame; it begins with what the source still keeps."""
        member = Member(node, keep, self.budget)
        if isinstance(node, Late) and keep == Keep():
            member.keep = ERRORS_KEPT
        self.members.append(member)
        if self._graph is not None:
            self._connect(member)
        self._publish()
        return member

    def remove(self, member: Member) -> None:
        """Let a frame go; its rows stay readable from the last version."""
        if member not in self.members:
            return
        member.held = self.published.held.get(member, member.held)
        self.members.remove(member)
        if member.handle is not None and self._graph is not None:
            self._graph.remove(member.handle)
            self._by_handle.pop(member.handle, None)
        self.budget.release(member)
        member.close()
        self._publish()

    def close(self) -> None:
        """Give up all state; the last version stays readable."""
        for member in self.members:
            member.held = member.seal()
        self._publish()
        for member in self.members:
            member.close()
        self._graph = None

    def _learn(self, intake: Intake) -> None:
        """The schema is known: open the stores, connect the plans."""
        self.intake = intake
        schema = intake.schema
        # A frozen value is told its columns once, by the first record; before that it says None.
        object.__setattr__(self.source, "schema", schema)
        self._graph = Graph(self.source)
        hidden = dict(HIDDEN_SCHEMA)
        self.root.open(pl.Schema({**schema, **hidden}))
        self.errors.open(intake.take([]).rejected.schema)
        for member in self.members:
            self._connect(member)

    def _connect(self, member: Member) -> None:
        """Put a frame's plan into the graph and run what is kept through it."""
        node = member.node
        if self._graph is None or node is self.source or isinstance(node, Errors):
            return
        if isinstance(node, Recompute):
            self.recompute(member)
            return
        store = self.root.store
        seed = store.held().frame() if store is not None and store.height else None
        whole = self.from_start and not self._forgotten()
        if seed is None and not whole:
            self._unborn.append(member)  # it begins with the first record that comes
            return
        if not whole:
            member.began = _first_time(seed)
        if self._forgotten():
            member.since = self._first_offsets(seed)
        self._start(member, seed)

    def _start(self, member: Member, seed: pl.DataFrame | None) -> None:
        if self._graph is None:  # pragma: no cover - a frame starts in a graph
            return
        rows = member.keep.rows if member.key else None
        most = {} if rows is None else {"max_open": rows}
        try:
            member.handle = self._graph.add(
                member.node, seed, began=member.began, **most
            )
        except Exception as error:  # noqa: BLE001 - shown on the frame, siblings go on
            self._failed(member, error)
            return
        self._by_handle[member.handle] = member
        first = self._graph.first_change(member.handle)
        if first is not None:
            self._take(member, first, 0 if seed is None else seed.height)

    def _be_born(self, rows: pl.DataFrame) -> None:
        """Frames that wait for their first record begin with `rows`, which come next."""
        waiting, self._unborn = self._unborn, []
        for member in waiting:
            if member in self.members:
                member.began = _first_time(rows)
                if self.published.done:
                    member.since = dict(self.published.done)
                self._start(member, None)

    def _first_offsets(self, seed: pl.DataFrame | None) -> Mapping[Partition, Offset]:
        """Per partition the offset of the first row still kept, or where it is now."""
        first = dict(self.published.done)
        if seed is None or self.intake is None:
            return first
        rows = seed.group_by(PART).agg(pl.col(STAMP).first(), pl.col(SEQ).first())
        for number, stamp, sequence in rows.iter_rows():
            text = self.intake.offset_text(stamp, sequence)
            partition = self.intake.partitions[number]
            first[partition] = text if "-" in text else sequence
        return first

    def _forgotten(self) -> int:
        store = self.root.store
        return store.counts().forgotten if store is not None else 0

    # -- one micro-batch ---------------------------------------------------------------

    def step(
        self,
        blocks: Sequence[Records],
        *,
        holding: frozenset[Partition],
        final: bool,
        done: Mapping[Partition, Offset],
    ) -> None:
        """Decode `blocks`, run every plan once, publish one version.

        Args:
            blocks: in order of arrival; may be empty when only the watermark's
                partitions have changed.
            holding: partitions that hold the watermark back.
            final: the bounded input is at its end; every window closes.
            done: where each partition will be after this batch.
        """
        if self.intake is None:
            if not blocks:
                self._publish(done)
                return
            self._learn(self._discover(blocks))
        if (
            self.intake is None or self._graph is None
        ):  # pragma: no cover - just learned
            return
        taken = self.intake.take(blocks)
        self._count(taken)
        if self._unborn and taken.rows.height:
            self._be_born(taken.rows)
        numbers = frozenset(self.intake.number(p) for p in holding)
        told = [self._put_source(taken)]
        if taken.rejected.height:
            change = Change(taken.rejected, taken.rejected.clear(), 0, 0, None)
            told.append((self.errors, self.errors.put(change, taken.rejected.height)))
        outcomes = self._graph.step(Batch(taken.rows, numbers, final))
        for handle, outcome in outcomes.items():
            member = self._by_handle[handle]
            put = self._take(member, outcome, taken.rows.height)
            if put is not None:
                told.append((member, put))
        told = self._within_budget(told)
        self._publish(done, taken.received)
        for member, change in told:
            member.tell(change)
        if taken.received:
            for member in self.members:
                if isinstance(member.node, Recompute):
                    self.recompute(member)

    def _count(self, taken: Taken) -> None:
        counts = self.counts
        counts.received += taken.received
        counts.decoded += taken.decoded
        counts.rejected += taken.rejected.height
        for name, count in taken.missing.items():
            counts.missing[name] = counts.missing.get(name, 0) + count
        for name, (count, where) in taken.extra.items():
            before, first = counts.extra.get(name, (0, where))
            counts.extra[name] = (before + count, first)

    def _put_source(self, taken: Taken) -> tuple[Member, Change]:
        watermark = self._graph.watermark if self._graph is not None else None
        rows = taken.rows
        if self.root.began is None and not self.from_start and rows.height:
            self.root.began = _first_time(rows)
        change = Change(rows, rows.clear(), 0, 0, watermark)
        return self.root, self.root.put(change, rows.height)

    def _take(self, member: Member, outcome: Outcome, batch: int) -> Change | None:
        """Take what the graph says of one frame; None if nothing changed."""
        if outcome.error is not None:
            self._failed(member, outcome.error)
            return None
        mine, its = member.counts, outcome.counts
        mine.received += its.received
        mine.passed += its.passed
        mine.filtered += its.filtered
        mine.rejected += its.rejected
        mine.late += its.late
        mine.expired += its.expired
        member.evicted += outcome.evicted
        member.hidden_key = outcome.hidden_key
        self._hold_state(member, outcome.state_bytes)
        change = outcome.change
        if member.store is not None and not (
            change.added.height or change.removed.height
        ):
            member.watermark = change.watermark or member.watermark
            return None
        return member.put(change, batch)

    def _hold_state(self, member: Member, count: int) -> None:
        member.state_bytes = count
        self.budget.hold(member, count)
        if count > self.budget.limit:
            error = StateLimitError(
                f"{label(member.node)} holds {count / 1e6:.0f} MB of state, the budget is "
                f"{self.budget.limit / 1e6:.0f} MB. Give the window a lateness=, fewer keys "
                'in by=, or the source more room: live(keep="1GB").'
            )
            self._failed(member, error)

    def _within_budget(
        self, told: list[tuple[Member, Change]]
    ) -> list[tuple[Member, Change]]:
        """Forget the oldest rows of the largest store until all fit into the budget."""
        dropped: dict[Member, int] = {}
        stores = {id(m.store): m for m in self.members if m.store is not None}
        while self.budget.over and stores:
            largest = max(
                stores.values(), key=lambda m: m.store.bytes if m.store else 0
            )
            count = largest.store.shrink() if largest.store is not None else 0
            if not count:
                break
            dropped[largest] = dropped.get(largest, 0) + count
        changed = dict(told)
        for member, count in dropped.items():
            change = changed.get(member)
            if change is None:
                empty = member.held.frame().clear()
                change = Change(empty, empty, 0, 0, member.watermark)
            changed[member] = change._replace(forgotten=change.forgotten + count)
        return list(changed.items())

    def recomputed(self, member: Member, rows: pl.DataFrame) -> None:
        """Publish what a `recompute` made."""
        if member not in self.members:
            return
        if member.store is None:
            member.open(rows.schema)
        if isinstance(member.store, RowStore):
            change = member.store.replace(rows)
            self._publish()
            member.tell(change)

    def _publish(
        self, done: Mapping[Partition, Offset] | None = None, received: int = 0
    ) -> None:
        before = self.published
        held = {}
        for member in self.members:
            member.held = held[member] = member.seal()
        self.published = Published(
            before.version + 1,
            before.records + received,
            before.done if done is None else done,
            held,
        )

    def _failed(self, member: Member, error: Exception) -> None:
        failure: Failure = describe(
            error,
            step=label(member.node),
            now_ms=self._now_ms(),
            good=member.counts.passed,
        )
        member.fail(error, failure)
        if member.handle is not None and self._graph is not None:
            self._graph.remove(member.handle)
            self._by_handle.pop(member.handle, None)
            member.handle = None
        self.budget.release(member)
        empty = pl.DataFrame()
        member.tell(Change(empty, empty, 0, member.held.version, member.watermark))


def _first_time(rows: pl.DataFrame | None) -> datetime | None:
    """Event time of the first row that has one."""
    if rows is None or not rows.height:
        return None
    times = rows[TIME].drop_nulls()
    first = times.first() if len(times) else None
    return first if isinstance(first, datetime) else None
