from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.engine.kept import Kept


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 7, 600, 1_500]), max_size=12),
    most=st.sampled_from([1, 10, 1_000, 4_000]),
)
def test_the_newest_rows_are_kept_in_order(lengths: list[int], most: int):
    kept, number = Kept(most), 0
    blank = pl.DataFrame(schema={"n": pl.Int64, "text": pl.String})

    for length in lengths:
        numbers = range(number, number + length)
        number += length
        texts = [f"some text that is long enough {n}" for n in numbers]
        kept.add(pl.DataFrame({"n": numbers, "text": texts}, schema=blank.schema))

    rows = kept.frame(blank)
    assert rows["n"].to_list() == list(range(number))[-most:]
    assert kept.bytes >= rows["text"].str.len_bytes().sum()
    assert kept.bytes <= (most + 3_000) * 120
