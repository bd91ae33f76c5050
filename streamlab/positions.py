"""Where to start and where to end: users' words made into a `Position`, and the walk back from
the ends that finds the newest so many messages.

A wall-clock time that a zone has twice (clocks set back) is the first of the two; one that it
skips (clocks set forward) is as much later as the gap is long.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from streamlab.clocks import Clock
from streamlab.durations import fixed_span
from streamlab.errors import PositionError, TimeZoneError, nearest
from streamlab.records import (
    AtOffsets,
    AtTime,
    Earliest,
    Latest,
    Newest,
    Offset,
    Partition,
    Position,
    Resolved,
)

# One page a partition is enough for most requests and small enough not to hurt a broker.
PAGE = 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")
_LOOKS_LIKE_TIME = re.compile(r"\d{4}-\d|today\b|yesterday\b|\d{1,2}:\d\d")
_TIME = re.compile(
    r"(?P<day>\d{4}-\d{1,2}-\d{1,2}|today|yesterday)"
    r"(?:[T ]+(?P<clock>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?))?"
    r"\s*(?P<zone>.*)"
)
_SHIFT = re.compile(r"([+-])(\d{2}):?(\d{2})?")
_FORMS = (
    '"earliest", "latest", -500 (the newest 500 messages), "15m" (back from now), '
    '"2026-11-22 14:00 Europe/Berlin", "yesterday 14:00 Europe/Berlin", '
    "an aware datetime or {partition: offset}"
)


def parse(value: object, *, what: str, clock: Clock) -> Position:
    """Read a `start` or `until` as the user wrote it.

    Args:
        value: what was given; a `Position` passes through.
        what: name of the argument, for messages.
        clock: tells "now" for spans back and for "today".

    Raises:
        PositionError: it names no position.
        TimeZoneError: a time without a zone, or with one that does not exist.
        SpanError: text that looks like a span of time but isn't one.
    """
    match value:
        case Earliest() | Latest() | Newest() | AtTime() | AtOffsets():
            found: Position = value
        case int() if not isinstance(value, bool):
            found = _back(value, what)
        case Mapping():
            found = AtOffsets(
                {_number(k, what): _offset(v, what) for k, v in value.items()}
            )
        case datetime():
            found = _moment(value, what)
        case timedelta():
            found = _span_back(value, what, clock)
        case str():
            found = _from_text(value.strip(), what, clock)
        case _:
            raise PositionError(
                f"{what}={value!r} is no position. There are: {_FORMS}."
            )
    return found


async def newest(
    count: int,
    ends: Resolved,
    back: Callable[[Partition, Offset, int], Awaitable[Sequence[tuple[Offset, int]]]],
) -> dict[Partition, Offset]:
    """The first offsets of the newest `count` messages over all partitions.

    Walks back from the ends, always in the partition whose next message back is newest (of
    equally new ones the highest partition), and counts messages, not offsets: a partition's
    timestamps may go back, offsets may have gaps.

    Args:
        count: how many messages at most; with fewer there are, all of them.
        ends: where each partition ends now; offsets from there on don't count.
        back: (partition, before, most) → up to `most` messages that come just before the
            offset `before`, newest first, as (offset, timestamp in ms); empty at the start.

    Returns:
        One offset per partition of `ends`; its end if none of its messages is among them.
    """
    first = dict(ends)
    size = min(count, PAGE)
    if size <= 0:
        return first
    pages = await asyncio.gather(*(back(p, end, size) for p, end in ends.items()))
    waiting = {p: list(reversed(page)) for p, page in zip(ends, pages, strict=True)}
    ranks = {p: rank for rank, p in enumerate(sorted(ends, reverse=True))}
    heap = [(-page[-1][1], ranks[p], p) for p, page in waiting.items() if page]
    heapq.heapify(heap)
    while heap and count:
        _, rank, p = heap[0]
        first[p], _ = waiting[p].pop()
        count -= 1
        if not waiting[p] and count:
            waiting[p] = list(reversed(await back(p, first[p], min(count, PAGE))))
        if waiting[p]:
            heapq.heapreplace(heap, (-waiting[p][-1][1], rank, p))
        else:
            heapq.heappop(heap)
    return first


def _back(value: int, what: str) -> Newest:
    if value >= 0:
        raise PositionError(
            f"{what}={value}: an offset needs its partition: {what}={{0: {value}}}. "
            f"The newest {value or 500} messages: {what}={-(value or 500)}."
        )
    return Newest(-value)


def _number(key: object, what: str) -> int:
    if isinstance(key, int) and not isinstance(key, bool) and key >= 0:
        return key
    raise PositionError(
        f"{what}: {key!r} is not a partition. Write {{partition: offset}}, as in {{0: 500}}."
    )


def _offset(value: object, what: str) -> Offset:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _ENTRY_ID.fullmatch(value):
        return value
    raise PositionError(
        f"{what}: {value!r} is not an offset. Write a number from 0 up, as in {{0: 500}}, "
        'or a Redis entry id, as in {0: "1767225600000-3"}.'
    )


def _moment(value: datetime, what: str) -> AtTime:
    if value.tzinfo is None:
        raise TimeZoneError(
            f"{what}={value!r} has no zone. "
            f"Write {what}=datetime(…, tzinfo=ZoneInfo('Europe/Berlin')), "
            f'or "{value:%Y-%m-%d %H:%M} Europe/Berlin" or "{value:%Y-%m-%d %H:%M}Z".'
        )
    return AtTime(_ms(value))


def _ms(moment: datetime) -> int:
    """Milliseconds since 1970, rounded up: the first offset at or after `moment` is meant."""
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


def _span_back(value: object, what: str, clock: Clock) -> AtTime:
    span = fixed_span(value, what)
    return AtTime(-((span.us - clock.now_ms() * 1000) // 1000))


def _from_text(text: str, what: str, clock: Clock) -> Position:
    if text in {"earliest", "latest"}:
        return Earliest() if text == "earliest" else Latest()
    if _ENTRY_ID.fullmatch(text):
        return AtOffsets({0: text})
    if _LOOKS_LIKE_TIME.match(text):
        return _time_text(text, what, clock)
    if re.match(r"(PT?)?\d", text):
        return _span_back(text, what, clock)
    raise PositionError(_not_a_word(text, what))


def _not_a_word(text: str, what: str) -> str:
    if text == "committed":
        return (
            f'{what}="committed" needs a group, and no group was joined. '
            'Write "earliest", "latest" or a time.'
        )
    if re.fullmatch(r"-\d+", text):
        return f"{what}={text!r}: write it as a number, {what}={text}."
    near = nearest(text, ["earliest", "latest"], most=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return f"{what}={text!r} is no position.{hint} There are: {_FORMS}."


def _time_text(text: str, what: str, clock: Clock) -> AtTime:
    found = _TIME.fullmatch(text)
    if found is None:
        raise PositionError(
            f"{what}={text!r} is not a time. "
            'Write "2026-11-22 14:00 Europe/Berlin" or "2026-11-22 14:00Z".'
        )
    zone = _zone(found["zone"], text, what)
    try:
        day = _day(found["day"], zone, clock)
        clock_time = _clock_time(found["clock"] or "00:00")
        moment = datetime.combine(day, clock_time, tzinfo=zone)
    except ValueError as error:
        raise PositionError(f"{what}={text!r} is not a time: {error}.") from error
    return AtTime(_ms(moment.astimezone(UTC)))


def _day(text: str, zone: tzinfo, clock: Clock) -> date:
    if text[0].isdigit():
        year, month, day = map(int, text.split("-"))
        return date(year, month, day)
    now = (_EPOCH + timedelta(milliseconds=clock.now_ms())).astimezone(zone)
    return now.date() - timedelta(days=text == "yesterday")


def _clock_time(text: str) -> time:
    clock, _, fraction = text.replace(",", ".").partition(".")
    parts = [int(part) for part in clock.split(":")]
    hour, minute, second = (*parts, 0)[:3]
    return time(hour, minute, second, int(fraction[:6].ljust(6, "0")))


def _zone(text: str, whole: str, what: str) -> tzinfo:
    if not text:
        raise TimeZoneError(
            f'{what}="{whole}" has no zone. Write "{whole} Europe/Berlin" or "{whole}Z".'
        )
    if text.upper() in {"Z", "UTC"}:
        return UTC
    if shift := _SHIFT.fullmatch(text):
        sign, hours, minutes = shift.groups()
        size = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if size < timedelta(hours=24):
            return timezone(size if sign == "+" else -size)
    known = available_timezones()
    if text in known:
        return ZoneInfo(text)
    by_lower = {name.lower(): name for name in known}
    near = nearest(text.lower(), by_lower) or [
        low for low in by_lower if low.endswith("/" + text.lower().replace(" ", "_"))
    ]
    hint = f" Nearest: {', '.join(repr(by_lower[n]) for n in near)}." if near else ""
    raise TimeZoneError(
        f'{what}="{whole}": no time zone {text!r}.{hint} '
        'Write a name like "Europe/Berlin", a shift like "+01:00", or "Z".'
    )
