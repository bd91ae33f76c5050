"""Steps that keep something per key, in a graph of their own; and plain Python's answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.plans.nodes import GroupBy, Node, Source, is_keyed
from tests.engine.lab import SECOND, table

SOURCE = Source("lab")
PARTS = (0, 1)
NEVER = -(2**62)


class One:
    """A graph with one plan, and all it put out."""

    def __init__(self, node: Node, **given: Any) -> None:
        self.node = node
        committing, memory = given.pop("committing", False), given.pop("memory", None)
        self.graph = Graph(committing=committing, memory=memory)
        self.handle = self.graph.add(node, given.pop("seed", None), **given)
        self.all: list[Outcome] = []
        first = self.graph.first_change(self.handle)
        if first is not None:
            self.all.append(first)

    def step(
        self,
        rows: pl.DataFrame,
        holding: Iterable[int] = (0,),
        *,
        final: bool = False,
        tombstones: pl.DataFrame | None = None,
    ) -> Outcome:
        batch = Batch(rows, frozenset(holding), final, tombstones=tombstones)
        outcome = self.graph.step(batch)[self.handle]
        assert outcome.error is None, outcome.error
        self.all.append(outcome)
        return outcome

    def lines(self) -> pl.DataFrame:
        """An append frame: all rows."""
        return pl.concat([outcome.change.added for outcome in self.all])

    def frame(self) -> pl.DataFrame:
        """A keyed frame as all its changes leave it, sorted by key."""
        key = list(is_keyed(self.node))
        frame = self.all[0].change.added.clear()
        for outcome in self.all:
            added, removed = outcome.change.added, outcome.change.removed
            assert not added.select(key).is_duplicated().any()
            both = pl.concat([frame, added])
            frame = both.unique(key, keep="last", maintain_order=True)
            if removed.height:
                assert removed.join(added, on=key, nulls_equal=True).is_empty()
                left = frame.join(removed, on=key, how="anti", nulls_equal=True)
                assert left.height == frame.height - removed.height
                frame = left
        return frame.sort(key)

    @property
    def counts(self) -> dict[str, int]:
        """All batches together."""
        names = self.all[0].counts._fields
        return {n: sum(getattr(o.counts, n) for o in self.all) for n in names}


class Clock:
    """The watermark row by row, as slowly as possible."""

    def __init__(self, holding: Iterable[int]) -> None:
        self.newest = dict.fromkeys(holding, NEVER)
        self.mark = NEVER

    def at(self, time: int | None, part: int, ahead: float = 0) -> bool:
        """Whether the row's time can be used; moves on if it can."""
        if time is None or ahead > 3600:
            return False
        if part in self.newest:
            self.newest[part] = max(self.newest[part], time)
        self.mark = max(self.mark, min(self.newest.values()))
        return True


def living(
    drawn: Sequence[dict[str, Any]], ttl: float, holding: Iterable[int] = PARTS
) -> tuple[dict[Any, list[int]], dict[str, int]]:
    """Per key that has not gone the places of its rows; and what became of all rows."""
    clock, span = Clock(holding), round(ttl * SECOND)
    rows: dict[Any, list[int]] = {}
    newest: dict[Any, int] = {}
    fates = {"passed": 0, "rejected": 0, "expired": 0}
    for place, row in enumerate(drawn):
        time = None if row["time"] is None else round(row["time"] * SECOND)
        good = clock.at(time, row["part"], row["ahead"])
        limit = clock.mark - span
        for key in [k for k, at in newest.items() if at <= limit]:
            del newest[key], rows[key]
        if not good or time is None:
            fates["rejected"] += 1
        elif time <= limit:
            fates["expired"] += 1
        else:
            fates["passed"] += 1
            rows.setdefault(row["k"], []).append(place)
            newest[row["k"]] = max(newest.get(row["k"], NEVER), time)
    return rows, fates


def firsts(
    drawn: Sequence[dict[str, Any]], within: float, holding: Iterable[int] = PARTS
) -> tuple[list[int], dict[str, int]]:
    """The places of the rows that pass `unique(within=)`; and what became of all rows."""
    clock, span = Clock(holding), round(within * SECOND)
    passed: list[int] = []
    times: dict[Any, list[int]] = {}
    fates = {"passed": 0, "filtered": 0, "rejected": 0, "expired": 0}
    for place, row in enumerate(drawn):
        time = None if row["time"] is None else round(row["time"] * SECOND)
        if not clock.at(time, row["part"], row["ahead"]) or time is None:
            fates["rejected"] += 1
        elif time < clock.mark - span:
            fates["expired"] += 1
        elif any(abs(time - other) < span for other in times.get(row["k"], ())):
            fates["filtered"] += 1
        else:
            fates["passed"] += 1
            times.setdefault(row["k"], []).append(time)
            passed.append(place)
    return passed, fates


def group(aggs: Iterable[pl.Expr], by: Sequence[str] = ("k",), **given: Any) -> GroupBy:
    return GroupBy(given.pop("parent", SOURCE), tuple(by), tuple(aggs), **given)


def newest(by: Sequence[str] = ("k",), **given: Any) -> GroupBy:
    """The compacted view."""
    return group([pl.all().last()], by, compacted=True, **given)


def tombstones(*keys: tuple[str, int]) -> pl.DataFrame:
    """(key, how many rows of the batch came before)."""
    return pl.DataFrame(keys, {"_key": pl.String, "__row": pl.Int64}, orient="row")


def rows_of(drawn: Sequence[dict[str, Any]], **dtypes: Any) -> pl.DataFrame:
    """Drawn rows as a batch; `ahead` is how far a row is ahead of its broker's timestamp."""
    stamps = [None if r["time"] is None else r["time"] - r["ahead"] for r in drawn]
    columns = {
        name: pl.Series([row[name] for row in drawn], dtype=dtype)
        for name, dtype in dtypes.items()
    }
    return table(
        [r["time"] for r in drawn], [r["part"] for r in drawn], stamps, **columns
    )
