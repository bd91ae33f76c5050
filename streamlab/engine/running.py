"""Expressions that look back over rows in order, batch by batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from streamlab.engine.faults import FAILURES, first_bad
from streamlab.engine.keys import plain
from streamlab.engine.lookback import (
    Commit,
    Counted,
    Given,
    LastResult,
    LastRows,
    Memory,
    evaluated,
)
from streamlab.engine.lookspan import LastDecayed, RecentRows
from streamlab.engine.outcome import Counts
from streamlab.engine.rowwise import KEEP, ROW, Chain, Result, numbered, without
from streamlab.engine.stage import Appending, Effect, Input
from streamlab.engine.watermark import FOREVER, NONE, Int64s, moment
from streamlab.engine.weights import Weighted
from streamlab.plans.looking_back import INPUT, Look, Program, program
from streamlab.plans.nodes import Filter, RowWise, Running, Select, WithColumns

_KEY = "__key"
_ENTRY_BYTES = 150  # a key in a dictionary, and its number


class RunningStage(Appending):
    """Functions that look back, each with its memory, and the row-wise rest of the step.

    Nothing is remembered of a batch on which anything fails.
    """

    needs = None

    def __init__(self, node: Running, schema: pl.Schema) -> None:
        """`schema`: shown columns of the rows that come in."""
        self.node = node
        self._program = program(node.exprs, schema)
        self._final = _final(node, self._program)
        self._memories: dict[str, Memory] = {}
        self._numbers: dict[str, dict[Hashable, int]] = {}
        self._types: dict[str, pl.DataType] = {}
        known = pl.DataFrame(schema=schema)
        for level in self._program.levels:
            for look in level:
                self._numbers.setdefault(look.key, {})
                dtypes = known.select(_named(look)).dtypes
                memory, result = _memory(look, dtypes)
                self._memories[look.name], self._types[look.name] = memory, result
                known = known.with_columns(pl.lit(None, result).alias(look.name))
        self._frontier: int | None = NONE

    @property
    def bytes(self) -> int:
        """Bytes held: what is remembered, and the keys."""
        keys = sum(len(each) for each in self._numbers.values())
        held = sum(each.bytes for each in self._memories.values())
        return held + keys * _ENTRY_BYTES

    @property
    def watermark(self) -> datetime | None:
        """How far the rows in order have come."""
        return None if self._frontier is None else moment(self._frontier)

    @property
    def frontier(self) -> int | None:
        """That of what comes in."""
        return self._frontier

    def take(self, inputs: tuple[Input | None, ...]) -> Effect | None:
        """Give new rows their columns."""
        given = inputs[0]
        if given is None:  # pragma: no cover - it runs only with known columns
            return None
        origin, result = given
        rows, error = numbered(result.rows), None
        try:
            done, commits = self._through(rows)
        except FAILURES as problem:
            bad = first_bad(rows.height, lambda n: self._through(rows.head(n)))
            if bad is None:
                raise
            error = given.fault(problem, self.node, bad)
            result = result._replace(rows=result.rows.head(bad), good=error.index or 0)
            done, commits = self._through(rows.head(bad))
        counts = _counts(result, done)
        for commit in commits:
            commit()
        self._frontier = FOREVER if origin.final else origin.frontier
        looks = [look.name for level in self._program.levels for look in level]
        return Effect(without(done.rows, (ROW, *looks)), counts, error=error)

    def _through(self, rows: pl.DataFrame) -> tuple[Result, list[Commit]]:
        """What becomes of rows, and what makes that remembered; changes nothing."""
        commits: list[Commit] = []
        for level in self._program.levels:
            found, after = self._level(level, rows)
            rows, commits = rows.hstack(found), commits + after
        return self._final.collect(rows), commits

    def _level(
        self, looks: Sequence[Look], rows: pl.DataFrame
    ) -> tuple[list[pl.Series], list[Commit]]:
        """The columns of looks that hang on none of each other."""
        exprs = [
            expr.alias(f"{look.name}{INPUT}{at}")
            for look in looks
            for at, expr in enumerate(look.inputs)
        ]
        keyed = {look.key: look.keys for look in looks if look.keys}
        for number, keys in enumerate(keyed.values()):
            exprs += [e.alias(f"{_KEY}{number}_{at}") for at, e in enumerate(keys)]
        chain = Chain((WithColumns(self.node.parent, tuple(exprs)),))
        ready = chain.collect(rows).rows
        slots = {
            key: self._slots(key, _columns(ready, f"{_KEY}{number}_"))
            for number, key in enumerate(keyed)
        }
        found, commits = [], []
        for look in looks:
            given = Given(
                _columns(ready, f"{look.name}{INPUT}", INPUT),
                slots.get(look.key),
                max(1, len(self._numbers[look.key])),
            )
            column, commit = self._memories[look.name].step(given)
            found.append(column.cast(self._types[look.name]).alias(look.name))
            commits.append(commit)
        return found, commits

    def _slots(self, key: str, columns: pl.DataFrame) -> Int64s:
        """The number of each row's key; new keys are given theirs."""
        if not columns.height:
            return np.zeros(0, np.int64)
        at = pl.Series("__at", np.arange(columns.height))
        groups = columns.with_columns(at).group_by(columns.columns).agg("__at")
        distinct = plain(groups[columns.columns], groups.height)
        numbers = self._numbers[key]
        mine = np.array([numbers.setdefault(each, len(numbers)) for each in distinct])
        lists = groups.get_column("__at")
        slots = np.empty(columns.height, np.int64)
        slots[lists.explode().to_numpy()] = np.repeat(mine, lists.list.len().to_numpy())
        return slots


