"""Spans of time and sizes, as users write them: one parser for both.

A span is one of polars' duration strings ("500ms", "10s", "1h30m", "1d", "1w", "1mo") or a
`timedelta`; a size is "64MB" or "64MiB" (kB MB GB = powers of 1000, KiB MiB GiB of 1024).
A bare number is never a span: ten what?
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import NamedTuple

from streamlab.errors import SpanError

UNIT_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 7 * 86_400_000_000,
}
# Months have no fixed length: only windows take them, and polars does that arithmetic.
CALENDAR = {"mo": 1, "q": 3, "y": 12}
_PART = re.compile(r"(\d+)(us|ms|mo|s|m|h|d|w|q|y)")
_SIZE_UNITS = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")
_LIKELY = {
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "min": "m",
    "mins": "m",
    "minute": "m",
    "minutes": "m",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
    "month": "mo",
    "months": "mo",
    "S": "s",
    "H": "h",
    "D": "d",
    "µs": "us",
}


class Span(NamedTuple):
    """A span of time: so many months and so many microseconds (one of them is 0)."""

    months: int
    us: int

    @property
    def text(self) -> str:
        """The span as polars writes it."""
        if self.months:
            return f"{self.months}mo"
        left, parts = self.us, []
        for unit in ("w", "d", "h", "m", "s", "ms", "us"):
            count, left = divmod(left, UNIT_US[unit])
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts) or "0us"

    @property
    def seconds(self) -> float:
        """Length in seconds; only for spans without months."""
        return self.us / 1e6


def span(value: object, what: str) -> Span:
    """Read a span; `what` is the name of the argument, for the message.

    Raises:
        SpanError: it is not a duration string or a timedelta, is negative, or mixes
            months with fixed units.
    """
    if isinstance(value, timedelta):
        us = value // timedelta(microseconds=1)
        if us < 0:
            raise SpanError(f"{what}={value!r}: a span can't be negative.")
        return Span(0, us)
    if isinstance(value, bool) or not isinstance(value, str):
        raise SpanError(_not_a_span(value, what))
    return _from_text(value, what)


def fixed_span(value: object, what: str) -> Span:
    """Read a span of fixed length: months and years are refused."""
    found = span(value, what)
    if found.months:
        raise SpanError(
            f"{what}={value!r}: months have no fixed length here. "
            f'Write days, "{found.months * 30}d", or shorter units.'
        )
    return found


def seconds(value: object, what: str) -> float | None:
    """Read a time-out: a number of seconds, a span, or None for ever."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < 0:
            raise SpanError(f"{what}={value!r}: a time-out can't be negative.")
        return float(value)
    return fixed_span(value, what).seconds


def is_size(value: object) -> bool:
    """Whether text like "64MB" names a size rather than a span."""
    if not isinstance(value, str):
        return False
    match = _SIZE.fullmatch(value)
    return bool(match and match[2].lower() in _SIZE_UNITS)


def size(value: object, what: str) -> int:
    """Read a size in bytes: "64MB", "1.5GiB", or a number of bytes.

    Raises:
        SpanError: it is not a size.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value <= 0:
            raise SpanError(f"{what}={value!r}: a size must be positive.")
        return value
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match and match[2].lower() in _SIZE_UNITS:
            return int(float(match[1]) * _SIZE_UNITS[match[2].lower()])
    raise SpanError(
        f'{what}={value!r} is not a size. Write "64MB", "1GiB" or a number of bytes.'
    )


def _from_text(text: str, what: str) -> Span:
    months = us = 0
    at = 0
    for match in _PART.finditer(text):
        if match.start() != at:
            break
        at = match.end()
        count, unit = int(match[1]), match[2]
        if unit in CALENDAR:
            months += count * CALENDAR[unit]
        else:
            us += count * UNIT_US[unit]
    if not text or at != len(text):
        raise SpanError(f"{what}={text!r}: {_advice(text)}")
    if months and us:
        raise SpanError(
            f"{what}={text!r} mixes months with units of fixed length. Write one of them."
        )
    return Span(months, us)


def _advice(text: str) -> str:
    """What the writer of an unreadable span most likely meant."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([^\d\s]*)\s*", text)
    if match:
        number, unit = match.groups()
        if unit == "":
            return f'{number} what? Write "{number}s", "{number}m" or "{number}h".'
        if unit == "M":
            return f'"{number}m" (minutes) or "{number}mo" (months)?'
        unit = _LIKELY.get(unit, unit)
        if unit in UNIT_US or unit in CALENDAR:
            return f'write "{_whole(number, unit)}".'
    iso = re.fullmatch(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", text)
    if iso and any(iso.groups()):
        parts = zip(iso.groups(), "dhms", strict=True)
        return f'write "{"".join(n + u for n, u in parts if n)}".'
    return 'write a span like "500ms", "10s", "15m", "1h30m", "1d" or "1mo".'


def _whole(number: str, unit: str) -> str:
    """`number` of `unit` without a decimal point: "1.5s" → "1500ms"."""
    value = float(number)
    if value.is_integer():
        return f"{int(value)}{unit}"
    if unit in CALENDAR:
        return f"{round(value * CALENDAR[unit])}mo"
    return (
        Span(0, round(value * UNIT_US[unit])).text
        if unit != "s"
        else f"{round(value * 1000)}ms"
    )


def _not_a_span(value: object, what: str) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        words: dict[float, str] = {1: "one", 5: "five", 10: "ten", 60: "sixty"}
        said = words.get(value, f"{value:g}")
        number = _whole(f"{value}", "s") if isinstance(value, float) else f"{value}s"
        minutes = f', "{value}m"' if isinstance(value, int) else ""
        return (
            f"{what}={value!r}: {said} what? "
            f'Write "{number}"{minutes} or timedelta(seconds={value!r}).'
        )
    return (
        f'{what}={value!r} is not a span of time. Write "10s" or timedelta(seconds=10).'
    )
