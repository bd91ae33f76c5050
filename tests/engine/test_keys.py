from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.engine.keys import Slots

STRUCT = pl.Struct({"a": pl.List(pl.Int8), "b": pl.String})


def place(
    slots: Slots, starts: list[int], keys: pl.DataFrame
) -> tuple[list[int], list[int]]:
    begin = np.array(starts, np.int64)
    found, new = slots.place(begin, begin + 10, keys)
    return found.tolist(), new.tolist()


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([1.0, float("nan"), None]),
        pl.Series(["a", "", None]),
        pl.Series([date(2026, 1, 1), date(1969, 1, 1), None]),
        pl.Series([1, 2, None], dtype=pl.Int64).cast(
            pl.Datetime("ns", "Europe/Berlin")
        ),
        pl.Series([Decimal("1.10"), Decimal("1.11"), None]),
        pl.Series([[1, None], [], None], dtype=pl.List(pl.Int64)),
        pl.Series([{"a": [1], "b": "x"}, {"a": None, "b": None}, None], dtype=STRUCT),
        pl.Series(["b", "a", None], dtype=pl.Enum(["b", "a"])),
        pl.Series([b"\x00", b"", None]),
        pl.Series([True, False, None]),
    ],
    ids=lambda column: str(column.dtype),
)
def test_keys_of_any_type_are_found_again_and_come_back_as_they_were(column: pl.Series):
    keys = column.alias("key").to_frame()
    slots = Slots([column.dtype])

    first, new = place(slots, [0, 0, 0], keys)
    again, none = place(slots, [0, 0, 0], keys.clone())

    assert sorted(first) == sorted(new) == [0, 1, 2]
    assert (again, none) == (first, [])
    assert slots.keys(np.array(first), ["key"]).equals(keys)


@settings(deadline=None, max_examples=200)
@given(
    steps=st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.integers(0, 12), st.integers(0, 5)),
                max_size=30,
                unique=True,
            ),
            st.integers(0, 150),
            st.integers(1, 12),
        ),
        max_size=8,
    )
)
def test_slots_are_a_dictionary_that_forgets_windows(
    steps: list[tuple[list[tuple[int, int]], int, int]],
):
    slots = Slots([pl.Int64()])
    model: dict[tuple[int, int], int] = {}

    for pairs, until, most in steps:
        keys = pl.DataFrame(
            {"key": [key for _, key in pairs]}, schema={"key": pl.Int64}
        )
        wanted = [(start * 10, key) for start, key in pairs]
        found, new = place(slots, [start for start, _ in wanted], keys)
        fresh = [
            slot for pair, slot in zip(wanted, found, strict=True) if pair not in model
        ]
        assert new == fresh
        for pair, slot in zip(wanted, found, strict=True):
            assert model.setdefault(pair, slot) == slot
        assert len(set(model.values())) == len(model)

        over = {pair: slot for pair, slot in model.items() if pair[0] + 10 <= until}
        gone = slots.pop_until(until)
        assert sorted(gone.tolist()) == sorted(over.values())
        slots.release(gone)
        model = {pair: slot for pair, slot in model.items() if pair not in over}

        gone, latest = slots.pop_oldest(most)
        slots.release(gone)
        starts = sorted({start for start, _ in model})
        while len(model) > most and len(starts) > 1:
            oldest = starts.pop(0)
            assert latest is not None
            assert latest >= oldest + 10
            model = {pair: slot for pair, slot in model.items() if pair[0] != oldest}
        assert slots.used == len(model)
        assert sorted(slots.all().tolist()) == sorted(model.values())
        assert all(start in slots for start, _ in model)


def test_bytes_follow_the_keys_and_fall_back_when_all_windows_are_gone():
    slots = Slots([pl.String()])
    empty = slots.bytes
    keys = pl.DataFrame({"key": [f"a long enough key {n}" for n in range(5_000)]})

    place(slots, [0] * 5_000, keys)
    assert slots.bytes > 5_000 * 150

    slots.release(slots.pop_until(10))
    assert slots.bytes < empty + 100
