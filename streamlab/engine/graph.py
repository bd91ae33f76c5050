"""All plans that hang on one source, run together, micro-batch by micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

import polars as pl

from streamlab.changes import PART
from streamlab.durations import UNIT_US, Span
from streamlab.engine.assign import read_times
from streamlab.engine.flow import SOURCE, Flow, Frame
from streamlab.engine.keyed import KeyedSteps
from streamlab.engine.needs import Bounds, Low, Memory, Past, keep_oldest
from streamlab.engine.needs import Place as At
from streamlab.engine.operator import OWN, Operator, Place
from streamlab.engine.outcome import Batch, Outcome
from streamlab.engine.rowwise import Chain
from streamlab.engine.stage import Setting
from streamlab.engine.watermark import FOREVER, Watermark, moment
from streamlab.plans.fingerprint import fingerprint
from streamlab.plans.nodes import (
    Closed,
    InOrder,
    Late,
    Node,
    RowWise,
    Stateful,
    TwoSided,
    Unique,
    Window,
    chain,
    label,
    reviser_of,
    source_of,
)

MAX_OPEN = 100_000
_MAX_AHEAD = Span(0, UNIT_US["h"])  # for the source's own watermark


class Standing(NamedTuple):
    """Where an operator stands, for who looks at it from outside.

    Attributes:
        reached: windows that end by then are over, or rows before it are out, in µs or the
            unit of integer windows; None if that is not how the operator works.
        late: the newest rows that came too late, hidden columns included; None if none can.
        expired: rows that an earlier reading of a group had brought home.
        trouble: why the batch answer can't be worked out again; "" if it can.
    """

    reached: int | None
    late: pl.DataFrame | None
    expired: pl.DataFrame | None
    trouble: str = ""


class Graph:
    """The frames of one source; owned by one worker thread at a time.

    Row-wise steps of all frames run in one `pl.collect_all` per micro-batch, windows aggregate
    in a second one, and steps after operators follow level by level. Frames that name the same
    stateful node share its operator. A join's second side may be a plan of another source: its
    rows come by `step_other`.

    Attributes:
        version: number of micro-batches so far.
    """

    def __init__(
        self,
        *,
        committing: bool = False,
        memory: Memory | None = None,
        numbered: bool = True,
        placed: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows,
    ) -> None:
        """No frames yet.

        Args:
            committing: keep account of the oldest record that is still needed.
            memory: left by the reading that this one goes on with.
            numbered: the broker's offsets are numbers (on Redis they begin with a time).
            placed: gives late rows the broker's own words for where they stand.
        """
        self._numbered, self._placed = numbered, placed
        self._committing = committing
        self._memory = memory
        self._frames: dict[int, Frame] = {}
        self._operators: dict[int, Operator] = {}
        self._handles = 0
        self._others: dict[
            int, Batch
        ] = {}  # of each other source, its last batch, empty
        self._blank: Batch | None = None
        self._watermark = Watermark()
        self._holding: frozenset[int] = frozenset()
        self._ended = False
        self.version = 0

    @property
    def watermark(self) -> datetime | None:
        """The source's own: newest event time, minimum over the partitions that hold."""
        return moment(self._watermark.mark)

    @property
    def state_bytes(self) -> int:
        """Held by all operators."""
        return sum(each.bytes for each in self._operators.values())

    @property
    def low(self) -> Low:
        """Which records are still needed, and which windows are over."""
        oldest: dict[int, At] = {}
        plans: dict[str, Bounds] = {}
        for each in self._operators.values():
            if each.state is not None and each.state.needs is not None:
                keep_oldest(oldest, each.state.needs.oldest(), numbered=self._numbered)
                if isinstance(each.node, (Window, Unique)):
                    plans[each.mark] = each.state.bounds
            elif each.setting.past is not None:  # no row has come for it yet
                plans[each.mark] = each.setting.past.bounds
        known = () if self._memory is None else self._memory.plans
        missing = frozenset(known) - plans.keys()
        return Low(oldest, plans, missing, self._numbered)

    def remembers(self, node: Node) -> bool:
        """Whether the windows on the way to `node` go on where an earlier reading left them."""
        windows = [each for each in chain(node) if isinstance(each, Window)]
        return bool(windows) and all(self._past(each) is not None for each in windows)

    def standings(self) -> dict[int, Standing]:
        """That of all steps, by the id of each."""
        return {key: self.standing(each.node) for key, each in self._operators.items()}

    def standing(self, node: Node) -> Standing:
        """How far the operator of a step is, and what it has left out so far."""
        operator = self._operators.get(id(node))
        if operator is None or operator.state is None:
            return Standing(None, None, None)
        state = operator.state
        late, expired = (
            state.known(kind) if isinstance(node, (Window, InOrder)) else None
            for kind in ("late", "expired")
        )
        if isinstance(node, Window):
            over = FOREVER if operator.finished else state.bounds.over
            return Standing(over, late, expired)
        trouble = str(getattr(state, "trouble", ""))
        return Standing(state.frontier, late, None, trouble)

    def _past(self, node: Node) -> Past | None:
        if self._memory is None or not isinstance(node, (Window, Unique)):
            return None
        bounds = self._memory.plans.get(fingerprint(node))
        return None if bounds is None else Past(bounds, self._memory.before)

    @property
    def state(self) -> dict[str, int]:
        """Bytes that each operator holds, by the step's name."""
        return _by_name(self._operators.values())

    @property
    def heaviest(self) -> Operator | None:
        """The operator with the largest state; None if there is none."""
        every = self._operators.values()
        return max(every, key=lambda each: each.bytes, default=None)

    def hanging_on(self, operator: Operator) -> list[int]:
        """The frames that an operator is needed for."""
        return [h for h, frame in self._frames.items() if operator in frame.path]

    def bytes_of(self, node: Node) -> dict[str, int]:
        """Bytes of state of each operator on the way to `node`, by the step's name."""
        frames = (each for each in self._frames.values() if each.node is node)
        frame = next(frames, None)
        return {} if frame is None else _by_name(frame.path)

    def add(
        self,
        node: Node,
        seed: pl.DataFrame | None,
        *,
        began: datetime | None = None,
        max_open: int = MAX_OPEN,
        kept: Callable[[Node], pl.DataFrame] = lambda _: pl.DataFrame(),
        tombstones: pl.DataFrame | None = None,
    ) -> int:
        """Produce the frame of `node` from now on; returns its handle.

        An operator that runs already for another frame keeps its state: then the frame
        begins with what that operator knows (open windows, closed ones as far as kept, the
        newest late rows), and `seed`, `began` and `max_open` are not used for it.

        Args:
            node: the plan; all steps but `errors` and `recompute`.
            seed: rows (shown and hidden) that the source still keeps, in the order they were
                handed over; they run through at once. None if there have been none.
            began: event time the frame begins at; None if it reads from the first record.
            max_open: (window, key) pairs each window keeps open.
            kept: rows, shown and hidden, that the frame of a plan keeps; without columns if
                there is no such frame.
            tombstones: among the rows of `seed`, as in a batch.

        Raises:
            TypeError: a step that is not run here (`errors`, `recompute`).
        """
        known = set(self._operators)
        frame = self._planned(node, Setting(began, max_open, self._committing))
        fresh = [each for each in frame.path if id(each.node) not in known]
        rows = pl.DataFrame() if seed is None else seed
        parts = rows.get_column(PART).unique().to_list() if PART in rows.columns else []
        holding = self._holding | set(parts)
        source = Batch(rows, holding, self._ended, tombstones=tombstones)
        # Partitions in the seed hold while it runs: what was on time then must not be late now.
        if frame.problem is None:
            sources = {**self._others, OWN: source}
            flow = Flow(
                sources, fresh, self.version, self.watermark, kept, placed=self._placed
            )
            frame.first = flow.through([frame]).get(frame)
        self._handles += 1
        self._frames[self._handles] = frame
        return self._handles

    def first_change(self, handle: int) -> Outcome | None:
        """What the frame began with; None if there had been no rows to tell its columns."""
        return self._frames[handle].first

    def remove(self, handle: int) -> None:
        """Stop producing a frame; operators that nobody else needs are dropped."""
        self._frames.pop(handle, None)
        needed = {
            id(each.node) for frame in self._frames.values() for each in frame.path
        }
        self._operators = {
            k: each for k, each in self._operators.items() if k in needed
        }

    def step(self, batch: Batch) -> dict[int, Outcome]:
        """Run one micro-batch through all frames.

        A frame that fails has its error in its outcome, with the rows before the one at
        fault; from then on it has no outcomes. Rows without any column are no rows.
        """
        self._holding = batch.holding
        self._ended = self._ended or batch.final
        self._move_watermark(batch)
        if batch.rows.width:
            self._blank = batch._replace(rows=batch.rows.clear(), tombstones=None)
        return self._run(OWN, batch)

    def step_other(self, node: Node, batch: Batch) -> dict[int, Outcome]:
        """Run a micro-batch of another source's frame through what hangs on it.

        Args:
            node: the plan as it stands in the join (`Join.other`).
            batch: its rows in order, with shown and hidden columns; its `frontier`.
        """
        self._others[id(node)] = batch._replace(rows=batch.rows.clear())
        return self._run(id(node), batch)

    def forget_other(self, node: Node) -> None:
        """Another source begins anew: as before its first batch."""
        self._others.pop(id(node), None)

    def front(self, node: Node) -> tuple[int | None, bool]:
        """How far the rows of a frame are, and whether nothing more will come (see `Batch`)."""
        for frame in self._frames.values():
            operator = frame.origin.operator
            if frame.node is node and operator is not None:
                batch = operator.output(frame.origin.kind)
                return batch.frontier, batch.final
        return None, self._ended

    def _run(self, source: int, batch: Batch) -> dict[int, Outcome]:
        self.version += 1
        alive = {
            handle: frame
            for handle, frame in self._frames.items()
            if frame.problem is None and source in frame.sources
        }
        operators = [
            each
            for each in self._operators.values()
            if each.error is None and source in each.sources
        ]
        mine = self._blank or Batch(pl.DataFrame(), self._holding)
        own = mine._replace(holding=self._holding, final=self._ended)
        sources = {OWN: own, **self._others, source: batch}
        flow = Flow(
            sources, operators, self.version, self.watermark, placed=self._placed
        )
        outcomes = flow.through(list(alive.values()))
        return {h: outcomes[f] for h, f in alive.items() if f in outcomes}

    def _planned(self, node: Node, setting: Setting) -> Frame:
        """Where the frame's rows come from; operators that are not there yet are made."""
        origin, steps, path = self._way(node, setting)
        keyed = None
        reviser = reviser_of(node)
        if reviser is not None:
            keyed = KeyedSteps(node, reviser, steps)
        return Frame(node, origin, Chain(steps), keyed, tuple(path))

    def _way(
        self, node: Node, setting: Setting
    ) -> tuple[Place, list[RowWise], list[Operator]]:
        """The nearest place above `node`, the steps from there, all operators on the way."""
        origin, steps, path = SOURCE, list[RowWise](), list[Operator]()
        for each in chain(node)[1:]:
            if isinstance(each, RowWise):
                steps.append(each)
            elif isinstance(each, Stateful):
                places, chains = [origin], [Chain(steps)]
                if isinstance(each, TwoSided):
                    place, more, above = self._other_side(node, each.other, setting)
                    places.append(place)
                    chains.append(Chain(more))
                    path += [op for op in above if op not in path]
                path.append(self._operator(each, places, chains, setting))
                origin, steps = Place(path[-1]), []
            elif isinstance(each, (Closed, Late)):
                kind = "closed" if isinstance(each, Closed) else "late"
                origin, steps = Place(origin.operator, kind), []
            else:
                raise TypeError(f"{label(each)} does not run batch by batch")
        return origin, steps, path

    def _other_side(
        self, node: Node, other: Node, setting: Setting
    ) -> tuple[Place, list[RowWise], list[Operator]]:
        if source_of(other) is source_of(node):
            return self._way(other, setting)
        return Place(None, "rows", id(other)), [], []

    def _operator(
        self, node: Stateful, places: list[Place], chains: list[Chain], setting: Setting
    ) -> Operator:
        operator = self._operators.get(id(node))
        if operator is None:
            above = [p.operator.depth + 1 for p in places if p.operator is not None]
            operator = self._operators[id(node)] = Operator(
                node,
                tuple(places),
                tuple(chains),
                setting._replace(past=self._past(node)),
                max(above, default=0),
                fingerprint(node) if self._committing else "",
            )
        elif setting.max_open > operator.setting.max_open:
            operator.allow(setting.max_open)
        return operator

    def _move_watermark(self, batch: Batch) -> None:
        if PART not in batch.rows.columns:
            return
        times = read_times(batch.rows, None, _MAX_AHEAD)
        parts = batch.rows.get_column(PART).to_numpy()
        self._watermark.advance(times.values, parts, times.good, batch.holding)


def _by_name(operators: Iterable[Operator]) -> dict[str, int]:
    held: dict[str, int] = {}
    for each in operators:
        name = label(each.node)
        held[name] = held.get(name, 0) + each.bytes
    return held
