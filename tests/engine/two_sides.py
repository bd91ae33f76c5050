"""Two frames in order, handed to a graph piece by piece, for the tests of joins and merges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from streamlab import parity
from streamlab.changes import HIDDEN, TIME
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.plans.nodes import Join, Merge, Source
from tests.engine.lab import SECOND, seconds, table

FOREVER = int(np.iinfo(np.int64).max)
LEFT, RIGHT = Source("trades"), Source("quotes")


def join(kind: Any, tolerance: float, by: Sequence[str] = (), **given: Any) -> Join:
    pairs = tuple((name, name) for name in by)
    given = {"how": "inner" if kind == "within" else "left"} | given
    return Join(LEFT, RIGHT, kind, pairs, seconds(tolerance), **given)


def rows(times: Sequence[float], parts: Any = 0, **columns: Any) -> pl.DataFrame:
    """Rows as a step in order puts them out."""
    made = table(times, parts, **columns)
    return made.sort("__time", "__part", "__stamp", "__seq")


@dataclass(eq=False)
class Two:
    """A graph with one join or merge of two sources, and all it put out."""

    node: Join | Merge
    given: list[list[pl.DataFrame]] = field(default_factory=lambda: [[], []])
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.graph = Graph()
        self.handle = self.graph.add(self.node, None)

    def left(
        self, came: pl.DataFrame, front: float, *, final: bool = False
    ) -> pl.DataFrame:
        return self._step(0, came, front, final=final)

    def right(
        self, came: pl.DataFrame, front: float, *, final: bool = False
    ) -> pl.DataFrame:
        return self._step(1, came, front, final=final)

    def _step(
        self, side: int, came: pl.DataFrame, front: float, *, final: bool
    ) -> pl.DataFrame:
        self.given[side].append(came)
        at = FOREVER if final else round(front * SECOND)
        batch = Batch(came, frozenset({0}), final, at)
        if side:
            done = self.graph.step_other(self.node.other, batch)
        else:
            done = self.graph.step(batch)
        outcome = done.get(self.handle)
        if outcome is None:
            return pl.DataFrame()
        assert outcome.error is None, outcome.error
        self.outcomes.append(outcome)
        return outcome.change.added

    def frame(self) -> pl.DataFrame:
        """All there is, in the order in which it came."""
        return pl.concat([each.change.added for each in self.outcomes])

    def expected(self) -> pl.DataFrame:
        """The batch answer over all that was given."""
        whole = [pl.concat(each) for each in self.given]
        found = parity.evaluate(self.node, {LEFT: whole[0], RIGHT: whole[1]})
        return found.frame

    def counts(self) -> list[int]:
        """received, passed, filtered, rejected, late, expired."""
        return [
            sum(each) for each in zip(*(o.counts for o in self.outcomes), strict=True)
        ]


def shown(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop(HIDDEN)


@dataclass(frozen=True)
class Cut:
    """A side in pieces, each with how far the side is after it."""

    pieces: list[tuple[pl.DataFrame, float]]


def pieces(whole: pl.DataFrame, lengths: Sequence[int], front: str) -> Cut:
    """`whole` in pieces; the frontier is the "next" row's time, or the "last" one's."""
    times = [each / SECOND for each in whole[TIME].to_physical().to_list()]
    found = []
    at = 0
    for length in [*lengths, whole.height]:
        end = min(at + length, whole.height)
        after = times[end] if end < len(times) else 1e6
        last = times[end - 1] if end else -1.0
        found.append(
            (whole.slice(at, end - at), min(last, after) if front == "last" else after)
        )
        at = end
    return Cut(found)


def sides() -> st.SearchStrategy[tuple[list[float], list[str | None], list[int]]]:
    """Times, keys and partitions of a side's rows."""
    one = st.tuples(
        st.integers(0, 12).map(lambda n: n / 2),
        st.sampled_from(["a", "b", None]),
        st.integers(0, 1),
    )
    return st.lists(one, max_size=14).map(
        lambda each: (
            [time for time, _, _ in each],
            [key for _, key, _ in each],
            [part for _, _, part in each],
        )
    )


def side(drawn: Any) -> pl.DataFrame:
    """The rows of what `sides` has drawn."""
    times, keys, parts = drawn
    numbers = pl.Series(list(range(len(times))), dtype=pl.Int64)
    return rows(times, parts, k=pl.Series(keys, dtype=pl.String), x=numbers)


def run(two: Two, left: Cut, right: Cut, turns: Sequence[bool]) -> None:
    """Hand both sides over in turns, then end both."""
    waiting = [list(left.pieces), list(right.pieces)]
    steps = [two.left, two.right]
    for turn in turns:
        side = int(turn)
        if waiting[side]:
            piece, front = waiting[side].pop(0)
            steps[side](piece, front)
    for side in (0, 1):
        for piece, front in waiting[side]:
            steps[side](piece, front)
    for side, cut in enumerate((left, right)):
        blank = cut.pieces[0][0].clear()
        steps[side](blank, 0, final=True)
