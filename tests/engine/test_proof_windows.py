"""Windows over every aggregation, grown to any depth: any cut, any interleaving, the batch answer."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlab.engine.faults import PlanError
from streamlab.plans.nodes import Source, Window
from tests.cases import cases
from tests.engine.lab import seconds, table, window
from tests.engine.proof import assert_equal_to_batch, polars_fails, run
from tests.plans.growing import Aggregations, wide_frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # CI tries thousands of cases
SOURCE = Source("lab")
PARTS = (0, 1, 2)
HUGE = 1e200  # sums of such are infinite, or not, by the order of addition


def moments_at_random(rows: pl.DataFrame, random: Random) -> pl.DataFrame:
    """With hidden columns: three partitions in disorder, some without a time, some in the future."""
    times = [
        None if random.random() < 0.05 else random.randrange(100) / 2
        for _ in range(rows.height)
    ]
    stamps = [t if t is None or random.random() > 0.05 else t - 7200 for t in times]
    parts = [random.choice(PARTS) for _ in times]
    return rows.hstack(table(times, parts, stamps))


def fed(height: int, seed: int) -> pl.DataFrame:
    """Rows of every type; numbers stay far from where they overflow."""
    rows = wide_frame(height, seed)
    tame = pl.when(pl.col("f").abs() > HUGE).then(1.0).otherwise(pl.col("f"))
    return rows.with_columns(tame.alias("f")).cast({"single": pl.Float32})


class Case(NamedTuple):
    """A plan, its rows, and how they come."""

    node: Window
    rows: pl.DataFrame
    lengths: list[int]
    holding: list[set[int]]
    final: bool


BY: Sequence[tuple[str, ...]] = (
    (),
    ("b",),
    ("s", "c"),
    ("f",),
    ("at", "i8"),
    ("st",),
    ("word",),
    ("ls", "single"),
)


def case(seed: int, height: int, depth: int) -> Case:
    """A case made by chance."""
    random = Random(seed)  # noqa: S311 - rows to test with
    bare = fed(height, seed)
    grower = Aggregations(bare, seed)
    aggs = [grower.any_aggregation(depth).alias(f"a{at}") for at in range(3)]
    late_by = random.choice([None, 0, 2, 8])
    node = window(
        SOURCE,
        aggs,
        by=random.choice(BY),
        lateness=None if late_by is None else seconds(late_by),
    )
    lengths = [random.randint(0, 9) for _ in range(random.randint(0, 6))]
    holding = [{p for p in PARTS if random.random() < 0.8} for _ in lengths]
    rows = moments_at_random(bare, random)
    return Case(node, rows, lengths, holding, random.random() < 0.5)


@cases(0.4)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 40), depth=st.integers(1, 3))
def test_aggregations_of_any_depth_give_the_batch_answer_less_the_late_rows(
    seed: int, height: int, depth: int
):
    node, rows, lengths, holding, final = case(seed, height, depth)

    try:
        ran = run(node, rows, lengths, holding, final=final)
    except PlanError as error:
        cause = error.__cause__
        assert isinstance(cause, pl.exceptions.PolarsError), cause
        assert polars_fails(node, rows)
        return

    assert_equal_to_batch(ran, rows)
