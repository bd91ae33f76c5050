"""Tombstones that are remembered for views that begin later; the model is a list of records."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.frames import deletions
from streamlab.frames.deletions import Deletions
from streamlab.frames.store import Budget
from tests.engine.keyed_lab import tombstones

records = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 2)), max_size=40
)


@settings(deadline=None, max_examples=100)
@given(records)
def test_the_newest_of_each_key_stays_while_rows_before_it_are_kept(
    drawn: list[tuple[str, bool, int]],
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletions, "_SMALLEST", 1)
        budget = Budget(10**6)
        made = Deletions(budget)
        rows = forgotten = 0
        newest: dict[str, int] = {}

        for key, dead, forget in drawn:
            if dead:
                made.add(tombstones((key, 0)), rows, forgotten)
                newest[key] = rows
            else:
                rows += 1
            forgotten = min(rows, forgotten + forget)
            found = made.among(forgotten)

            wanted = {k: at - forgotten for k, at in newest.items() if at > forgotten}
            assert dict([] if found is None else found.rows()) == wanted

        made.clear()
        assert made.among(0) is None
        assert budget.held == 0


def test_tombstones_of_keys_whose_rows_are_forgotten_hold_no_memory():
    budget = Budget(10**9)
    made = Deletions(budget)
    for number in range(20_000):
        made.add(tombstones((f"key {number}", 1)), number, number)

    assert budget.held < 1_000_000
