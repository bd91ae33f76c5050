"""Functions that look back: batch by batch what polars gives over all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.engine.faults import PlanError
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.engine.running import RunningStage
from streamlab.plans.nodes import InOrder, Running, Source
from tests.engine.lab import assert_same, cut, moment, seconds, table

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
    if not rows.height:  # polars may say another type before there is a row
        whole = live.clear()
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


@pytest.mark.parametrize("keys", OVERS)
def test_every_function_over_one_stream_in_small_pieces(keys: tuple[str, ...]) -> None:
    drawn_once = [
        (None if at % 7 == 3 else (at * 37) % 41 - 20, "AB"[at % 3 == 0], at % 3)
        for at in range(26)
    ]
    exprs = [over(expr, keys).alias(name) for name, expr in EVERY.items()]

    check(drawn(drawn_once), [1, 2, 1, 0, 3, 1, 1, 2, 1, 1, 1, 4, 1, 2], exprs, 1e3)


def test_a_row_of_a_time_whose_windows_are_out_already_stops_the_frame() -> None:
    line = Line([x.rolling_sum_by("t", "2s").alias("a")])
    rows = table([1.0, 2.0, 3.0], x=[1, 2, 3], t=[moment(1)] * 3)
    assert line.step(rows[:2])["a"].to_list() == [1]

    outcome = line.graph.step(Batch(rows[2:], frozenset({0}), final=True))[line.handle]

    assert "'t' does not rise with event time" in str(outcome.error)


@settings(max_examples=100, deadline=None)
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


# -- types -------------------------------------------------------------------------------

NUMBERS: list[Any] = [
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
    *(pl.Float32, pl.Float64),
]
ALL_KINDS = {
    name: EVERY[name]
    for name in (
        *("shift", "shift 3", "fill 2", "forward_fill", "cum_count"),
        *("cum_min", "cum_max", "diff"),
    )
}
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
OTHERS: list[tuple[Any, list[Any], set[str]]] = [
    (pl.String, ["b", "a", None, "a long text, not inside a view", ""], {"diff"}),
    (pl.Boolean, [True, None, False, False, True], {"diff"}),
    (pl.Binary, [b"b", None, b"", b"a", b"z"], {"diff", "cum_min", "cum_max"}),
    (pl.Date, [date(2026, 1, 1), None, date(2025, 5, 5)], set()),
    (
        pl.Datetime("ns"),
        [MOMENT.replace(tzinfo=None), None, MOMENT.replace(tzinfo=None, year=2025)],
        set(),
    ),
    (pl.Datetime("us", "Europe/Berlin"), [MOMENT, None], set()),
    (pl.Duration("ms"), [timedelta(1), None, timedelta(0, 5)], set()),
    (pl.Decimal(10, 2), [Decimal("1.25"), None, Decimal("0.50")], set()),
    (pl.Enum(["x", "y"]), ["y", None, "x"], {"diff", "cum_min", "cum_max"}),
    (pl.Int128, [2**80, None, -(2**70)], set()),
    (pl.List(pl.Int64), [[1, 2], None, [], [None]], {"diff", "cum_min", "cum_max"}),
    (
        pl.Struct({"a": pl.Int64, "b": pl.String}),
        [{"a": 1, "b": "x"}, None, {"a": None, "b": None}],
        {"diff", "cum_min", "cum_max"},
    ),
]


@settings(max_examples=50, deadline=None)
@given(ROWS, LENGTHS, st.sampled_from(OVERS), PICK, st.sampled_from(NUMBERS))
def test_numbers_of_every_type(
    rows: Any, lengths: Any, keys: tuple[str, ...], picked: list[str], dtype: Any
) -> None:
    """Types as polars gives them, overflow too."""
    least = 0 if dtype.is_unsigned_integer() else -20
    fitting = [(None if v is None else max(v, least), k, g) for v, k, g in rows]
    small = dtype in {pl.Int8, pl.Int16, pl.UInt8, pl.UInt16}
    picked = [name for name in picked if not (small and name == "ewm_mean_by")]
    exprs = [over(EVERY[name], keys).alias(name) for name in picked]
    single = dtype == pl.Float32
    check(drawn(fitting, dtype), lengths, exprs, 1e8 if single else 1e3)


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: str(kind[0]))
@settings(max_examples=5, deadline=None)
@given(ROWS, LENGTHS, st.sampled_from(OVERS))
def test_values_of_every_other_type(
    kind: tuple[Any, list[Any], set[str]], rows: Any, lengths: Any, keys: Any
) -> None:
    dtype, values, not_for = kind
    kinds = {n: e for n, e in ALL_KINDS.items() if n not in not_for}
    exprs = [over(e, keys).alias(n) for n, e in kinds.items()]
    mapped = [
        (None if v is None else values[v % len(values)], k, g) for v, k, g in rows
    ]
    check(drawn(mapped, dtype), lengths, exprs)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), -3.0, None]),
            st.sampled_from(["A", "B"]),
            st.integers(0, 2),
        ),
        max_size=20,
    ),
    LENGTHS,
    st.sampled_from(sorted(BY_ROWS | CARRIED | WEIGHTED)),
)
def test_nan_and_infinity_go_on_as_in_polars(
    rows: Any, lengths: Any, picked: str
) -> None:
    exprs = [over(EVERY[picked], ("k",)).alias("found")]
    check(drawn(rows), lengths, exprs, 10.0)


# -- keys, errors, state -----------------------------------------------------------------


def test_keys_may_be_worked_out_and_nan_is_one_key() -> None:
    nan = float("nan")
    rows = table(
        [1.0, 2.0, 3.0, 4.0, 5.0], x=[1, 2, 3, 4, 5], f=[nan, 0.0, nan, -0.0, nan]
    )

    check(rows, [1, 1, 1, 1], [x.cum_sum().over("f").alias("a")])
    check(rows, [1, 1, 1, 1], [x.shift().over(x % 2, "f").alias("a")])


def test_a_select_keeps_only_its_columns_and_a_filter_only_its_rows() -> None:
    rows = table([1.0, 2.0, 3.0], x=[1, 5, 2], y=[0, 0, 0])

    selected = Line([x.shift().alias("before"), pl.lit(1).alias("one")], "select")
    assert selected.run(rows, [1]).select("before", "one").rows() == [
        (None, 1),
        (1, 1),
        (5, 1),
    ]
    filtered = Line([x > x.shift()], "filter")
    assert filtered.run(rows, [2]).columns == rows.columns
    assert pl.concat(filtered.out)["x"].to_list() == [5]


def test_selectors_stand_for_the_columns_there_are() -> None:
    rows = table([1.0, 2.0, 3.0], x=[1, 5, 2], y=[0, 1, 0])

    live = Line([pl.all().diff().name.suffix("_step"), pl.col("x", "y").shift()])
    found = live.run(rows, [1, 1])

    shown = rows.select("x", "y")
    wanted = shown.with_columns(
        pl.all().diff().name.suffix("_step"), pl.col("x", "y").shift()
    )
    assert found.select(wanted.columns).equals(wanted)


def test_the_state_is_what_each_key_needs_however_long_the_stream() -> None:
    exprs = [
        x.rolling_mean(4).over("k").alias("a"),
        x.rolling_sum_by("time", "2s").over("k").alias("b"),
        x.cum_sum().over("k").alias("c"),
        x.ewm_std(alpha=0.1).over("k").alias("d"),
    ]
    line = Line(exprs)
    held = []
    for number in range(60):
        at = [number + place / 10 for place in range(10)]
        rows = table(at, x=[1.0] * 10, k=["A", "B"] * 5)
        line.step(rows.with_columns(pl.col("__time").alias("time")))
        held.append(line.stage.bytes)

    assert max(held[30:]) <= 1.5 * max(held[:30])
    assert held[-1] < 20_000


def test_the_rows_before_one_that_fails_are_good_and_it_is_named() -> None:
    total, number = x.cum_sum().alias("a"), pl.col("t").str.to_integer()
    line = Line([total, (x.shift() + number).alias("b")])
    line.step(table([1.0, 2.0], x=[1, 2], t=["1", "1"]))

    rows = table([3.0, 4.0, 5.0, 6.0], x=[4, 8, 16, 32], t=["1", "1", "?", "1"])
    outcome = line.graph.step(Batch(rows, frozenset({0}), final=True))[line.handle]

    assert outcome.change.added["a"].to_list() == [3, 7, 15]
    assert isinstance(outcome.error, PlanError)
    assert outcome.error.record is not None
    assert outcome.error.record["t"].to_list() == ["?"]


def test_what_no_rows_can_do_is_no_records_fault() -> None:
    line = Line([x.rolling_mean(2, weights=[1.0, 2.0]).alias("a")])
    rows = table([1.0, 2.0, 3.0], x=[1.0, None, 3.0])

    outcome = line.graph.step(Batch(rows, frozenset({0}), final=True))[line.handle]

    assert "weights not yet supported" in str(outcome.error)


def test_few_rows_are_computed_as_many_are() -> None:
    """A column divided by a number has another last bit in a lone row."""
    values = [0.1 * place for place in range(1, 9)]
    rows = table([float(at) for at in range(8)], x=values)
    exprs = [(x / 3).shift().alias("a"), (x.shift() // 0.1).alias("b")]

    live = Line(exprs).run(rows, [1] * 8)

    assert live["b"].to_list() == rows.select(x.shift() // 0.1)["x"].to_list()