def _columns(rows: pl.DataFrame, prefix: str, name: str = "") -> pl.DataFrame:
    found = [column for column in rows.get_columns() if column.name.startswith(prefix)]
    return pl.DataFrame([c.alias(f"{name}{at}") for at, c in enumerate(found)])


def _named(look: Look) -> list[pl.Expr]:
    return [expr.alias(f"{INPUT}{at}") for at, expr in enumerate(look.inputs)]


def _memory(look: Look, dtypes: Sequence[pl.DataType]) -> tuple[Memory, pl.DataType]:
    """What a look remembers, and the type of its column."""
    result = _result(look, dtypes)
    memory = look.memory
    made: Memory
    match memory.kind:
        case "rows":
            made = LastRows(look, dtypes)
        case "carry":
            made = LastResult(look, result, timed=False)
        case "count":
            made = Counted(look)
        case "decay":
            made = LastDecayed(look, result)
        case _ if memory.span is not None:
            made = RecentRows(look, memory.span)
        case _ if memory.options is not None:
            made = Weighted(memory.options, result)
        case _:  # pragma: no cover - its rule gives it what it needs
            raise TypeError(memory)
    return made, result


def _result(look: Look, dtypes: Sequence[pl.DataType]) -> pl.DataType:
    """The type of a look's column once there are rows; polars may say another without any."""
    by = [0, 1] if look.memory.kind in {"span", "decay"} else [None, None]
    values = [[None, None], *([by] * (len(dtypes) - 1))]
    columns = [
        pl.Series(f"{INPUT}{at}", each).cast(dtype)
        for at, (each, dtype) in enumerate(zip(values, dtypes, strict=True))
    ]
    try:
        return evaluated(look.call, pl.DataFrame(columns), None).dtype
    except pl.exceptions.PolarsError:  # for nulls it has no answer
        return evaluated(look.call, pl.DataFrame(columns).clear(), None).dtype


def _final(node: Running, parts: Program) -> Chain:
    """The row-wise rest of the step."""
    step: RowWise
    match node.verb:
        case "filter":
            step = Filter(node.parent, parts.exprs)
        case "select":
            step = Select(node.parent, parts.exprs)
        case _:
            step = WithColumns(node.parent, parts.exprs)
    looks = [look.name for level in parts.levels for look in level]
    return Chain((step,), (*KEEP, *looks))


def _counts(result: Result, done: Result) -> Counts:
    """Of the records: what the steps before held back, and what this one did."""
    places = result.rows.get_column(ROW)
    if not result.multiplies:
        held = result.filtered + done.filtered
        return Counts(result.good, done.passed, held)
    left = places.gather(done.rows.get_column(ROW)).n_unique()
    there = places.n_unique()
    return Counts(result.good, left, result.filtered + there - left)
