from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.engine.rawrows import RawRows, own_buffers

TEXT = "some text that is too long to be kept inside a view, number "


def block(numbers: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {"n": numbers, "text": [f"{TEXT}{n}" for n in numbers]},
        schema={"n": pl.Int64, "text": pl.String},
    )


@settings(deadline=None, max_examples=150)
@given(
    steps=st.lists(
        st.tuples(
            st.lists(st.integers(0, 5), max_size=12),
            st.sets(st.integers(0, 5), max_size=2),
        ),
        max_size=14,
    )
)
def test_rows_come_back_by_window_in_order_of_arrival(
    steps: list[tuple[list[int], set[int]]],
):
    raw = RawRows()
    model: dict[int, list[int]] = {}
    number = 0

    for windows, dropped in steps:
        mine = list(range(number, number + len(windows)))
        number += len(windows)
        raw.add(block(mine), np.array(windows, np.int64))
        for window, each in zip(windows, mine, strict=True):
            model.setdefault(window, []).append(each)
        for window in dropped:
            raw.drop(window)
            model.pop(window, None)
        for window in range(6):
            kept = raw.of([window])
            assert (kept["n"].to_list() if kept is not None else []) == model.get(
                window, []
            )

    for window in range(6):
        raw.drop(window)
    assert raw.bytes == 0


def test_a_lingering_row_does_not_keep_its_whole_batch():
    raw = RawRows()
    raw.add(block(list(range(10_000))), np.array([0] * 9_999 + [1]))
    full = raw.bytes

    raw.drop(0)

    assert full > 10_000 * len(TEXT)
    assert raw.bytes < 5_000
    assert raw.of([1])["text"].to_list() == [f"{TEXT}9999"]  # type: ignore[index]


def test_a_slice_with_buffers_of_its_own_lets_go_of_the_batch():
    rows = block(list(range(10_000))).with_columns(
        pl.concat_list("text").alias("list"), pl.struct("text").alias("struct")
    )

    own, held = own_buffers(rows.slice(5, 3))

    assert own.equals(rows.slice(5, 3))
    assert own.schema == rows.schema
    assert held < 5_000
