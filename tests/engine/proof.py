"""Any plan over any rows, cut anywhere: what the engine's frames come to, beside the batch answer.

The engine is given the micro-batches one by one, as a source would; the batch answer is
`streamlab.parity`'s, which shares no code with it. What a step left out (`.late`) is left out there
too, and everything else must be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from streamlab import parity
from streamlab.changes import HIDDEN
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.parity.compare import Difference
from streamlab.plans.nodes import (
    Node,
    Window,
    chain,
    is_keyed,
    others,
)
from tests.engine.lab import cut


@dataclass
class Ran:
    """What a plan came to.

    Attributes:
        node: the plan.
        frame: the frame as all its changes leave it; an append frame's rows in order.
        late: what each step left out.
        reached: how far each step is that puts rows out in order.
        outcomes: of every micro-batch.
    """

    node: Node
    frame: pl.DataFrame
    late: Mapping[Node, pl.DataFrame]
    reached: Mapping[Node, int]
    outcomes: Sequence[Outcome] = field(repr=False)


class Bench:
    """A plan in a graph, and what it has put out."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.graph = Graph()
        self.handle = self.graph.add(node, None)
        self.outcomes: list[Outcome] = []
        self.kept = Kept(is_keyed(node))

    def feed(
        self, rows: pl.DataFrame, holding: Iterable[int], *, final: bool = False
    ) -> None:
        """A micro-batch of the source."""
        self.take(self.graph.step(Batch(rows, frozenset(holding), final)))

    def take(self, outcomes: Mapping[int, Outcome]) -> None:
        """What a micro-batch did."""
        outcome = outcomes.get(self.handle)
        if outcome is None:
            return
        if outcome.error is not None:
            raise outcome.error
        self.outcomes.append(outcome)
        self.kept.take(outcome)

    def ran(self) -> Ran:
        """All of it so far."""
        standing = {step: self.graph.standing(step) for step in steps(self.node)}
        late = {s: each.late for s, each in standing.items() if each.late is not None}
        reached = {
            s: each.reached for s, each in standing.items() if each.reached is not None
        }
        some = {s: rows for s, rows in late.items() if rows.height}
        return Ran(self.node, self.kept.frame(), some, reached, self.outcomes)


class Kept:
    """A frame as its changes leave it: by key, or one row after another."""

    def __init__(self, key: tuple[str, ...]) -> None:
        self._key = list(key)
        self._rows: list[pl.DataFrame] = []

    def take(self, outcome: Outcome) -> None:
        """Apply a change; its keys must be distinct."""
        added, removed = outcome.change.added, outcome.change.removed
        if not self._key:
            self._rows.append(added)
            return
        assert not added.select(self._key).is_duplicated().any(), added
        rows = pl.concat(self._rows) if self._rows else added.clear()
        for gone in (added, removed):
            if gone.height:
                keys = gone.select(self._key)
                rows = rows.join(keys, on=self._key, how="anti", nulls_equal=True)
        self._rows = [rows, added]

    def frame(self) -> pl.DataFrame:
        """The rows there are; no columns if none are known."""
        return pl.concat(self._rows) if self._rows else pl.DataFrame()


def steps(node: Node) -> Iterator[Node]:
    """The steps of a plan, those on its other sides included."""
    yield from chain(node)
    for top in others(node):
        yield from chain(top)


def run(
    node: Node,
    rows: pl.DataFrame,
    lengths: Sequence[int] = (),
    holding: Sequence[Iterable[int]] | None = None,
    *,
    final: bool = True,
) -> Ran:
    """Feed `rows` in pieces of these lengths (and the rest), then the end.

    Args:
        node: the plan; of one source.
        rows: shown and hidden columns.
        lengths: of the pieces.
        holding: partitions that hold the watermark, a piece; by default all there are.
        final: whether the input has an end, so that every window closes.
    """
    bench = Bench(node)
    parts = rows.get_column("__part").unique().to_list()
    pieces = cut(rows, lengths)
    held = list(holding or ())[: len(pieces)]
    held += [parts] * (len(pieces) - len(held))
    for piece, parts_of in zip(pieces, held, strict=True):
        bench.feed(piece, parts_of)
    if final:
        bench.feed(rows.clear(), parts, final=True)
    return bench.ran()


def difference(ran: Ran, rows: pl.DataFrame) -> Difference | None:
    """The first difference between what ran and the batch answer over `rows`."""
    expected = parity.evaluate(ran.node, rows, late=ran.late, reached=ran.reached)
    live = ran.frame
    if not live.width:
        live = expected.frame.clear()
    return parity.compare(live.drop(HIDDEN, strict=False), expected, is_keyed(ran.node))


def assert_equal_to_batch(ran: Ran, rows: pl.DataFrame) -> None:
    """Stream = batch, in the sense of promise 2."""
    found = difference(ran, rows)
    assert found is None, f"{found}"


def polars_fails(node: Window, rows: pl.DataFrame) -> bool:
    """Whether plain polars refuses the aggregations over some part of the rows.

    It does so by the data for a few (a filter of a filter that leaves nothing, a choice between
    a list and a null): the frame then stops with that error, which is no wrong answer.
    """
    for count in range(1, rows.height + 1):
        for part in (rows.head(count), rows.slice(count - 1, 1)):
            try:
                parity.evaluate(node, part)
            except pl.exceptions.PolarsError:
                return True
    return False
