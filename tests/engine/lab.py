"""Rows, windows and the batch answer, for the engine's tests. Plain polars, no code of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from streamlab.changes import HIDDEN_SCHEMA
from streamlab.durations import Span
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch, Outcome
from streamlab.plans.nodes import Closed, Late, Node, Window

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NONE_HOLD: frozenset[int] = frozenset()
KEY = "window_start"


def seconds(count: float) -> Span:
    return Span(0, round(count * SECOND))


def moment(second: float) -> datetime:
    return EPOCH + timedelta(seconds=second)


def window(
    parent: Node, aggs: Iterable[pl.Expr], every: float = 10, **given: Any
) -> Window:
    fields: dict[str, Any] = {
        "by": (),
        "on": None,
        "offset": seconds(0),
        "time_zone": "UTC",
        "lateness": None,
        "max_ahead": seconds(3600),
    }
    fields = {"every": seconds(every)} | fields | given
    return Window(parent, aggs=tuple(aggs), **fields)


def table(
    times: Sequence[float | None],
    parts: Sequence[int] | int = 0,
    stamps: Sequence[float | None] | None = None,
    **columns: Sequence[Any] | pl.Series,
) -> pl.DataFrame:
    """Rows at these seconds; offsets count per partition, in the order given."""
    numbers = [parts] * len(times) if isinstance(parts, int) else list(parts)
    said = stamps if stamps is not None else [0 if t is None else t for t in times]
    hidden = pl.DataFrame(
        {
            "__time": [None if t is None else round(t * SECOND) for t in times],
            "__part": numbers,
            "__stamp": [None if s is None else round(s * 1000) for s in said],
            "__seq": [numbers[:at].count(part) for at, part in enumerate(numbers)],
        },
        schema=dict.fromkeys(HIDDEN_SCHEMA, pl.Int64),
    ).cast(HIDDEN_SCHEMA)
    return pl.concat([pl.DataFrame(columns), hidden], how="horizontal")


def cut(rows: pl.DataFrame, lengths: Sequence[int]) -> list[pl.DataFrame]:
    """`rows` in pieces of these lengths, and the rest."""
    pieces, at = [], 0
    for length in lengths:
        pieces.append(rows.slice(at, length))
        at += length
    return [*pieces, rows.slice(at)]


class Lab:
    """A graph with one window, its `closed` and its `late`, and all they put out."""

    def __init__(
        self, node: Window, seed: pl.DataFrame | None = None, **given: Any
    ) -> None:
        self.node = node
        self.graph = Graph()
        plans: dict[str, Node] = {
            "window": node,
            "closed": Closed(node),
            "late": Late(node),
        }
        self.handles = {
            name: self.graph.add(each, seed, **given) for name, each in plans.items()
        }
        self.all: dict[str, list[Outcome]] = {name: [] for name in self.handles}
        self.key = (KEY, *node.by)
        for name, handle in self.handles.items():
            first = self.graph.first_change(handle)
            if first is not None:
                self.all[name].append(first)

    def step(
        self, rows: pl.DataFrame, holding: Iterable[int] = (0,), *, final: bool = False
    ) -> dict[str, Outcome]:
        self.blank = rows.clear()
        outcomes = self.graph.step(Batch(rows, frozenset(holding), final))
        by_name = {
            name: outcomes[h] for name, h in self.handles.items() if h in outcomes
        }
        for name, outcome in by_name.items():
            assert outcome.error is None, outcome.error
            self.all[name].append(outcome)
        return by_name

    def quiet(self, holding: Iterable[int] = (0,), *, final: bool = False) -> None:
        """A micro-batch without rows."""
        self.step(self.blank, holding, final=final)

    def frame(self) -> pl.DataFrame:
        """The window frame as all its changes leave it, sorted by key."""
        added = [outcome.change.added for outcome in self.all["window"]]
        for each in added:
            assert not each.select(self.key).is_duplicated().any()
        whole = pl.concat(added).unique(self.key, keep="last", maintain_order=True)
        return whole.sort(self.key)

    def lines(self, name: str) -> pl.DataFrame:
        return pl.concat([outcome.change.added for outcome in self.all[name]])


def batch_answer(
    rows: pl.DataFrame,
    late: pl.DataFrame,
    aggs: Iterable[pl.Expr],
    every: str = "10s",
    by: Sequence[str] = (),
) -> pl.DataFrame:
    """The plan run once over all rows that have a usable time, less those that were late."""
    usable = rows.filter(
        pl.col("__time").dt.epoch("ms") - pl.col("__stamp") <= 3_600_000
    ).join(late, on=["__part", "__seq"], how="anti")
    placed = usable.with_columns(pl.col("__time").dt.truncate(every).alias(KEY))
    ordered = placed.sort("__time", "__part", "__seq")
    return ordered.group_by(KEY, *by).agg(*aggs).sort(KEY, *by)


def assert_same(
    live: pl.DataFrame,
    batch: pl.DataFrame,
    scale: Callable[[str], float] = lambda _: 0.0,
) -> None:
    """Same schema, text and whole numbers exact, floats within 1e-9 of `scale`, or of themselves.

    Args:
        live: the engine's rows.
        batch: what they must be; its columns are looked at.
        scale: of a column, Σ|x| of what went into it.
    """
    live = live.select(batch.columns)
    assert live.schema == batch.schema
    assert live.height == batch.height
    for name in batch.columns:
        ours, theirs = live.get_column(name), batch.get_column(name)
        if not ours.dtype.is_float():
            assert ours.to_list() == theirs.to_list(), name
            continue
        for one, other in zip(ours.to_list(), theirs.to_list(), strict=True):
            if one is None or other is None or one != one or other != other:  # noqa: PLR0124
                assert repr(one) == repr(other), name
            else:
                allowed = 1e-9 * max(scale(name), abs(other))
                assert one == other or abs(one - other) <= allowed, name
