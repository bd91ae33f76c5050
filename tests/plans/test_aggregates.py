from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.plans.aggregates import explain, split
from tests.plans.merge import merged

DAY = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001
FLOATS = st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), -0.0, float("inf")])
TYPES: dict[str, tuple[pl.DataType, st.SearchStrategy[object]]] = {
    "i8": (pl.Int8(), st.integers(-128, 127)),
    "i16": (pl.Int16(), st.integers(-(2**15), 2**15 - 1)),
    "i32": (pl.Int32(), st.integers(-(2**31), 2**31 - 1)),
    "i64": (pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "u8": (pl.UInt8(), st.integers(0, 255)),
    "u16": (pl.UInt16(), st.integers(0, 2**16 - 1)),
    "u32": (pl.UInt32(), st.integers(0, 2**32 - 1)),
    "u64": (pl.UInt64(), st.integers(0, 2**64 - 1)),
    "f64": (pl.Float64(), FLOATS),
    "bool": (pl.Boolean(), st.booleans()),
    "date": (pl.Date(), st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    "at": (
        pl.Datetime("ms"),
        st.integers(0, 10**6).map(lambda s: DAY + timedelta(0, s)),
    ),
    "az": (
        pl.Datetime("us", "UTC"),
        st.integers(0, 10**6).map(lambda s: DAY.replace(tzinfo=UTC) + timedelta(0, s)),
    ),
    "span": (pl.Duration("us"), st.integers(-(10**9), 10**9).map(timedelta)),
    "clock": (pl.Time(), st.times()),
    "text": (pl.String(), st.sampled_from(["", "a", "b", "ü"])),
}
TYPES["span"] = (
    pl.Duration("us"),
    st.integers(-(10**9), 10**9).map(lambda us: timedelta(microseconds=us)),
)
WHOLE = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
NUMBERS = (*WHOLE, "f64")
TIMES = ("date", "at", "az", "span", "clock")
LISTED = {
    "sum": (*NUMBERS, "bool"),
    "mean": (*NUMBERS, "bool"),
    "var": NUMBERS,
    "std": NUMBERS,
    "min": (*NUMBERS, *TIMES),
    "max": (*NUMBERS, *TIMES),
    "any": ("bool",),
    "all": ("bool",),
    "count": (*NUMBERS, "bool", *TIMES, "text"),
    "len": (*NUMBERS, "bool", *TIMES, "text"),
    "null_count": (*NUMBERS, "bool", *TIMES, "text"),
}
CASES = [(kind, name) for kind, names in LISTED.items() for name in names]


@st.composite
def cut_frames(draw: st.DrawFn, name: str) -> list[pl.DataFrame]:
    """A frame of keys, values of one type and a flag, cut anywhere."""
    dtype, values = TYPES[name]
    row = st.tuples(
        st.sampled_from("ab"), st.none() | values, st.none() | st.booleans()
    )
    rows = draw(st.lists(row, min_size=1, max_size=24))
    schema = {"k": pl.String(), "x": dtype, "flag": pl.Boolean()}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    cuts = draw(st.lists(st.integers(0, frame.height), max_size=4))
    return [frame[a:b] for a, b in pairwise([0, *sorted(cuts), frame.height])]


def one_shot(pieces: list[pl.DataFrame], expr: pl.Expr) -> pl.DataFrame:
    return pl.concat(pieces).group_by("k").agg(expr).sort("k")


def assert_as_in_one_go(pieces: list[pl.DataFrame], expr: pl.Expr) -> None:
    schema = pieces[0].schema
    found = split(expr, schema)
    assert found is not None

    expected = one_shot(pieces, expr)
    got = merged(found, pieces, "k")

    scale = 1.0
    if schema["x"].is_numeric():
        sizes = pl.concat(pieces)["x"].cast(pl.Float64).abs()
        scale = float(sizes.filter(sizes.is_finite()).sum())
    assert_frame_equal(got, expected, rel_tol=1e-6, abs_tol=1e-9 * scale)


@pytest.mark.parametrize(("kind", "name"), CASES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_merged_partial_states_are_the_aggregate_of_the_whole(
    kind: str, name: str, data: st.DataObject
) -> None:
    x = pl.col("x")
    pieces = data.draw(cut_frames(name))

    assert_as_in_one_go(pieces, getattr(x, kind)())
    assert_as_in_one_go(pieces, getattr(x.filter(pl.col("flag")), kind)())
    if kind != "null_count":
        assert_as_in_one_go(pieces, getattr(x.drop_nulls(), kind)())


@pytest.mark.parametrize("ddof", [0, 1, 2])
@settings(max_examples=8, deadline=None)
@given(pieces=cut_frames("f64"))
def test_degrees_of_freedom_are_kept(ddof: int, pieces: list[pl.DataFrame]) -> None:
    assert_as_in_one_go(pieces, pl.col("x").var(ddof=ddof))
    assert_as_in_one_go(pieces, pl.col("x").filter("flag").std(ddof=ddof))


x, k, flag = pl.col("x"), pl.col("k"), pl.col("flag")
AROUND = {
    "ratio": (x * 2).sum() / x.count(),
    "range": x.max() - x.min(),
    "choice": pl.when(pl.len() > 2).then(x.sum()).otherwise(None),
    "filled": x.mean().fill_null(0.0),
    "first that is": pl.coalesce(x.mean(), x.min(), 0),
    "cast": x.count().cast(pl.Int8) + 1,
    "text": x.count().cast(pl.String),
    "comparison of exact ones": (x.count() > 2) & x.null_count().is_between(0, 3),
    "rounded exact one": (x.max() - x.min()).round(1),
    "same twice": x.sum() * x.sum(),
    "shares": x.filter(flag).len() / pl.len(),
    "filtered arithmetic": (x * 3 - 1).filter(x > 0).mean(),
    "literal": x.min() + 1.5,
    "square": x.mean() ** 2,
    "root of a count": x.max() / x.count().sqrt(),
    "named": x.sum().alias("total"),
    "test inside": (x > 0.5).sum(),
    "divided": (x / 7).sum() / 3,
    "tests divided": (x / 3 > 0.25).sum() + x.filter(x / 7 < 0.5).len(),
    "function inside": x.abs().sqrt().sum(),
    "horizontal": pl.max_horizontal(x.min(), x.mean()),
}


@pytest.mark.parametrize("name", AROUND)
@settings(max_examples=8, deadline=None)
@given(pieces=cut_frames("f64"))
def test_arithmetic_around_aggregates_splits(
    name: str, pieces: list[pl.DataFrame]
) -> None:
    expr = AROUND[name]

    assert_as_in_one_go(pieces, expr.alias(expr.meta.output_name()))


SCHEMA = pl.Schema(
    {
        "x": pl.Float64(),
        "n": pl.Int64(),
        "k": pl.String(),
        "f32": pl.Float32(),
        "money": pl.Decimal(10, 2),
        "huge": pl.Int128(),
        "at": pl.Datetime("us", "UTC"),
        "span": pl.Duration("us"),
    }
)
n = pl.col("n")
NOT_EXACT = {
    "median": (x.median(), "median"),
    "quantile": (x.quantile(0.9), "quantile"),
    "n_unique": (k.n_unique(), "n_unique"),
    "first": (x.first(), "first"),
    "last in order": (x.sort_by("at").last(), "last"),
    "list": (x.implode(), "implode"),
    "column": (x, "a column as it is"),
    "product": (n.product(), "product"),
    "correlation": (pl.corr("x", "n"), "corr"),
    "other rows": (x.shift().sum(), "shift"),
    "nested": ((x - x.mean()).sum(), "mean"),
    "filter by an aggregate": (x.filter(x > x.mean()).sum(), "mean"),
    "filter of a filter": (x.filter(x > 0).filter(x < 9).sum(), "filter"),
    "over": (x.sum().over("k"), "over"),
    "python": (
        x.map_elements(lambda v: v, return_dtype=pl.Float64).sum(),
        "a Python function",
    ),
    "several": (pl.col("x", "n").sum(), "several columns at once"),
    "literal": (pl.lit(1), "no aggregation"),
    "literal sum": (pl.lit(1).sum(), "a literal"),
    "series": (x.sum() + pl.Series([1]), "literal"),
    "single precision": (pl.col("f32").sum(), "sum of Float32"),
    "decimal": (pl.col("money").sum(), "sum of Decimal(precision=10, scale=2)"),
    "128 bits": (pl.col("huge").max(), "max of Int128"),
    "text": (k.max(), "max of String"),
    "time mean": (
        pl.col("at").mean(),
        "mean of Datetime(time_unit='us', time_zone='UTC')",
    ),
    "time sum": (pl.col("span").sum(), "sum of Duration(time_unit='us')"),
    "null any": ((x > 0).any(ignore_nulls=False), "any(ignore_nulls=False)"),
    "nan min": (x.nan_min(), "nan_min"),
    "root of a sum": (x.sum().sqrt(), "pow of a float sum"),
    "fraction of a power": (x.sum() ** 0.5, "pow of a float sum"),
    "power of a power": (x.sum() ** n.max(), "pow of a float sum"),
    "inverse power": (x.mean() ** -1, "pow of a float sum"),
    "logarithm of a sum": (x.sum().log() + x.mean().log1p(), "of a float sum"),
    "rounded sum": (x.sum().round(2), "round of a float sum"),
    "tested sum": (x.sum() > 1, "gt of a float sum"),
    "branch on a sum": (pl.when(x.sum() > 1).then(1).otherwise(0), "gt of a float sum"),
    "whole mean": (n.mean().cast(pl.Int64), "cast of a float sum"),
    "floored": ((n.sum() / 2).floor() + x.mean().floor(), "floor of a float sum"),
    "missing": (pl.col("gone").sum(), "gone"),
}


@pytest.mark.parametrize("name", NOT_EXACT)
def test_what_is_not_certain_keeps_the_raw_rows_and_says_why(name: str) -> None:
    expr, why = NOT_EXACT[name]

    assert split(expr, SCHEMA) is None
    assert explain(expr, SCHEMA).startswith("raw rows: ")
    assert why in explain(expr, SCHEMA)


def test_a_weighted_mean_keeps_two_sums() -> None:
    expr = ((x * n).sum() / n.sum()).alias("vwap")

    found = split(expr, SCHEMA)

    assert found is not None
    assert found.name == "vwap"
    assert [p.kind for p in found.partials] == ["sum", "sum"]
    assert [p.result for p in found.partials] == [pl.Float64(), pl.Int64()]
    assert explain(expr, SCHEMA) == "partial states: sum"


def test_equal_parts_are_kept_once() -> None:
    found = split(x.sum() - x.sum() / x.count(), SCHEMA)

    assert found is not None
    assert [p.kind for p in found.partials] == ["sum", "count"]


def test_the_name_is_the_one_polars_gives() -> None:
    for expr in (x.sum(), pl.len(), n.min() + x.max()):
        found = split(expr, SCHEMA)

        assert found is not None
        assert found.name == expr.meta.output_name()
        assert found.final.meta.output_name() == found.name


def test_times_keep_their_least_and_greatest() -> None:
    frame = pl.DataFrame({"k": ["a"], "x": [time(1)]}).with_columns(
        flag=pl.lit(value=True)
    )

    assert_as_in_one_go([frame, frame.clear(), frame], x.max())
