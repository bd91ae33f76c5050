"""An operator in its place in the graph: made at its first rows, stopped by failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from streamlab.engine.engines import engine
from streamlab.engine.faults import FAILURES, PlanError, failure, first_bad
from streamlab.engine.groups import GroupStage
from streamlab.engine.making import stage_of
from streamlab.engine.outcome import Batch
from streamlab.engine.rowwise import ROW, Chain
from streamlab.engine.stage import (
    Aggregating,
    Direct,
    Effect,
    Input,
    Setting,
    Takes,
)
from streamlab.plans.nodes import Stateful

OWN = 0  # the graph's own source; others go by the id of the plan they stand for


class Place(NamedTuple):
    """Where rows come from: a source, or one of an operator's outputs.

    Attributes:
        operator: None for a source.
        kind: "rows", "closed" or "late".
        source: which one, if it is a source.
    """

    operator: Operator | None
    kind: str = "rows"
    source: int = OWN


@dataclass(slots=True, eq=False)
class Operator:
    """One stateful node of the plans on a source; frames that name the same node share it.

    Attributes:
        node: the step.
        origins: where its rows come from, a place a side.
        chains: row-wise steps on the way, likewise.
        setting: for its state.
        depth: operators above it.
        mark: the plan's fingerprint; "" unless somebody commits.
        error: why it stopped, or None.
        effect: what the last batch did, or None.
        state: None before the first rows told their schema.
        finished: whether nothing more comes in.
        holding: partitions that hold the watermark back, of the last batch.
    """

    node: Stateful
    origins: tuple[Place, ...]
    chains: tuple[Chain, ...]
    setting: Setting
    depth: int
    mark: str = ""
    error: PlanError | None = None
    effect: Effect | None = None
    state: Aggregating | Direct | None = None
    finished: bool = False
    holding: frozenset[int] = frozenset({0})
    sources: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        """Which sources can reach it."""
        for place in self.origins:
            mine = {place.source} if place.operator is None else place.operator.sources
            self.sources |= mine

    @property
    def bytes(self) -> int:
        """Bytes of state held."""
        return 0 if self.state is None else self.state.bytes

    @property
    def holds(self) -> str:
        """What its state is of ("1,200 keys"); "" if it doesn't tell."""
        return str(getattr(self.state, "holds", ""))

    def allow(self, max_open: int) -> None:
        """A frame wants so many keys kept; the most that any wants counts."""
        self.setting = self.setting._replace(max_open=max_open)
        if isinstance(self.state, GroupStage):
            self.state.max_open = max_open

    def output(self, kind: str) -> Batch:
        """What the last batch put out, as a batch for the next steps."""
        if self.effect is None:
            return self._batch(pl.DataFrame(), kind)
        outputs = {
            "rows": self.effect.rows,
            "closed": self.effect.closed,
            "late": self.effect.late,
        }
        rows = outputs[kind]
        return self._batch(pl.DataFrame() if rows is None else rows, kind)

    def known(self, kind: str, kept: pl.DataFrame) -> Batch:
        """What a frame made only now begins with.

        Args:
            kind: of output.
            kept: what the frame of the same plan keeps.
        """
        rows = pl.DataFrame() if self.state is None else self.state.known(kind)
        return self._batch(kept if rows is None else rows, kind)

    def _batch(self, rows: pl.DataFrame, kind: str) -> Batch:
        frontier = None
        if kind == "rows" and self.state is not None:
            frontier = self.state.frontier
        # Windows that close are rows of one partition; other rows keep theirs, and partitions
        # of which none came out hold as well.
        holding = frozenset({0}) if kind == "closed" else self.holding
        return Batch(rows, holding, self.finished, frontier)


class Work(NamedTuple):
    """A batch on its way through an operator: an input a side, None without known columns."""

    operator: Operator
    inputs: tuple[Input | None, ...]


def process(works: Sequence[Work]) -> None:
    """Run each operator on its rows; those that aggregate do so in one `collect_all`.

    What it did is in `effect`; an operator that fails takes the rows before the one at fault
    and stops, with `error`.
    """
    aggregating: list[tuple[Work, Aggregating]] = []
    for work in works:
        operator = work.operator
        operator.effect = None
        there = [each for each in work.inputs if each is not None]
        operator.error = next((i.result.error for i in there if i.result.error), None)
        operator.holding = frozenset().union(*(i.origin.holding for i in there))
        operator.finished = len(there) == len(work.inputs) and all(
            each.origin.final for each in there
        )
        try:
            if operator.state is None:
                rows = [None if i is None else i.result.rows for i in work.inputs]
                operator.state = stage_of(operator.node, tuple(rows), operator.setting)
            state = operator.state
            if isinstance(state, Takes):
                effect = operator.effect = state.take(work.inputs)
                stopped = None if effect is None else effect.error
                operator.error = operator.error or stopped
            else:
                aggregating.append((work, state))
        except FAILURES as error:  # becomes this frame's error
            operator.error = operator.error or PlanError(error, operator.node)
    _aggregate(aggregating)


def _aggregate(works: Sequence[tuple[Work, Aggregating]]) -> None:
    judged = [found for work, state in works if (found := _judged(work, state))]
    rows = max((each.verdict.taken.height for each in judged), default=0)
    queries = [each.query for each in judged]
    try:
        groups = pl.collect_all(queries, engine=engine(rows)) if queries else []
    except FAILURES:  # found again, and reported, by the operator it belongs to
        for each in judged:
            _alone(each)
    else:
        for each, group in zip(judged, groups, strict=True):
            _commit(each, group)


class _Judged(NamedTuple):
    """A batch that an aggregating stage has judged."""

    operator: Operator
    state: Aggregating
    given: Input
    verdict: Any
    query: pl.LazyFrame


def _judged(work: Work, state: Aggregating) -> _Judged | None:
    (given,) = work.inputs
    if given is None:  # pragma: no cover - it runs only with known columns
        return None
    operator = work.operator
    try:
        verdict = state.judge(given.origin, given.result)
        return _Judged(operator, state, given, verdict, state.query(verdict))
    except FAILURES as error:  # becomes this frame's error
        operator.error = operator.error or PlanError(error, operator.node)
        return None


def _alone(judged: _Judged) -> None:
    """Aggregate one operator's rows by themselves; on failure those before the bad one."""
    operator, state, given, verdict, _ = judged
    taken = verdict.taken

    def attempt(count: int) -> pl.DataFrame:
        return state.query(verdict._replace(taken=taken.head(count))).collect()

    problem = failure(attempt, taken.height)
    if problem is None:
        _commit(judged, attempt(taken.height))
        return
    bad = first_bad(taken.height, attempt)
    if bad is None:
        operator.error = PlanError(problem, operator.node)
        return
    row = int(taken.get_column(ROW)[bad])
    record = given.origin.rows.slice(row, 1).drop(ROW)
    operator.error = PlanError(problem, operator.node, record, row)
    good = operator.chains[0].collect(given.origin.rows.head(row))
    verdict = state.judge(given.origin, good)
    _commit(judged._replace(verdict=verdict), state.query(verdict).collect())


def _commit(judged: _Judged, groups: pl.DataFrame) -> None:
    operator = judged.operator
    try:
        operator.effect = judged.state.commit(judged.verdict, groups)
    except FAILURES as error:  # becomes this frame's error
        operator.error = PlanError(error, operator.node)
