"""Every row-wise function, on its own and inside others, over any cut and any type it takes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlab.plans.exprs import check_row_wise
from streamlab.plans.nodes import Filter, Select, Source, row_wise
from tests.cases import cases
from tests.engine.lab import table
from tests.engine.proof import run
from tests.plans.growing import WIDE, Grower, wide_frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # CI tries thousands of cases
SOURCE = Source("lab")
TOGETHER = 6  # expressions of one plan


def timed(rows: pl.DataFrame) -> pl.DataFrame:
    """With the hidden columns, as from one partition."""
    hidden = table([float(at) for at in range(rows.height)])
    return rows.hstack(hidden)


def batch(node: Select | Filter, rows: pl.DataFrame) -> pl.DataFrame:
    """The step run once over all rows, in plain polars."""
    return row_wise(node, rows.lazy(), ()).collect()


def first_wrong(
    exprs: Sequence[pl.Expr], rows: pl.DataFrame, lengths: Sequence[int]
) -> str:
    """The first expression that gives something else in pieces; "" if none does."""
    named = [expr.alias(f"e{at}") for at, expr in enumerate(exprs)]
    node = Select(SOURCE, tuple(named))
    whole = batch(node, rows)
    found = run(node, timed(rows), lengths).frame.select(whole.columns)
    for at, name in enumerate(whole.columns):
        if not found[name].equals(whole[name], check_dtypes=True, null_equal=True):
            rows_of = found.select(pl.col(name).alias("stream")).hstack(
                whole.select(pl.col(name).alias("batch"))
            )
            return f"{exprs[at]}\n{rows_of}"
    return ""


@cases()
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 24),
    depth=st.integers(1, 3),
    lengths=st.lists(st.integers(0, 6), max_size=6),
)
def test_expressions_of_any_depth_give_the_same_over_any_cut(
    seed: int, height: int, depth: int, lengths: list[int]
):
    rows = wide_frame(height, seed)
    grower = Grower(rows, seed)
    exprs = [grower.any_row_wise(depth) for _ in range(TOGETHER)]

    for expr in exprs:
        check_row_wise(expr, verb="select", schema=WIDE)
    assert first_wrong(exprs, rows, lengths) == ""
