"""Moving moments by the clock on a zone's wall: a day later is the same time of the next day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from streamlab.durations import UNIT_US, Span
from streamlab.engine.watermark import Int64s

_DAY = UNIT_US["d"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moved(times: Int64s, by: Span, zone: str, *, back: bool = False) -> Int64s:
    """`times` (µs since 1970 UTC) so much later, or earlier: months, weeks and days by the
    calendar of the zone, what is less than a day as it is.

    A wall time that comes twice is the first of both; one that does not exist stands for the
    moment at which the clocks jumped over it (polars' `offset_by` goes back an hour there, or
    raises where a whole day is missing).
    """
    days, rest = divmod(by.us, _DAY)
    sign = -1 if back else 1
    if not (by.months or days):
        return times + sign * rest
    text = f"{by.months}mo" if by.months else f"{days}d"
    utc = pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    wall = utc.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    wall = wall.dt.offset_by(f"-{text}" if back else text)
    there = wall.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    if there.has_nulls():
        jumps = {each: _jump(each, zone) for each in wall.filter(there.is_null())}
        found = there.cast(pl.Int64).to_list()
        pairs = zip(found, wall.to_list(), strict=True)
        found = [jumps[each] if us is None else us for us, each in pairs]
        there = pl.Series(found, dtype=pl.Int64)
    return there.cast(pl.Int64).to_numpy() + sign * rest


def _jump(wall: datetime, zone: str) -> int:
    """The moment (µs) at which the clocks went over a wall time that does not exist."""
    info = ZoneInfo(zone)
    local = wall.replace(tzinfo=info)
    ahead, behind = local.replace(fold=1).utcoffset(), local.utcoffset()
    if ahead is None or behind is None:  # pragma: no cover - a zone always knows
        return _us(wall.replace(tzinfo=UTC) - _EPOCH)
    utc = wall.replace(tzinfo=UTC)
    before, after = _us(utc - ahead - _EPOCH), _us(utc - behind - _EPOCH)
    # Between these two the offset changes; PEP 495: fold tells which side to look from.
    while after - before > 1:
        middle = (before + after) // 2
        at = (_EPOCH + timedelta(microseconds=middle)).astimezone(info)
        if at.utcoffset() == behind:
            before = middle
        else:
            after = middle
    return after


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
