"""Columns as a page reads them: every type, null, NaN and the integers numbers can't hold."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.views.encode import SAFE, encode, page_values, simple
from tests.views.fakes import decode

AT = datetime(2026, 11, 23, 10, 1, 20, 123456, tzinfo=UTC)
AT_MS = 1795428080123.456


def in_page(series: pl.Series) -> list[Any]:
    columns, buffers = encode(series.to_frame())
    part = {"n": len(series), "columns": columns}
    return [row[series.name] for row in decode(part, list(buffers))]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series("x", [1.5, None, -2.0]), [1.5, None, -2.0]),
        (pl.Series("x", [0.5, None], pl.Float32), [0.5, None]),
        (pl.Series("x", [-128, None, 127], pl.Int8), [-128, None, 127]),
        (pl.Series("x", [0, 65_535], pl.UInt16), [0, 65_535]),
        (pl.Series("x", [0, 2**32 - 1, None], pl.UInt32), [0, 2**32 - 1, None]),
        (pl.Series("x", [True, None, False]), [True, None, False]),
        (pl.Series("x", ["a", None, "", "a"]), ["a", None, "", "a"]),
        (pl.Series("x", ["a", None], pl.Categorical), ["a", None]),
        (pl.Series("x", ["b", None], pl.Enum(["a", "b"])), ["b", None]),
        (pl.Series("x", [AT, None], pl.Datetime("us", "UTC")), [AT_MS, None]),
        (pl.Series("x", [AT], pl.Datetime("ms", "UTC")), [math.floor(AT_MS)]),
        (pl.Series("x", [AT.replace(tzinfo=None)]), [AT_MS]),
        (pl.Series("x", [AT.astimezone(ZoneInfo("Asia/Tokyo"))]), [AT_MS]),
        (pl.Series("x", [date(1970, 1, 2), None]), [86_400_000.0, None]),
        (pl.Series("x", [timedelta(milliseconds=1500), None]), [1500.0, None]),
        (pl.Series("x", [time(10, 1, 20), None]), ["10:01:20", None]),
        (pl.Series("x", [b"a\xff", None]), ["a\\xff", None]),
        (pl.Series("x", [[1, 2], None]), ["[1, 2]", None]),
        (pl.Series("x", [{"a": 1, "b": "ü"}]), ['{"a": 1, "b": "ü"}']),
        (pl.Series("x", [None, None]), [None, None]),
        (pl.Series("x", ["12.50", None]).cast(pl.Decimal(10, 2)), [12.5, None]),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_a_page_holds_what_the_column_holds(series: pl.Series, expected: Any):
    assert in_page(series) == expected
    assert page_values(series) == expected


def test_integers_beyond_2_to_the_53_keep_every_digit_as_text():
    values = [SAFE, SAFE + 1, -SAFE - 1, None, 5]

    signed = in_page(pl.Series("x", values, pl.Int64))
    unsigned = in_page(pl.Series("x", [2**64 - 1, 1], pl.UInt64))

    assert signed == [SAFE, str(SAFE + 1), str(-SAFE - 1), None, 5]
    assert unsigned == [str(2**64 - 1), 1]


def test_nan_is_not_null():
    values = in_page(pl.Series("x", [math.nan, None, math.inf]))

    assert math.isnan(values[0])
    assert values[1:] == [None, math.inf]


@pytest.mark.parametrize("count", [255, 256, 70_000])
def test_more_categories_than_a_byte_holds(count: int):
    words = [f"w{n}" for n in range(count)] + [None]

    assert in_page(pl.Series("x", words)) == words


def test_an_empty_frame_has_columns_and_no_rows():
    columns, buffers = encode(pl.DataFrame(schema={"a": pl.Int64, "b": pl.String}))

    assert [column["name"] for column in columns] == ["a", "b"]
    assert decode({"n": 0, "columns": columns}, list(buffers)) == []


def test_ten_rows_of_four_columns_take_few_bytes():
    frame = pl.DataFrame(
        {"t": [AT] * 10, "price": [1.5] * 10, "symbol": ["NVDA"] * 10, "n": [1] * 10}
    )

    assert sum(map(len, encode(frame).buffers)) == 10 * (8 + 8 + 1 + 8)


def test_columns_without_a_type_in_the_page_become_text_once():
    frame = simple(pl.DataFrame({"a": [[1]], "b": [1], "c": [{"x": None}]}))

    assert frame.schema == {"a": pl.String, "b": pl.Int64, "c": pl.String}
    assert frame.row(0) == ("[1]", 1, '{"x": null}')


NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(allow_nan=False)),
        st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
        NUMBERS,
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_whatever_the_rows_are_a_page_reads_them_back(rows: list[Any]):
    schema = {"f": pl.Float64, "s": pl.String, "i": pl.Int64, "b": pl.Boolean}
    columns, buffers = encode(pl.DataFrame(rows, schema=schema, orient="row"))

    read = decode({"n": len(rows), "columns": columns}, list(buffers))

    exact = [
        (f, s, str(i) if i is not None and abs(i) > SAFE else i, b)
        for f, s, i, b in rows
    ]
    assert [tuple(row.values()) for row in read] == exact
