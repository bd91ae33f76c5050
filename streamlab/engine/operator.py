"""A window operator in its place in the graph: made at its first rows, stopped by failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import polars as pl

from streamlab.changes import PART
from streamlab.engine.engines import engine
from streamlab.engine.faults import PlanError, failure, first_bad
from streamlab.engine.needs import Past
from streamlab.engine.outcome import Batch
from streamlab.engine.rowwise import KEEP, ROW, Chain, Result
from streamlab.engine.verdict import Judged
from streamlab.engine.window import Effect, WindowOperator
from streamlab.plans.nodes import Window


class Place(NamedTuple):
    """Where rows come from: the source (operator None), or one of an operator's outputs."""

    operator: Operator | None
    kind: str


@dataclass(slots=True, eq=False)
class Operator:
    """One `Window` node of the plans on a source; frames that name the same node share it.

    Attributes:
        node: the window.
        origin: where its rows come from.
        chain: row-wise steps on the way.
        began, max_open: see `WindowOperator`.
        depth: operators above it.
        committing, past: see `WindowOperator`.
        mark: the plan's fingerprint; "" unless committing.
        error: why it stopped, or None.
        effect: what the last batch did, or None.
        state: None before the first rows told their schema.
    """

    node: Window
    origin: Place
    chain: Chain
    began: datetime | None
    max_open: int
    depth: int
    committing: bool = False
    past: Past | None = None
    mark: str = ""
    error: PlanError | None = None
    effect: Effect | None = None
    state: WindowOperator | None = None

    @property
    def bytes(self) -> int:
        """Bytes of state held."""
        return 0 if self.state is None else self.state.bytes

    def output(self, kind: str, *, final: bool) -> Batch:
        """What the last batch put out, as a batch for the next steps."""
        if self.effect is None:
            return self._batch(pl.DataFrame(), final=final)
        frames = {
            "window": self.effect.changed,
            "closed": self.effect.closed,
            "late": self.effect.late,
        }
        return self._batch(frames[kind], final=final)

    def known(self, kind: str, *, final: bool) -> Batch:
        """What a frame made only now begins with."""
        rows = pl.DataFrame() if self.state is None else self.state.known(kind)
        return self._batch(rows, final=final)

    def made(self, rows: pl.DataFrame) -> WindowOperator:
        """Its state, made for rows like these if there is none."""
        if self.state is None:
            shown = pl.Schema({n: t for n, t in rows.schema.items() if n not in KEEP})
            self.state = WindowOperator(
                self.node,
                shown,
                began=self.began,
                max_open=self.max_open,
                committing=self.committing,
                past=self.past,
            )
        return self.state

    def _batch(self, rows: pl.DataFrame, *, final: bool) -> Batch:
        parts = rows.get_column(PART).unique().to_list() if PART in rows.columns else []
        return Batch(rows, frozenset(parts) or frozenset({0}), final)


class Work(NamedTuple):
    """A batch on its way through an operator."""

    operator: Operator
    origin: Batch
    result: Result


def process(works: Sequence[Work]) -> None:
    """Run each operator on its rows; all aggregate in one `collect_all`.

    What it did is in `effect`; an operator that fails takes the rows before the one at fault
    and stops, with `error`.
    """
    queries: list[pl.LazyFrame] = []
    waiting: list[tuple[Work, Judged]] = []
    for work in works:
        operator, result = work.operator, work.result
        operator.effect = None
        operator.error = result.error
        try:
            state = operator.made(result.rows)
            judged = state.judge(work.origin, result)
            queries.append(state.query(judged))
        except Exception as error:  # noqa: BLE001 - becomes this frame's error
            operator.error = operator.error or PlanError(error, operator.node)
        else:
            waiting.append((work, judged))
    try:
        rows = max((judged.taken.height for _, judged in waiting), default=0)
        groups = pl.collect_all(queries, engine=engine(rows)) if queries else []
    except Exception:  # noqa: BLE001 - found again, and reported, by the operator it belongs to
        for work, judged in waiting:
            _alone(work, judged)
    else:
        for (work, judged), group in zip(waiting, groups, strict=True):
            _commit(work.operator, judged, group)


def _alone(work: Work, judged: Judged) -> None:
    """Aggregate one operator's rows by themselves; on failure those before the bad one."""
    operator, taken = work.operator, judged.taken
    state = operator.made(work.result.rows)

    def attempt(count: int) -> pl.DataFrame:
        return state.query(judged._replace(taken=taken.head(count))).collect()

    problem = failure(attempt, taken.height)
    if problem is None:
        _commit(operator, judged, attempt(taken.height))
        return
    bad = first_bad(taken.height, attempt)
    if bad is None:
        operator.error = PlanError(problem, operator.node)
        return
    row = int(taken.get_column(ROW)[bad])
    record = work.origin.rows.slice(row, 1).drop(ROW)
    operator.error = PlanError(problem, operator.node, record, row)
    judged = state.judge(
        work.origin, operator.chain.collect(work.origin.rows.head(row))
    )
    _commit(operator, judged, state.query(judged).collect())


def _commit(operator: Operator, judged: Judged, groups: pl.DataFrame) -> None:
    if operator.state is None:  # pragma: no cover - judging has made it
        return
    try:
        operator.effect = operator.state.commit(judged, groups)
    except Exception as error:  # noqa: BLE001 - becomes this frame's error
        operator.error = PlanError(error, operator.node)
