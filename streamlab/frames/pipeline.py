"""FRAME: everything between a source's raw records and its published frames.

A `Pipeline` belongs to one worker thread: it decodes a block, runs all plans on it, puts the
changes into the stores, keeps the budget, publishes one version of everything, and tells the
views. Nothing here waits for a network or for a view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import polars as pl

from streamlab.changes import Change
from streamlab.engine.graph import Standing
from streamlab.engine.needs import Low
from streamlab.engine.outcome import Batch, Outcome
from streamlab.errors import StreamStoppedError
from streamlab.frames.deletions import Deletions
from streamlab.frames.failures import describe, too_large
from streamlab.frames.joining import first_time
from streamlab.frames.members import (
    Member,
    Published,
    SourceCounts,
    Told,
    appended,
    put_rejected,
    shrink_to_fit,
)
from streamlab.frames.memo import Past
from streamlab.frames.outlets import Outlets
from streamlab.frames.rowstore import RowStore
from streamlab.frames.store import Budget, Held, Keep
from streamlab.frames.wiring import Wiring
from streamlab.intake import Intake, Taken
from streamlab.plans.nodes import Errors, Late, Node, Source, label
from streamlab.records import Offset, Partition, Records

Take = Callable[[Intake, Sequence[Records]], Taken]
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
        past: what earlier readings committed, if this one commits too.
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
        past: Past | None = None,
    ) -> None:
        """Begin empty."""
        self.source = source
        self.budget = budget
        self.counts = SourceCounts()
        self.state: Mapping[str, int] = {}  # bytes by step; may be read from anywhere
        self._deletions = Deletions(budget)
        self._discover = discover
        self._now_ms = now_ms
        self._past = past
        self._closed = False
        self.intake: Intake | None = None
        self.root = Member(source, keep, budget)
        self.errors = Member(Errors(source), ERRORS_KEPT, budget)
        self.members: list[Member] = [self.root, self.errors]
        self.published = Published(0, 0, 0, {}, {})
        self.recompute: Callable[[Member], None] = lambda _: None
        self.settled: Callable[[], None] = lambda: None
        self.outlets = Outlets()
        self._wiring = Wiring(
            self.root,
            self.errors,
            from_start=from_start,
            committing=past is not None,
            take=self._take,
            failed=self.failed,
            kept=self._kept,
            tombstones=lambda: self._deletions.among(self._forgotten),
        )
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
        else:
            self._wiring.connect(member, self.published.done)
            self._wiring.begun()  # nobody listens yet
            self._hold_state()
        self._publish()
        self._recompute([member])
        self.settled()
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
        self._wiring.add_late(member)
        member.held = member.seal()
        member.handle = None
        member.close()

    def remove(self, member: Member) -> None:
        """Let a frame go; its rows stay readable from the last version."""
        if member not in self.members:
            return
        member.held = self.published.held.get(member, member.held)
        member.gone = True
        self.members.remove(member)
        self._disconnect(member)
        self._hold_state()
        member.tell(appended(pl.DataFrame()))
        member.close()
        self._publish()
        self.outlets.lost(
            member, StreamStoppedError(f"{label(member.node)} was stopped")
        )
        self.settled()

    def close(self) -> None:
        """Give up all state; the last version stays readable."""
        self._publish()
        for member in self.members:
            member.close()
        self.budget.release(self._wiring)
        self._wiring.close()
        self._closed = True

    def orphaned(self) -> None:
        """In a forked child: touch nothing, run nothing."""
        self._wiring.orphaned()
        self._closed = True

    def restart(self, *, from_start: bool) -> None:
        """Forget all records, as before the first one; the frames stay, and begin anew."""
        told: Told = {}
        for tap in self.outlets.taps:
            tap.anew()
        for member in self.members:
            change = member.restart()
            if change is not None:
                told[member] = change
        self.counts = SourceCounts()
        self._deletions.clear()
        self._wiring.anew(from_start=from_start)
        for member in self.members:
            self._wiring.connect(member, {})
        self._publish({}, -self.published.records, anew=True)
        for member, change in (*told.items(), *self._wiring.begun().items()):
            member.tell(change)
        self._recompute(self.members)
        self.settled()

    @property
    def from_start(self) -> bool:
        """Whether the source began at the first record there is."""
        return self._wiring.from_start

    def standing(self, node: Node) -> Standing:
        """How far the operator of a step is, and what it has left out."""
        return self._wiring.standing(node)

    def _learn(self, intake: Intake) -> None:
        """The schema is known: open the stores, connect the plans."""
        self.intake = intake
        # A frozen value is told its columns once, by the first record; before that it says None.
        object.__setattr__(self.source, "schema", intake.schema)
        past = self._past
        self._wiring.learn(intake, None if past is None else past.memory(intake.number))
        for member in self.members:
            self._wiring.connect(member, self.published.done)

    def _kept(self, node: Node) -> pl.DataFrame:
        """The rows, hidden columns included, that the frame of a plan keeps."""
        same = (m for m in self.members if m.node is node)
        member = next(same, None)
        return pl.DataFrame() if member is None else member.seal().frame()

    def _disconnect(self, member: Member) -> None:
        self._wiring.disconnect(member)
        member.state_bytes = 0

    # -- one micro-batch ---------------------------------------------------------------

    def step(
        self,
        blocks: Sequence[Records],
        *,
        holding: frozenset[Partition],
        final: bool,
        done: Mapping[Partition, Offset],
        number: int = 0,
        take: Take = Intake.take,
    ) -> Low | None:
        """Decode `blocks`, run every plan once, publish one version.

        Args:
            blocks: in order of arrival; may be empty when only the watermark's
                partitions, or the positions, have changed.
            holding: partitions that hold the watermark back.
            final: the bounded input is at its end; every window closes.
            done: where each partition will be after this batch.
            number: of the batch, as outlets acknowledge it.
            take: decodes the blocks; it may put the rows in another order.

        Returns:
            What is still needed, if this reading commits.
        """
        self.outlets.number = number
        if self.intake is None and blocks:
            self._learn(self._discover(blocks))
        graph = self._wiring.graph
        if self.intake is None or graph is None:
            self._publish(done)
            self.outlets.put(number, {})
            return None
        taken = take(self.intake, blocks)
        self.counts.add(taken)
        if taken.rows.height:
            self._wiring.be_born(taken.rows, self.members, self.published.done)
        numbers = frozenset(self.intake.number(p) for p in holding)
        told: Told = {self.root: self._put_source(taken, graph.watermark)}
        told |= put_rejected(self.members, taken.rejected)
        if taken.tombstones is not None:
            before = self.counts.decoded - taken.decoded
            self._deletions.add(taken.tombstones, before, self._forgotten)
        batch = Batch(taken.rows, numbers, final, tombstones=taken.tombstones)
        outcomes = graph.step(batch)
        told |= self._put_derived(outcomes)
        told = self._hold_state() | told
        shrink_to_fit(self.members, self.budget, told)
        self._publish(done, taken.received)
        begun = self._wiring.begun()
        for member, change in (*begun.items(), *told.items()):
            member.tell(change)
        if taken.received:
            self._recompute(self.members)
        self.outlets.put(number, told, begun)
        self.settled()
        return self.low

    @property
    def low(self) -> Low | None:
        """What is still needed, if this reading commits; on the worker."""
        graph = self._wiring.graph
        return None if self._past is None or graph is None else graph.low

    @property
    def _forgotten(self) -> int:
        """Rows that the source has forgotten, oldest first."""
        store = self.root.store
        return 0 if store is None else store.counts().forgotten

    @property
    def tombstones(self) -> pl.DataFrame | None:
        """The newest of each key, among all rows there have been; None for none."""
        return self._deletions.among(0)

    def _put_derived(self, outcomes: Mapping[int, Outcome]) -> Told:
        told: Told = {}
        for handle, outcome in outcomes.items():
            member = self._wiring.member(handle)
            put = self._take(member, outcome)
            if put is not None or member.error is not None:
                told[member] = put or appended(pl.DataFrame())
        return told

    def _put_source(self, taken: Taken, watermark: datetime | None) -> Change:
        if self.root.began is None and not self.from_start:
            self.root.began = first_time(taken.rows)
        return self.root.put(appended(taken.rows)._replace(watermark=watermark))

    def _take(self, member: Member, outcome: Outcome) -> Change | None:
        """Take what the graph says of one frame; None if nothing changed."""
        change = outcome.change
        self.outlets.offer(member, outcome)
        member.note(outcome)
        put = None
        if member.store is None or change.added.height or change.removed.height:
            put = member.put(change) if change.added.width else None
        if outcome.error is not None:
            self.failed(member, outcome.error)
        else:
            member.state_bytes = outcome.state_bytes
        return put

    def _hold_state(self) -> Told:
        """Count all state once, whoever shares it; stop the frames of what is too much."""
        told: Told = {}
        while found := self._wiring.overfull(self.budget.limit):
            members, error = found
            for member in members:
                self.failed(member, error)
                told[member] = appended(pl.DataFrame())
        self.state = self._wiring.state
        self.budget.hold(self._wiring, sum(self.state.values()))
        return told

    def state_of(self, member: Member) -> dict[str, int]:
        """Bytes of state of each step that a frame hangs on."""
        return self._wiring.state_of(member)

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
        self.outlets.lost(member, error)

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
