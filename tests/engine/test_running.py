"""Functions that look back: batch by batch what polars gives over all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.engine.running import RunningStage
from streamlab.plans.nodes import InOrder, Running, Source
from tests.engine.lab import assert_same, cut, seconds, table

ORDERED = InOrder(Source("trades"), seconds(0), seconds(3600))
x, time = pl.col("x"), "time"

BY_ROWS = {
    "shift": x.shift(),
    "shift 3": x.shift(3),
    "shift 0": x.shift(0),
    "diff": x.diff(),
    "diff 2": x.diff(2),
    "pct_change": x.pct_change(),
    "pct_change 2": x.pct_change(2),
    "shift filled": x.shift(2, fill_value=7),
    "fill 2": x.forward_fill(2),
}
CARRIED = {
    "cum_sum": x.cum_sum(),
    "cum_prod": x.cum_prod(),
    "cum_min": x.cum_min(),
    "cum_max": x.cum_max(),
    "cum_count": x.cum_count(),
    "forward_fill": x.forward_fill(),
}
ROLLING = {
    f"rolling_{what}": getattr(x, f"rolling_{what}")(3, min_samples=1)
    for what in ("sum", "mean", "min", "max", "median", "std", "var")
} | {
    "rolling_skew": x.rolling_skew(3),
    "rolling_kurtosis": x.rolling_kurtosis(4),
    "rolling_quantile": x.rolling_quantile(0.3, window_size=4, interpolation="linear"),
    "rolling_rank": x.rolling_rank(3),
    "rolling_std 0": x.rolling_std(3, ddof=0),
    "rolling_sum full": x.rolling_sum(4),
    "rolling_corr": pl.rolling_corr(x, pl.col("y"), window_size=3),
}
BY_TIME = {
    f"rolling_{what}_by {closed}": getattr(x, f"rolling_{what}_by")(
        time, "2s", closed=closed
    )
    for what in ("sum", "mean", "min", "max", "median", "std")
    for closed in ("right", "left", "both", "none")
} | {
    "rolling_var_by": x.rolling_var_by(time, "3s", min_samples=2, ddof=0),
    "rolling_quantile_by": x.rolling_quantile_by(time, "3s", quantile=0.4),
    "rolling_rank_by": x.rolling_rank_by(time, "3s"),
    "rolling_mean_by calendar": x.rolling_mean_by(time, "1mo"),
}
WEIGHTED = {
    f"ewm_{what} {adjust} {skip}": getattr(x, f"ewm_{what}")(
        alpha=0.3, adjust=adjust, ignore_nulls=skip, min_samples=2
    )
    for what in ("mean", "var", "std")
    for adjust in (True, False)
    for skip in (True, False)
} | {
    "ewm_mean_by": x.ewm_mean_by(time, half_life="2s"),
    "ewm_var biased": x.ewm_var(span=4, bias=True),
    "ewm_mean half": x.ewm_mean(half_life=3),
}
EVERY = BY_ROWS | CARRIED | ROLLING | BY_TIME | WEIGHTED

NESTED = {
    "relative step": x.diff() / x.shift(),
    "volatility": x.pct_change().rolling_std(3, min_samples=1),
    "since the last": (x - x.forward_fill().shift()).abs().cum_sum(),
    "mean of sums": x.cum_sum().rolling_mean_by(time, "2s") + x.shift(1, fill_value=0),
    "smoothed": x.ewm_mean(alpha=0.5).diff().ewm_mean(alpha=0.5),
    "a struct": pl.struct(x.shift(), last=x.cum_max()),
    "a choice": pl.when(x > x.shift()).then(x.cum_count()).otherwise(0),
}


def frame(
    xs: Sequence[Any], keys: Sequence[str | None], gaps: Sequence[int], dtype: Any
) -> pl.DataFrame:
    """Rows in order; a gap of 0 is a second row of the same time."""
    at = [sum(gaps[: place + 1]) / 2 for place in range(len(gaps))]
    rows = table(
        at,
        0,
        x=pl.Series(xs, dtype=dtype),
        y=pl.Series([float(place * 7 % 5) for place in range(len(xs))]),
        k=pl.Series(keys, dtype=pl.String),
        j=pl.Series([place % 2 for place in range(len(xs))], dtype=pl.Int64),
    )
    return rows.with_columns(pl.col("__time").alias("time"))


class Line:
    """A graph with one step that looks back."""

    def __init__(self, exprs: Sequence[pl.Expr], verb: Any = "with_columns") -> None:
        self.graph = Graph()
        self.handle = self.graph.add(Running(ORDERED, tuple(exprs), verb), None)
        self.out: list[pl.DataFrame] = []

    def step(self, rows: pl.DataFrame, *, final: bool = False) -> pl.DataFrame:
        outcome = self.graph.step(Batch(rows, frozenset({0}), final))[self.handle]
        assert outcome.error is None, outcome.error
        self.counts = outcome.counts
        self.out.append(outcome.change.added)
        return outcome.change.added

    def run(self, rows: pl.DataFrame, lengths: Sequence[int]) -> pl.DataFrame:
        for piece in cut(rows, lengths):
            self.step(piece)
        self.step(rows.clear(), final=True)
        return pl.concat(self.out)

    @property
    def stage(self) -> RunningStage:
        found = [op.state for op in self.graph._operators.values()]
        (stage,) = (each for each in found if isinstance(each, RunningStage))
        return stage


def check(
    rows: pl.DataFrame,
    lengths: Sequence[int],
    exprs: Sequence[pl.Expr],
    scale: float = 0.0,
) -> None:
    """The same as polars over all rows at once."""
    live = Line(exprs).run(rows, lengths)
    whole = rows.with_columns(exprs)
    assert_same(live, whole, lambda _: scale)


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-20, 20)),
        st.sampled_from(["A", "B", None]),
        st.integers(0, 3),
    ),
    max_size=30,
)
LENGTHS = st.lists(st.integers(0, 6), max_size=30)
PICK = st.lists(st.sampled_from(list(EVERY)), min_size=1, max_size=4, unique=True)
OVERS: tuple[tuple[str, ...], ...] = ((), ("k",), ("k", "j"))


def drawn(rows: list[tuple[Any, Any, int]], dtype: Any = pl.Float64) -> pl.DataFrame:
    xs, keys = [row[0] for row in rows], [row[1] for row in rows]
    return frame(xs, keys, [row[2] for row in rows], dtype)


def over(expr: pl.Expr, keys: tuple[str, ...]) -> pl.Expr:
    return expr.over(*keys) if keys else expr


@settings(max_examples=150, deadline=None)
@given(ROWS, LENGTHS, st.sampled_from(OVERS), PICK)
def test_every_function_over_any_cut(
    rows: Any, lengths: Any, keys: tuple[str, ...], picked: list[str]
) -> None:
    exprs = [over(EVERY[name], keys).alias(name) for name in picked]
    check(drawn(rows), lengths, exprs, 1e3)


@settings(max_examples=80, deadline=None)
@given(ROWS, LENGTHS, st.sampled_from(OVERS), st.sampled_from(list(NESTED)))
def test_functions_of_functions_over_any_cut(
    rows: Any, lengths: Any, keys: tuple[str, ...], picked: str
) -> None:
    check(drawn(rows), lengths, [over(NESTED[picked], keys).alias("found")], 1e3)
