"""One micro-batch on its way through frames and operators, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from streamlab.changes import Change
from streamlab.engine.faults import PlanError
from streamlab.engine.keyed import KeyedSteps
from streamlab.engine.operator import Operator, Place, Work, process
from streamlab.engine.outcome import Batch, Counts, Outcome
from streamlab.engine.rowwise import ROW, Chain, Result, numbered, run, without
from streamlab.plans.nodes import Node

SOURCE = Place(None, "rows")


@dataclass(slots=True, eq=False)
class Frame:
    """A frame that must be produced.

    Attributes:
        node: its plan.
        origin: where its rows come from.
        steps: row-wise steps from there.
        keyed: the same over revised rows; None for an append frame.
        path: operators it hangs on, the source's side first.
        error: its own failure, or None.
        first: what it began with.
    """

    node: Node
    origin: Place
    steps: Chain
    keyed: KeyedSteps | None
    path: tuple[Operator, ...]
    error: PlanError | None = None
    first: Outcome | None = None

    @property
    def problem(self) -> PlanError | None:
        """Its own failure, or that of an operator it hangs on."""
        failed = (each.error for each in self.path if each.error is not None)
        return self.error or next(failed, None)

    @property
    def chain(self) -> Chain:
        """What runs on the rows of its origin."""
        return self.keyed.chain if self.keyed else self.steps


@dataclass(slots=True)
class Flow:
    """A run: which rows are at which place.

    Attributes:
        source: the source's batch.
        running: operators that take part; others only tell what they know.
        version, watermark: of the changes of frames that hang on no window.
    """

    source: Batch
    running: Sequence[Operator]
    version: int
    watermark: datetime | None

    def through(self, frames: Sequence[Frame]) -> dict[Frame, Outcome]:
        """Run everything; what it did to each frame whose columns are known by now."""
        outcomes: dict[Frame, Outcome] = {}
        deepest = max((len(frame.path) for frame in frames), default=0)
        for depth in range(deepest + 1):
            here = [frame for frame in frames if len(frame.path) == depth]
            below = [each for each in self.running if each.depth == depth]
            outcomes |= self._level(here, below)
        for frame in frames:
            if frame not in outcomes and frame.problem is not None:
                nothing = Change(pl.DataFrame(), pl.DataFrame(), 0, self.version, None)
                outcomes[frame] = Outcome(nothing, Counts(), error=frame.problem)
        return outcomes

    def _level(
        self, frames: Sequence[Frame], operators: Sequence[Operator]
    ) -> dict[Frame, Outcome]:
        everything: list[Frame | Operator] = [*frames, *operators]
        places = {each.origin for each in everything}
        batches = {place: self._batch(place) for place in places}
        there = {place for place, batch in batches.items() if batch.rows.width}
        frames = [each for each in frames if each.origin in there]
        operators = [each for each in operators if each.origin in there]
        everything = [*frames, *operators]
        inputs = [_input(each, batches[each.origin].rows) for each in everything]
        results = run([each.chain for each in everything], inputs)
        outcomes = {
            frame: self._outcome(frame, batches[frame.origin].rows, result)
            for frame, result in zip(frames, results, strict=False)
        }
        pairs = zip(operators, results[len(frames) :], strict=True)
        process([Work(each, batches[each.origin], result) for each, result in pairs])
        return outcomes

    def _batch(self, place: Place) -> Batch:
        """The rows at a place, numbered."""
        operator, final = place.operator, self.source.final
        if operator is None:
            batch = self.source
        elif operator in self.running:
            batch = operator.output(place.kind, final=final)
        else:
            batch = operator.known(place.kind, final=final)
        if not batch.rows.width:
            return batch
        return batch._replace(rows=numbered(batch.rows))

    def _outcome(self, frame: Frame, came: pl.DataFrame, result: Result) -> Outcome:
        frame.error = result.error
        operator = frame.origin.operator
        watermark = self.watermark
        if operator is not None and operator.state is not None:
            watermark = operator.state.watermark
        added, removed = without(result.rows, (ROW,)), pl.DataFrame()
        hidden_key: tuple[str, ...] = ()
        if frame.keyed is not None:
            try:
                added, removed, hidden_key = self._revised(
                    frame.keyed, operator, came, result
                )
            except PlanError as error:
                frame.error = error
                added = came.clear().drop(ROW)
        outcome = Outcome(
            Change(added, removed, 0, self.version, watermark),
            Counts(result.good, result.passed, result.filtered),
            sum(each.bytes for each in frame.path),
            frame.problem,
            hidden_key=hidden_key,
        )
        return outcome if frame.steps.steps else self._of_window(outcome, frame)

    @staticmethod
    def _revised(
        keyed: KeyedSteps, operator: Operator | None, came: pl.DataFrame, result: Result
    ) -> tuple[pl.DataFrame, pl.DataFrame, tuple[str, ...]]:
        state = None if operator is None else operator.state
        return keyed.revise(
            result, came, lambda start: state is not None and state.is_open(start)
        )

    def _of_window(self, outcome: Outcome, frame: Frame) -> Outcome:
        """The outcome of a window itself, its `closed` or its `late`: the window's counts."""
        operator = frame.origin.operator
        if operator is None:
            return outcome
        effect = operator.effect if operator in self.running else None
        if effect is None:
            return outcome._replace(counts=Counts())
        outcome = outcome._replace(counts=effect.counts)
        if frame.keyed is None:
            return outcome
        return outcome._replace(rejected=effect.rejected, evicted=effect.evicted)


def _input(each: Frame | Operator, rows: pl.DataFrame) -> pl.DataFrame:
    keyed = each.keyed if isinstance(each, Frame) else None
    return rows if keyed is None else keyed.prepare(rows)
