"""Writing JSON, and reading it back."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.errors import EncodeError
from streamlab.formats.json import make

# Without a zone on purpose; a day from the calendar's ends, for zones move them.
FIRST, LAST = datetime.min + timedelta(days=1), datetime.max - timedelta(days=1)  # noqa: DTZ901
MOMENTS = st.datetimes(FIRST, LAST)
LEAVES: dict[pl.DataType, st.SearchStrategy[object]] = {
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.Int8(): st.integers(-128, 127),
    pl.UInt32(): st.integers(0, 2**32 - 1),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Float64(): st.floats(allow_nan=False, allow_infinity=False),
    pl.Float32(): st.floats(allow_nan=False, allow_infinity=False, width=32),
    pl.String(): st.text(),
    pl.Boolean(): st.booleans(),
    pl.Date(): st.dates(date(1, 1, 1), date(9999, 12, 31)),
    pl.Datetime("us"): MOMENTS,
    pl.Datetime("us", "UTC"): MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
    pl.Datetime("ms", "Asia/Tokyo"): MOMENTS.map(
        lambda moment: moment.replace(microsecond=5000, tzinfo=UTC)
    ),
    pl.Enum(["a", "ä", ""]): st.sampled_from(["a", "ä", ""]),
}
NESTED: dict[pl.DataType, st.SearchStrategy[object]] = {
    dtype: LEAVES[dtype]
    for dtype in (pl.Int64(), pl.Float64(), pl.String(), pl.Boolean())
}
NAMES = st.text(max_size=4) | st.sampled_from(
    ["_key", "_key_", "_key__", "__time", 'a"\n']
)


def nested(
    dtype: pl.DataType, values: st.SearchStrategy[object]
) -> list[tuple[pl.DataType, st.SearchStrategy[object]]]:
    some = st.none() | values
    fields = st.fixed_dictionaries({"x": some, 'y"': some})
    return [
        (dtype, values),
        (pl.List(dtype), st.lists(some, max_size=3)),
        (pl.Struct({"x": dtype, 'y"': dtype}), fields),
        (
            pl.List(pl.Struct({"x": dtype, 'y"': dtype})),
            st.lists(st.none() | fields, max_size=3),
        ),
        (
            pl.List(pl.List(dtype)),
            st.lists(st.none() | st.lists(some, max_size=2), max_size=2),
        ),
    ]


COLUMNS = [
    *LEAVES.items(),
    *(each for leaf in NESTED.items() for each in nested(*leaf)),
]


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(1, 4))
    names = draw(
        st.lists(NAMES, min_size=1, max_size=4, unique_by=lambda n: n.rstrip("_") or n)
    )
    columns = []
    for name in names:
        dtype, values = draw(st.sampled_from(COLUMNS))
        cells = draw(st.lists(st.none() | values, min_size=height, max_size=height))
        columns.append(pl.Series(name, cells, dtype=dtype))
    return pl.DataFrame(columns)


@given(frames())
@settings(deadline=None, max_examples=150)
def test_what_is_written_is_read_back_the_same(frame: pl.DataFrame) -> None:
    payloads = make().encode(frame)

    again = make().decode(payloads, frame.schema)

    assert [json.loads(payload) is not None for payload in payloads] == [
        True
    ] * frame.height
    assert not again.rejected
    assert again.frame.schema == frame.schema
    assert again.frame.equals(frame)
    assert not again.missing
    assert not again.extra


def test_times_go_as_iso_text_in_utc() -> None:
    noon = datetime(2026, 11, 22, 12, 0, 0, 113_000, tzinfo=UTC)
    frame = pl.DataFrame({"t": [noon], "d": [date(2026, 11, 22)]}).with_columns(
        berlin=pl.col("t").dt.convert_time_zone("Europe/Berlin"),
        naive=pl.col("t").dt.replace_time_zone(None),
        inside=pl.struct(at="t"),
        many=pl.concat_list("t"),
    )

    (payload,) = make().encode(frame)

    text = "2026-11-22T12:00:00.113000Z"
    assert json.loads(payload) == {
        "t": text, "d": "2026-11-22", "berlin": text, "naive": text, "inside": {"at": text},
        "many": [text],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pl.DataFrame({"a": [b"x"]}), "'a' is Binary"),
        (pl.DataFrame({"a": [timedelta(1)]}), "total_microseconds"),
        (pl.DataFrame({"a": [1.5]}).cast(pl.Decimal(9, 2)), r"cast\(pl.String\)"),
        (pl.DataFrame({"a": [{"x": [b"x"]}]}), r"'a\.x\[\]' is Binary"),
        (pl.DataFrame({"a": [1.0, float("nan")]}), "'a' holds NaN"),
        (
            pl.DataFrame({"a": [[1.0], [float("inf")]]}),
            r"'a\[\]' holds NaN or infinity",
        ),
        (pl.DataFrame({"_key": [1], "_key_": [2]}), "the field '_key'"),
    ],
)
def test_what_json_has_no_word_for_is_refused_with_a_way_out(
    frame: pl.DataFrame, words: str
) -> None:
    with pytest.raises(EncodeError, match=words):
        make().encode(frame)


def test_rows_without_columns_and_columns_without_rows() -> None:
    assert make().encode(pl.DataFrame({"a": [1, 2]}).drop("a")) == [b"{}", b"{}"]
    assert make().encode(pl.DataFrame(schema={"a": pl.List(pl.Datetime("us"))})) == []
