from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.durations import Span, fixed_span, is_size, seconds, size, span
from streamlab.errors import SpanError


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("500ms", 500_000),
        ("10s", 10_000_000),
        ("1h30m", 5_400_000_000),
        ("1d", 86_400_000_000),
        ("1w2d", 9 * 86_400_000_000),
        ("7us", 7),
        ("0s", 0),
    ],
)
def test_a_span_is_read_as_polars_reads_it(text: str, us: int):
    assert span(text, "every") == Span(0, us)


def test_months_quarters_and_years_have_no_fixed_length():
    assert [span(text, "every").months for text in ("1mo", "2q", "1y6mo")] == [1, 6, 18]

    with pytest.raises(SpanError, match=r"months have no fixed length here.*\"30d\""):
        fixed_span("1mo", "keep")


def test_a_timedelta_is_a_span_to_the_microsecond():
    assert span(timedelta(days=1, microseconds=3), "keep").us == 86_400_000_003


@settings(deadline=None)
@given(st.integers(0, 10**16))
def test_the_text_of_a_span_is_read_back_by_us_and_by_polars(us: int):
    text = Span(0, us).text

    assert span(text, "every").us == us
    moved = pl.select(pl.lit(0).cast(pl.Datetime("us")).dt.offset_by(text).cast(int))
    assert moved.item() == us


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (10, '10: ten what? Write "10s", "10m" or timedelta(seconds=10).'),
        (1.5, '1.5: 1.5 what? Write "1500ms" or timedelta(seconds=1.5).'),
        ("10", '10 what? Write "10s", "10m" or "10h".'),
        ("5min", 'write "5m"'),
        ("5M", '"5m" (minutes) or "5mo" (months)?'),
        ("1.5s", 'write "1500ms"'),
        ("PT5M", 'write "5m"'),
        ("P1DT2H", 'write "1d2h"'),
        ("2 hours", 'write "2h"'),
        ("", 'write a span like "500ms"'),
        ("soon", 'write a span like "500ms"'),
        ("1s nonsense", 'write a span like "500ms"'),
        ("1mo3d", "mixes months with units of fixed length"),
        (True, "is not a span of time"),
        (None, "is not a span of time"),
        (timedelta(seconds=-1), "can't be negative"),
    ],
)
def test_what_is_no_span_is_refused_with_what_to_write(value: Any, words: str):
    with pytest.raises(SpanError, match=re.escape(words)):
        span(value, "every")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("64MB", 64_000_000),
        ("64MiB", 64 * 1024**2),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("10 kB", 10_000),
        ("7b", 7),
        (4096, 4096),
    ],
)
def test_sizes_count_in_powers_of_1000_or_of_1024(text: str | int, count: int):
    assert size(text, "keep") == count


@pytest.mark.parametrize("value", ["64", "5m", "-1MB", 0, -3, True, 1.5, None, "1XB"])
def test_what_is_no_size_is_refused(value: Any):
    with pytest.raises(SpanError, match="keep="):
        size(value, "keep")


def test_a_size_is_told_from_a_span():
    assert is_size("5MB")
    assert not is_size("5m")
    assert not is_size(5)


def test_a_time_out_is_seconds_a_span_or_for_ever():
    assert seconds(1.5, "timeout") == 1.5
    assert seconds("2m", "timeout") == 120
    assert seconds(None, "timeout") is None
    for wrong in (-1, "1mo", True):
        with pytest.raises(SpanError, match="timeout="):
            seconds(wrong, "timeout")
