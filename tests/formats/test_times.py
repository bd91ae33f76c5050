"""Values to times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.formats.times import can_be_time, to_utc

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SECOND = 1_795_348_800


def times(values: Sequence[object], dtype: pl.DataType | None = None) -> list[object]:
    found = to_utc(pl.Series("t", values, dtype=dtype, strict=False))
    assert found.name == "t"
    assert found.dtype == pl.Datetime("us", "UTC")
    return found.to_list()


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
def test_a_whole_number_tells_its_unit_by_its_size(scale: int) -> None:
    assert times([SECOND * scale, None]) == [NOON, None]


def test_numbers_of_several_sizes_stand_in_one_column() -> None:
    mixed = [SECOND, SECOND * 1000, SECOND * 10**6, SECOND * 10**9, 0, -1, None]

    moments = times(mixed)

    assert moments[:4] == [NOON] * 4
    assert moments[4:] == [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        None,
    ]


def test_fractions_of_seconds_and_milliseconds_are_kept() -> None:
    moment = NOON + timedelta(milliseconds=113)

    assert times([SECOND + 0.113, SECOND * 1000.0 + 113, None]) == [
        moment,
        moment,
        None,
    ]


def test_numbers_that_are_no_time_become_null() -> None:
    assert times([1e300, float("nan"), float("inf"), -1e30]) == [None] * 4
    assert times([2**64 - 1], pl.UInt64()) == [None]
    assert times([-62_135_596_801]) == [None]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T12:00:00Z",
        "2026-11-22T13:00:00+01:00",
        "2026-11-22T13:00:00+0100",
        "2026-11-22T12:00:00",
        "2026-11-22 12:00:00",
        "2026-11-22 12:00:00.000000000Z",
        "2026-11-22T12:00Z",
        "20261122T120000Z",
        str(SECOND),
        str(SECOND * 1000),
        f"{SECOND}.0",
    ],
)
def test_iso_text_and_digits_are_times(text: str) -> None:
    assert times([text]) == [NOON]
    assert times([text, "x", None, "2026-11-22", text]) == [
        NOON,
        None,
        None,
        datetime(2026, 11, 22, tzinfo=UTC),
        NOON,
    ]


@pytest.mark.parametrize(
    "text",
    ["", "x", "12:00", "20261122", "2026-02-30T00:00:00Z", "2026-11-22T12:00:60Z",
     " 2026-11-22T12:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00",
     "2026-11-22T12:00:00+25:00", "NaN", "1e9"],
)  # fmt: skip
def test_other_text_is_no_time(text: str) -> None:
    assert times([text]) == [None]
    assert times([text, "2026-11-22T12:00:00Z"]) == [None, NOON]


@given(
    st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])
    )
)
@settings(deadline=None, max_examples=200)
def test_text_is_read_as_python_reads_it(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        expected = None

    assert times([moment.isoformat(), "2026-11-22"])[0] == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6))
@settings(deadline=None, max_examples=200)
def test_a_number_is_the_same_time_alone_and_among_others(numbers: list[int]) -> None:
    assert times(list(numbers)) == [times([number])[0] for number in numbers]


def test_datetimes_without_a_zone_are_utc_and_dates_are_midnight() -> None:
    naive = pl.Series("t", [NOON.replace(tzinfo=None)])
    berlin = pl.Series("t", [NOON]).dt.convert_time_zone("Europe/Berlin")

    assert to_utc(naive).to_list() == [NOON]
    assert to_utc(berlin.cast(pl.Datetime("ms", "Europe/Berlin"))).to_list() == [NOON]
    assert times([date(2026, 11, 22)]) == [datetime(2026, 11, 22, tzinfo=UTC)]


def test_truth_values_and_lists_hold_no_times() -> None:
    assert not can_be_time(pl.Boolean())
    assert not can_be_time(pl.List(pl.Int64))
    assert can_be_time(pl.Int32())
