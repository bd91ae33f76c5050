"""FRAME: everything between a source's raw records and its published frames.

A `Pipeline` belongs to one worker thread: it decodes a block, runs all plans on it, puts the
changes into the stores, keeps the budget, publishes one version of everything, and tells the
views. Nothing here waits for a network or for a view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import polars as pl

from streamlab.changes import HIDDEN_SCHEMA, Change
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.frames.failures import describe, too_large
from streamlab.frames.joining import first_offsets, first_time
from streamlab.frames.members import (
    Member,
    Published,
    SourceCounts,
    Told,
    appended,
    shrink_to_fit,
)
from streamlab.frames.rowstore import RowStore
from streamlab.frames.store import Budget, Held, Keep
from streamlab.intake import Intake, Taken
from streamlab.plans.nodes import Errors, Late, Node, Recompute, Source, label
from streamlab.records import Offset, Partition, Records

ERRORS_KEPT = Keep(rows=10_000)


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
        self._closed = False
        self.intake: Intake | None = None
        self.root = Member(source, keep, budget)
        self.errors = Member(Errors(source), ERRORS_KEPT, budget)
        self.members: list[Member] = [self.root, self.errors]
        self._by_handle: dict[int, Member] = {}
        self.published = Published(0, 0, 0, {}, {})
        self.recompute: Callable[[Member], None] = lambda _: None
        self._unborn: list[Member] = []
        if intake is not None:
            self._learn(intake)
        self._publish()

    # -- frames come and go ------------------------------------------------------------

    def add(self, node: Node, keep: Keep, parent: Member | None = None) -> Member:
        """A new frame; it begins with what the source still keeps.

        After the end of the source it is what its plan makes of those rows, and stays so.
        """
        member = Member(node, keep, self.budget)
        member.parent = parent
        if isinstance(node, (Late, Errors)) and keep == Keep():
            member.keep = ERRORS_KEPT
        self.members.append(member)
        if self._closed:
            self._add_late(member)
        elif self._graph is not None:
            self._connect(member)
        self._publish()
        self._recompute([member])
        return member

    def _recompute(self, members: Iterable[Member]) -> None:
        """Have queries run over what was just published."""
        for member in members:
            parent = member.parent
            # Before the first record nobody knows the columns a query may ask for.
            if (
                parent is not None
                and self.published.held.get(parent, parent.held).width
            ):
                self.recompute(member)

    def _add_late(self, member: Member) -> None:
        rows = self.root.held.frame()
        if rows.width and not isinstance(member.node, (Recompute, Errors)):
            self._graph = Graph(self.source)
            member.began = None if self.from_start else first_time(rows)
            self._start(member, rows)
            self._graph = None
        elif isinstance(member.node, Errors):
            member.put(appended(self.errors.held.frame()))
        member.held = member.seal()
        member.handle = None
        self.budget.release(member)
        member.close()

    def remove(self, member: Member) -> None:
        """Let a frame go; its rows stay readable from the last version."""
        if member not in self.members:
            return
        member.held = self.published.held.get(member, member.held)
        member.gone = True
        self.members.remove(member)
        self._disconnect(member)
        member.tell(appended(pl.DataFrame()))
        member.close()
        self._publish()

    def close(self) -> None:
        """Give up all state; the last version stays readable."""
        self._publish()
        for member in self.members:
            self.budget.release(member)
            member.close()
        self._graph = None
        self._by_handle.clear()
        self._closed = True

    def orphaned(self) -> None:
        """In a forked child: touch nothing, run nothing."""
        self._graph = None
        self._closed = True

    def restart(self, *, from_start: bool) -> None:
        """Forget all records, as before the first one; the frames stay, and begin anew."""
        told: Told = {}
        for member in self.members:
            change = member.restart()
            if change is not None:
                told[member] = change
        self.counts = SourceCounts()
        self.from_start = from_start
        self._by_handle.clear()
        self._unborn.clear()
        if self.intake is not None:
            self._graph = Graph(self.source)
            for member in self.members:
                self._connect(member)
        self._publish({}, -self.published.records, anew=True)
        for member, change in told.items():
            member.tell(change)
        self._recompute(self.members)

    def _learn(self, intake: Intake) -> None:
        """The schema is known: open the stores, connect the plans."""
        self.intake = intake
        schema = intake.schema
        # A frozen value is told its columns once, by the first record; before that it says None.
        object.__setattr__(self.source, "schema", schema)
        self._graph = Graph(self.source)
        self.root.open(pl.Schema({**schema, **HIDDEN_SCHEMA}))
        self.errors.open(intake.take([]).rejected.schema)
        for member in self.members:
            self._connect(member)

    def _connect(self, member: Member) -> None:
        """Put a frame's plan into the graph and run what is kept through it."""
        apart = member in (self.root, self.errors) or isinstance(member.node, Recompute)
        if self._graph is None or apart:
            return
        if isinstance(member.node, Errors):
            member.put(appended(self.errors.seal().frame()))
            return
        seed = self.root.seal().frame()
        whole = self.from_start and not self._forgotten()
        if not seed.height and not whole:
            self._foresee(member, seed)
            return
        if not whole:
            member.began = first_time(seed)
        if self._forgotten():
            done = self.published.done
            member.since = first_offsets(seed, done, self.intake)
        self._start(member, seed)

    def _foresee(self, member: Member, nothing: pl.DataFrame) -> None:
        """It begins with the first record that comes; its columns are known before."""
        self._unborn.append(member)
        if member.store is None:
            graph = Graph(self.source)
            first = graph.first_change(graph.add(member.node, nothing))
            if first is not None and first.change.added.width:
                member.open(first.change.added.schema)

    def _start(self, member: Member, seed: pl.DataFrame | None) -> None:
        graph = self._graph
        if graph is None:  # pragma: no cover - a frame starts in a graph
            return
        rows = member.keep.rows if member.key else None
        most = {} if rows is None else {"max_open": rows}
        try:
            member.handle = graph.add(member.node, seed, began=member.began, **most)
        except Exception as error:  # noqa: BLE001 - shown on the frame, siblings go on
            self.failed(member, error)
            return
        self._by_handle[member.handle] = member
        first = graph.first_change(member.handle)
        if first is not None:
            self._take(member, first)

    def _disconnect(self, member: Member) -> None:
        if member.handle is not None and self._graph is not None:
            self._graph.remove(member.handle)
            self._by_handle.pop(member.handle, None)
        member.handle = None
        member.state_bytes = 0
        self.budget.release(member)

    def _be_born(self, rows: pl.DataFrame) -> None:
        """Frames that wait for their first record begin with `rows`, which come next."""
        waiting, self._unborn = self._unborn, []
        for member in waiting:
            if member in self.members:
                member.began = first_time(rows)
                if self.published.done:
                    member.since = dict(self.published.done)
                self._start(member, None)

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
                partitions, or the positions, have changed.
            holding: partitions that hold the watermark back.
            final: the bounded input is at its end; every window closes.
            done: where each partition will be after this batch.
        """
        if self.intake is None and blocks:
            self._learn(self._discover(blocks))
        if self.intake is None or self._graph is None:
            self._publish(done)
            return
        taken = self.intake.take(blocks)
        self.counts.add(taken)
        if self._unborn and taken.rows.height:
            self._be_born(taken.rows)
        numbers = frozenset(self.intake.number(p) for p in holding)
        told: Told = {self.root: self._put_source(taken)}
        told |= self._put_errors(taken.rejected)
        outcomes = self._graph.step(Batch(taken.rows, numbers, final))
        told |= self._put_derived(outcomes)
        shrink_to_fit(self.members, self.budget, told)
        self._publish(done, taken.received)
        for member, change in told.items():
            member.tell(change)
        if taken.received:
            self._recompute(self.members)

    def _put_derived(self, outcomes: Mapping[int, Outcome]) -> Told:
        told: Told = {}
        for handle, outcome in outcomes.items():
            member = self._by_handle[handle]
            put = self._take(member, outcome)
            if put is not None or member.error is not None:
                told[member] = put or appended(pl.DataFrame())
        return told

    def _put_source(self, taken: Taken) -> Change:
        watermark = self._graph.watermark if self._graph is not None else None
        if self.root.began is None and not self.from_start:
            self.root.began = first_time(taken.rows)
        return self.root.put(appended(taken.rows)._replace(watermark=watermark))

    def _put_errors(self, rejected: pl.DataFrame) -> Told:
        told = [
            m for m in self.members if rejected.height and isinstance(m.node, Errors)
        ]
        return {member: member.put(appended(rejected)) for member in told}

    def _take(self, member: Member, outcome: Outcome) -> Change | None:
        """Take what the graph says of one frame; None if nothing changed."""
        change = outcome.change
        member.counts.add(outcome.counts)
        member.evicted += outcome.evicted
        member.hidden_key = outcome.hidden_key
        member.watermark = change.watermark or member.watermark
        put = None
        if member.store is None or change.added.height or change.removed.height:
            put = member.put(change) if change.added.width else None
        if outcome.error is not None:
            self.failed(member, outcome.error)
        else:
            self._hold_state(member, outcome.state_bytes)
        return put

    def _hold_state(self, member: Member, count: int) -> None:
        member.state_bytes = count
        self.budget.hold(member, count)
        if count > self.budget.limit:
            self.failed(member, too_large(member.node, count, self.budget.limit))

    # -- what became known otherwise -----------------------------------------------------

    def recomputed(self, member: Member, rows: pl.DataFrame) -> None:
        """Publish what a `recompute` made."""
        if member not in self.members:
            return
        if member.store is None and not self._closed:
            member.open(rows.schema)
        if not isinstance(member.store, RowStore):  # the source was stopped meanwhile
            member.held = Held([rows], member.held.version + 1)
            self._publish()
            return
        told: Told = {member: member.store.replace(rows)}
        if member.store.bytes > self.budget.limit:
            self.failed(
                member, too_large(member.node, member.store.bytes, self.budget.limit)
            )
        shrink_to_fit(self.members, self.budget, told)
        self._publish()
        for each, change in told.items():
            each.tell(change)

    def recompute_failed(self, member: Member, error: BaseException) -> None:
        """The query of a `recompute` raised `error`."""
        self.failed(member, error)
        self._publish()
        member.tell(appended(pl.DataFrame()))

    def failed(self, member: Member, error: BaseException) -> None:
        """Stop one frame; its last good version stays, the others go on."""
        failure = describe(
            error,
            step=label(member.node),
            now_ms=self._now_ms(),
            good=member.counts.passed,
            where=None if self.intake is None else self.intake.where,
        )
        member.fail(error, failure)
        self._disconnect(member)

    def _publish(
        self,
        done: Mapping[Partition, Offset] | None = None,
        received: int = 0,
        *,
        anew: bool = False,
    ) -> None:
        before = self.published
        held = {}
        for member in self.members:
            member.held = held[member] = member.seal()
        self.published = Published(
            before.version + 1,
            before.epoch + anew,
            before.records + received,
            before.done if done is None else done,
            held,
        )
