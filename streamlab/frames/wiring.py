"""FRAME: which frames the engine produces: how a frame comes into the graph and leaves it.

Belongs to the worker thread, as the pipeline does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from streamlab.changes import HIDDEN_SCHEMA, Change
from streamlab.engine.graph import MAX_OPEN, Graph, Standing
from streamlab.engine.needs import Memory
from streamlab.engine.outcome import Outcome
from streamlab.errors import StateLimitError
from streamlab.frames.failures import too_large
from streamlab.frames.joining import first_offsets, first_time, late_places
from streamlab.frames.members import Member, Told, appended
from streamlab.intake import Intake
from streamlab.plans.nodes import Errors, Node, OuterJoin, Recompute, reviser_of
from streamlab.records import Offset, Partition


class Wiring:
    """The graph of a source and the frames it produces.

    Attributes:
        graph: None before the schema is known, and once the source is closed.
        from_start: whether the source began at the first record there is.
    """

    def __init__(
        self,
        root: Member,
        errors: Member,
        *,
        from_start: bool,
        committing: bool,
        take: Callable[[Member, Outcome], Change | None],
        failed: Callable[[Member, BaseException], None],
        kept: Callable[[Node], pl.DataFrame],
        tombstones: Callable[[], pl.DataFrame | None],
    ) -> None:
        """No graph yet.

        Args:
            root: the source's frame.
            errors: that of the rejected records.
            from_start: see above.
            committing: whether the oldest record that is still needed matters.
            take: is given what a frame began with.
            failed: is told of a frame that could not begin.
            kept: rows that the frame of a plan keeps; without columns if there is none.
            tombstones: those among the rows that the source keeps.
        """
        self.graph: Graph | None = None
        self.from_start = from_start
        self._root, self._errors = root, errors
        self._committing = committing
        self._take, self._failed, self._kept = take, failed, kept
        self._tombstones = tombstones
        self._by_handle: dict[int, Member] = {}
        self._unborn: list[Member] = []
        self._begun: Told = {}
        self._intake: Intake | None = None
        self._last: dict[int, Standing] = {}

    def learn(self, intake: Intake, memory: Memory | None) -> None:
        """The schema is known: open the source's stores, make the graph.

        Args:
            intake: decodes the source.
            memory: what an earlier reading left, if this one goes on with it.
        """
        self._intake = intake
        self.graph = self._new_graph(memory)
        self._root.open(pl.Schema({**intake.schema, **HIDDEN_SCHEMA}))
        self._errors.open(intake.take([]).rejected.schema)

    def _new_graph(self, memory: Memory | None) -> Graph:
        intake = self._intake
        if intake is None:  # pragma: no cover - it is known when a graph is made
            return Graph(committing=self._committing, memory=memory)
        return Graph(
            committing=self._committing,
            memory=memory,
            numbered=not intake.ids_are_text,
            placed=lambda rows: late_places(rows, intake),
        )

    def anew(self, *, from_start: bool) -> None:
        """As before the first record; nothing is connected."""
        self.from_start = from_start
        self._by_handle.clear()
        self._unborn.clear()
        if self._intake is not None:
            self.graph = self._new_graph(None)

    def close(self) -> None:
        """Give the graph up; where its operators stood stays known."""
        self._last = {} if self.graph is None else self.graph.standings()
        self.orphaned()

    def orphaned(self) -> None:
        """Give the graph up without a look at it."""
        self.graph = None
        self._by_handle.clear()

    def member(self, handle: int) -> Member:
        """The frame that the graph knows by `handle`."""
        return self._by_handle[handle]

    @property
    def state(self) -> dict[str, int]:
        """Bytes that all steps hold, by their names."""
        return {} if self.graph is None else self.graph.state

    def state_of(self, member: Member) -> dict[str, int]:
        """Bytes of state of each step that a frame hangs on."""
        return {} if self.graph is None else self.graph.bytes_of(member.node)

    def overfull(self, limit: int) -> tuple[list[Member], StateLimitError] | None:
        """If all steps hold more than `limit`, the frames of the one that holds most, and why."""
        if self.graph is None or (every := self.graph.state_bytes) <= limit:
            return None
        most = self.graph.heaviest
        if most is None:  # pragma: no cover - something holds the bytes
            return None
        error = too_large(most.node, most.bytes, limit, holds=most.holds, every=every)
        members = [self._by_handle[each] for each in self.graph.hanging_on(most)]
        return members, error

    def connect(self, member: Member, done: Mapping[Partition, Offset]) -> None:
        """Put a frame's plan into the graph and run what is kept through it.

        Args:
            member: the frame.
            done: how far the source is.
        """
        node = member.node
        apart = member in (self._root, self._errors) or isinstance(node, Recompute)
        if self.graph is None or apart:
            return
        if isinstance(node, Errors):
            member.put(appended(self._errors.seal().frame()))
            return
        seed = self._root.seal().frame()
        if not seed.height and not self._whole(node):
            self._foresee(member, seed)
            return
        if not (self.from_start and not self._forgotten()):
            member.began = first_time(seed)
        if self._forgotten():
            member.since = first_offsets(seed, done, self._intake)
        self._start(member, seed)

    def disconnect(self, member: Member) -> None:
        """Take a frame out of the graph."""
        if member.handle is not None and self.graph is not None:
            self.graph.remove(member.handle)
            self._by_handle.pop(member.handle, None)
        member.handle = None

    def be_born(
        self,
        rows: pl.DataFrame,
        members: list[Member],
        done: Mapping[Partition, Offset],
    ) -> None:
        """Frames that wait for their first record begin with `rows`, which come next."""
        waiting, self._unborn = self._unborn, []
        for member in waiting:
            if member in members:
                member.began = first_time(rows)
                if done:
                    member.since = dict(done)
                outer = isinstance(reviser_of(member.node), OuterJoin)
                # Its rows of the table are there already, and leave from now on.
                self._start(member, self._root.seal().frame() if outer else None)

    def begun(self) -> Told:
        """What frames have begun with since the last look, for those who listen already."""
        begun, self._begun = self._begun, {}
        return begun

    def add_late(self, member: Member) -> None:
        """A frame made after the end of the source: what its plan makes of the kept rows."""
        rows = self._root.held.frame()
        if rows.width and not isinstance(member.node, (Recompute, Errors)):
            self.graph = Graph()
            member.began = None if self.from_start else first_time(rows)
            self._start(member, rows)
            self._last |= self.graph.standings()
            self.graph = None
        elif isinstance(member.node, Errors):
            member.put(appended(self._errors.held.frame()))

    def standing(self, node: Node) -> Standing:
        """How far the operator of a step is, and what it has left out."""
        if self.graph is None:
            return self._last.get(id(node), Standing(None, None, None))
        return self.graph.standing(node)

    def _whole(self, node: Node) -> bool:
        """Whether windows of `node` miss no record that came before this reading."""
        if self._forgotten() or self.graph is None:
            return False
        return self.from_start or self.graph.remembers(node)

    def _foresee(self, member: Member, nothing: pl.DataFrame) -> None:
        """It begins with the first record that comes; its columns are known before."""
        self._unborn.append(member)
        graph = Graph()
        first = graph.first_change(graph.add(member.node, nothing))
        if first is not None and first.change.added.width:
            member.foresee(first)

    def _start(self, member: Member, seed: pl.DataFrame | None) -> None:
        graph = self.graph
        if graph is None:  # pragma: no cover - a frame starts in a graph
            return
        most = member.keep.rows if member.key else None
        try:
            member.handle = graph.add(
                member.node,
                seed,
                began=member.began,
                max_open=MAX_OPEN if most is None else most,
                kept=self._kept,
                tombstones=None if seed is None else self._tombstones(),
            )
        except Exception as error:  # noqa: BLE001 - shown on the frame, siblings go on
            self._failed(member, error)
            return
        self._by_handle[member.handle] = member
        first = graph.first_change(member.handle)
        if first is not None:
            foreseen = member.store is not None and member.store.height > 0
            put = self._take(member, first)
            if put is not None and put.added.height and not foreseen:
                self._begun[member] = put

    def _forgotten(self) -> int:
        store = self._root.store
        return store.counts().forgotten if store is not None else 0
