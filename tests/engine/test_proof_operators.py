"""Every operator, alone and behind others: any cut, any interleaving, the batch answer."""

from __future__ import annotations

from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streamlab.plans.nodes import is_keyed
from tests.cases import cases
from tests.engine.plans import (
    BY_ARRIVAL,
    PARTS,
    PLANS,
    cuts,
    interleaved,
    rows_by_partition,
    rows_in_disorder,
)
from tests.engine.proof import Ran, assert_equal_to_batch, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # CI tries thousands of cases
SEED = st.integers(0, 2**32)


ALL = {**PLANS, **BY_ARRIVAL}


@pytest.mark.parametrize("name", ALL)
@cases(0.04)
@given(seed=SEED, height=st.integers(1, 60))
def test_any_cut_gives_the_batch_answer_less_the_late_rows(
    name: str, seed: int, height: int
):
    random = Random(seed)  # noqa: S311 - cases to test with
    node, rows = ALL[name](random), rows_in_disorder(random, height)
    lengths = cuts(random)
    holding = [{p for p in PARTS if random.random() < 0.8} for _ in lengths]
    if name in BY_ARRIVAL:  # what expires there is not listed, so nobody is idle
        holding = []

    ran = run(node, rows, lengths, holding, final=random.random() < 0.5)

    assert_equal_to_batch(ran, rows)


@pytest.mark.parametrize("name", ALL)
@cases(0.015)
@given(seed=SEED, height=st.integers(1, 40))
def test_two_cuts_give_the_same_rows_late_ones_included(
    name: str, seed: int, height: int
):
    random = Random(seed)  # noqa: S311 - cases to test with
    node, rows = ALL[name](random), rows_in_disorder(random, height)
    final = random.random() < 0.5

    one, other = (run(node, rows, cuts(random), final=final) for _ in range(2))

    assert_same_frames(one, other)
    assert one.late.keys() == other.late.keys()
    for step, late in one.late.items():
        assert late.equals(other.late[step])


@pytest.mark.parametrize("name", PLANS)
@cases(0.015)
@given(seed=SEED, height=st.integers(1, 16))
def test_any_interleaving_gives_the_same_if_no_row_trails_by_more_than_the_lateness(
    name: str, seed: int, height: int
):
    random = Random(seed)  # noqa: S311 - cases to test with
    node, by_part = PLANS[name](random), rows_by_partition(random, height)
    orders = [interleaved(random, by_part) for _ in range(2)]

    one, other = (run(node, rows, cuts(random)) for rows in orders)

    assert not one.late
    assert_same_frames(one, other)
    assert_equal_to_batch(one, orders[0])


def assert_same_frames(one: Ran, other: Ran):
    """Keyed frames have no order of their own; rows that come as they please have that of arrival."""
    assert_frame_equal(sorted_rows(one), sorted_rows(other), rel_tol=1e-9, abs_tol=1e-9)


def sorted_rows(ran: Ran) -> pl.DataFrame:
    key = [*is_keyed(ran.node)]
    if not key and "__seq" in ran.frame.columns:
        key = ["__part", "__stamp", "__seq"]
    return (
        ran.frame.sort(key, maintain_order=True)
        if key and ran.frame.width
        else ran.frame
    )
