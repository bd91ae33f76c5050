"""One micro-batch on its way through frames and operators, level by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from streamlab.changes import Change
from streamlab.engine.faults import PlanError
from streamlab.engine.keyed import KeyedSteps, Revision
from streamlab.engine.operator import Operator, Place, Work, process
from streamlab.engine.outcome import Batch, Counts, Outcome
from streamlab.engine.rowwise import ROW, Chain, Result, numbered, run, without
from streamlab.engine.stage import Input
from streamlab.plans.nodes import Node

SOURCE = Place(None)


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
    def depth(self) -> int:
        """Operators above it."""
        operator = self.origin.operator
        return 0 if operator is None else operator.depth + 1

    @property
    def sources(self) -> frozenset[int]:
        """Which sources can reach it."""
        operator = self.origin.operator
        return frozenset({self.origin.source}) if operator is None else operator.sources

    @property
    def chain(self) -> Chain:
        """What runs on the rows of its origin."""
        return self.keyed.chain if self.keyed else self.steps


@dataclass(slots=True)
class Flow:
    """A run: which rows are at which place.

    Attributes:
        sources: each source's batch, by its number.
        running: operators that take part; others only tell what they know.
        version, watermark: of the changes of frames that hang on no operator.
        kept: what the frame of a plan keeps, for operators that only tell; None if those have
            nothing to tell just now.
        placed: gives late rows the broker's own words for where they stand.
    """

    sources: Mapping[int, Batch]
    running: Sequence[Operator]
    version: int
    watermark: datetime | None
    kept: Callable[[Node], pl.DataFrame] | None = None
    placed: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows

    def through(self, frames: Sequence[Frame]) -> dict[Frame, Outcome]:
        """Run everything; what it did to each frame whose columns are known by now."""
        outcomes: dict[Frame, Outcome] = {}
        depths = [frame.depth for frame in frames]
        depths += [each.depth for each in self.running]
        for depth in range(max(depths, default=0) + 1):
            here = [frame for frame in frames if frame.depth == depth]
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
        places = {frame.origin for frame in frames}
        places |= {place for each in operators for place in each.origins}
        batches = {place: self._batch(place) for place in places}
        there = {place for place, batch in batches.items() if batch.rows.width}
        frames = [each for each in frames if each.origin in there]
        operators = [each for each in operators if there.intersection(each.origins)]
        pairs = [
            (place, chain)
            for each in operators
            for place, chain in zip(each.origins, each.chains, strict=True)
            if place in there
        ]
        chains = [frame.chain for frame in frames] + [chain for _, chain in pairs]
        inputs = [_input(frame, batches[frame.origin].rows) for frame in frames]
        inputs += [batches[place].rows for place, _ in pairs]
        results = run(chains, inputs)
        outcomes = {
            frame: self._outcome(frame, batches[frame.origin], result)
            for frame, result in zip(frames, results, strict=False)
        }
        rest = iter(results[len(frames) :])
        works = [
            Work(
                each,
                tuple(
                    Input(batches[place], next(rest)) if place in there else None
                    for place in each.origins
                ),
            )
            for each in operators
        ]
        process(works)
        return outcomes

    def _batch(self, place: Place) -> Batch:
        """The rows at a place, numbered."""
        operator = place.operator
        if operator is None:
            nothing = Batch(pl.DataFrame(), frozenset())
            batch = self.sources.get(place.source, nothing)
        elif operator in self.running:
            batch = operator.output(place.kind)
        elif self.kept is None:  # a batch of another source
            return Batch(pl.DataFrame(), frozenset())
        else:
            batch = operator.known(place.kind, self.kept(operator.node))
        if not batch.rows.width:
            return batch
        rows = self.placed(batch.rows) if place.kind == "late" else batch.rows
        return batch._replace(rows=numbered(rows), known={})

    def _outcome(self, frame: Frame, batch: Batch, result: Result) -> Outcome:
        came = batch.rows
        frame.error = result.error
        operator = frame.origin.operator
        watermark = self.watermark
        if operator is not None and operator.state is not None:
            watermark = operator.state.watermark
        added, removed = without(result.rows, (ROW,)), pl.DataFrame()
        hidden_key: tuple[str, ...] = ()
        if frame.keyed is not None:
            try:
                revision = self._revised(frame.keyed, operator, came, result)
            except PlanError as error:
                frame.error = error
                added = came.clear().drop(ROW)
            else:
                added, removed, hidden_key = revision
        outcome = Outcome(
            Change(added, removed, 0, self.version, watermark),
            Counts(result.good, result.passed, result.filtered),
            sum(each.bytes for each in frame.path),
            frame.problem,
            hidden_key=hidden_key,
            frontier=batch.frontier,
            final=batch.final,
        )
        return outcome if frame.steps.steps else self._of_operator(outcome, frame)

    def _revised(
        self,
        keyed: KeyedSteps,
        operator: Operator | None,
        came: pl.DataFrame,
        result: Result,
    ) -> Revision:
        state = None if operator is None else operator.state
        effect = operator.effect if operator in self.running and operator else None
        gone = None if effect is None else effect.removed
        return keyed.revise(
            result,
            came,
            gone,
            lambda start: state is not None and state.is_open(start),
        )

    def _of_operator(self, outcome: Outcome, frame: Frame) -> Outcome:
        """The outcome of an operator's own frame, its `closed` or its `late`: its counts."""
        operator = frame.origin.operator
        if operator is None:
            return outcome
        effect = operator.effect if operator in self.running else None
        if effect is None:
            return outcome._replace(counts=Counts())
        outcome = outcome._replace(counts=effect.counts)
        if frame.origin.kind != "rows":
            return outcome
        return outcome._replace(
            rejected=effect.rejected,
            evicted=effect.evicted,
            tombstones=effect.tombstones,
        )


def _input(frame: Frame, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if frame.keyed is None else frame.keyed.prepare(rows)
