"""All plans that hang on one source, run together, micro-batch by micro-batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from streamlab.changes import PART
from streamlab.durations import UNIT_US, Span
from streamlab.engine.assign import read_times
from streamlab.engine.flow import SOURCE, Flow, Frame
from streamlab.engine.keyed import KeyedSteps
from streamlab.engine.needs import Bounds, Low, Memory, Past, keep_oldest
from streamlab.engine.needs import Place as At
from streamlab.engine.operator import Operator, Place
from streamlab.engine.outcome import Batch, Outcome
from streamlab.engine.rowwise import Chain
from streamlab.engine.watermark import NONE, Watermark
from streamlab.plans.fingerprint import fingerprint
from streamlab.plans.nodes import (
    Closed,
    Late,
    Node,
    RowWise,
    Window,
    chain,
    label,
)

MAX_OPEN = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_AHEAD = Span(0, UNIT_US["h"])  # for the source's own watermark


class Graph:
    """The frames of one source; owned by one worker thread at a time.

    Row-wise steps of all frames run in one `pl.collect_all` per micro-batch, window operators
    aggregate in a second one, and steps after windows follow level by level. Frames that name
    the same `Window` object share its operator.

    Attributes:
        version: number of micro-batches so far.
    """

    def __init__(
        self, *, committing: bool = False, memory: Memory | None = None
    ) -> None:
        """No frames yet.

        Args:
            committing: keep account of the oldest record that is still needed.
            memory: left by the reading that this one goes on with.
        """
        self._committing = committing
        self._memory = memory
        self._frames: dict[int, Frame] = {}
        self._operators: dict[int, Operator] = {}
        self._handles = 0
        self._watermark = Watermark()
        self._holding: frozenset[int] = frozenset()
        self._ended = False
        self.version = 0

    @property
    def watermark(self) -> datetime | None:
        """The source's own: newest event time, minimum over the partitions that hold."""
        if self._watermark.mark == NONE:
            return None
        return _EPOCH + timedelta(microseconds=self._watermark.mark)

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
                keep_oldest(oldest, each.state.needs.oldest())
                plans[each.mark] = each.state.bounds
            elif each.past is not None:  # no row has come for it yet
                plans[each.mark] = each.past.bounds
        known = () if self._memory is None else self._memory.plans
        return Low(oldest, plans, frozenset(known) - plans.keys())

    def remembers(self, node: Node) -> bool:
        """Whether the windows on the way to `node` go on where an earlier reading left them."""
        windows = [each for each in chain(node) if isinstance(each, Window)]
        return bool(windows) and all(self._past(each) is not None for each in windows)

    def expired(self, node: Window) -> pl.DataFrame:
        """Rows of a window that an earlier reading had brought home."""
        operator = self._operators.get(id(node))
        if operator is None or operator.state is None:
            return pl.DataFrame()
        return operator.state.known("expired")

    def _past(self, node: Node) -> Past | None:
        if self._memory is None or not isinstance(node, Window):
            return None
        bounds = self._memory.plans.get(fingerprint(node))
        return None if bounds is None else Past(bounds, self._memory.before)

    def add(
        self,
        node: Node,
        seed: pl.DataFrame | None,
        *,
        began: datetime | None = None,
        max_open: int = MAX_OPEN,
    ) -> int:
        """Produce the frame of `node` from now on; returns its handle.

        An operator that runs already for another frame keeps its state: then the frame
        begins with what that operator knows (open windows, closed ones as far as kept, the
        newest late rows), and `seed`, `began` and `max_open` are not used for it.

        Args:
            node: the plan; row-wise steps, windows, `closed`, `late`.
            seed: rows (shown and hidden) that the source still keeps, in the order they were
                handed over; they run through at once. None if there have been none.
            began: event time the frame begins at; None if it reads from the first record.
            max_open: (window, key) pairs each window keeps open.

        Raises:
            TypeError: a step that is not run here (`errors`, `recompute`).
        """
        known = set(self._operators)
        frame = self._planned(node, began, max_open)
        fresh = [each for each in frame.path if id(each.node) not in known]
        rows = pl.DataFrame() if seed is None else seed
        parts = rows.get_column(PART).unique().to_list() if PART in rows.columns else []
        source = Batch(rows, self._holding | set(parts), self._ended)
        # Partitions in the seed hold while it runs: what was on time then must not be late now.
        if frame.problem is None:
            flow = Flow(source, fresh, self.version, self.watermark)
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
        self.version += 1
        self._holding = batch.holding
        self._ended = self._ended or batch.final
        self._move_watermark(batch)
        alive = {h: f for h, f in self._frames.items() if f.problem is None}
        operators = [each for each in self._operators.values() if each.error is None]
        flow = Flow(batch, operators, self.version, self.watermark)
        outcomes = flow.through(list(alive.values()))
        return {h: outcomes[f] for h, f in alive.items() if f in outcomes}

    def _planned(self, node: Node, began: datetime | None, max_open: int) -> Frame:
        """Where the frame's rows come from; operators that are not there yet are made."""
        origin, steps, path = SOURCE, list[RowWise](), list[Operator]()
        for each in chain(node)[1:]:
            if isinstance(each, RowWise):
                steps.append(each)
            elif isinstance(each, Window):
                operator = self._operators.get(id(each))
                if operator is None:
                    operator = self._operators[id(each)] = Operator(
                        each,
                        origin,
                        Chain(steps),
                        began,
                        max_open,
                        len(path),
                        self._committing,
                        self._past(each),
                        fingerprint(each) if self._committing else "",
                    )
                path.append(operator)
                origin, steps = Place(operator, "window"), []
            elif isinstance(each, (Closed, Late)):
                kind = "closed" if isinstance(each, Closed) else "late"
                origin = Place(origin.operator, kind)
            else:
                raise TypeError(f"{label(each)} does not run batch by batch")
        keyed = None
        if origin.operator is not None and origin.kind == "window":
            keyed = KeyedSteps(node, origin.operator.node.by, steps)
        return Frame(node, origin, Chain(steps), keyed, tuple(path))

    def _move_watermark(self, batch: Batch) -> None:
        if PART not in batch.rows.columns:
            return
        times = read_times(batch.rows, None, _MAX_AHEAD)
        parts = batch.rows.get_column(PART).to_numpy()
        self._watermark.advance(times.values, parts, times.good, batch.holding)
