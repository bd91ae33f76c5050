from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab import positions
from streamlab.clocks import HandClock
from streamlab.errors import PositionError, SpanError, TimeZoneError
from streamlab.records import (
    AtOffsets,
    AtTime,
    Earliest,
    Latest,
    Newest,
    Offset,
    Partition,
    Position,
)

NOW = datetime(2026, 11, 23, 10, 2, tzinfo=UTC)
clock = HandClock(int(NOW.timestamp() * 1000))
BERLIN = ZoneInfo("Europe/Berlin")


def parse(value: object) -> Position:
    return positions.parse(value, what="start", clock=clock)


def at(*parts: int, zone: ZoneInfo | None = None) -> AtTime:
    year, month, day, *rest = parts
    hour, minute, second = (*rest, 0, 0, 0)[:3]
    moment = datetime(year, month, day, hour, minute, second, tzinfo=zone or UTC)
    return AtTime(int(moment.timestamp() * 1000))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("earliest", Earliest()),
        ("latest", Latest()),
        (-500, Newest(500)),
        ({0: 5, 3: 0}, AtOffsets({0: 5, 3: 0})),
        ({0: "1767225600000-3"}, AtOffsets({0: "1767225600000-3"})),
        ("1767225600000-3", AtOffsets({0: "1767225600000-3"})),
        (datetime(2026, 11, 22, 14, tzinfo=BERLIN), at(2026, 11, 22, 13)),
        ("2026-11-22 14:00 Europe/Berlin", at(2026, 11, 22, 13)),
        ("2026-11-22 14:00Europe/Berlin", at(2026, 11, 22, 13)),
        ("2026-11-22 14:00Z", at(2026, 11, 22, 14)),
        ("2026-11-22T14:00:30Z", at(2026, 11, 22, 14, 0, 30)),
        ("2026-11-22T14:00:30+01:00", at(2026, 11, 22, 13, 0, 30)),
        ("2026-11-22 14:00 -0530", at(2026, 11, 22, 19, 30)),
        ("2026-11-22 UTC", at(2026, 11, 22)),
        ("yesterday 14:00 Europe/Berlin", at(2026, 11, 22, 13)),
        ("today 09:30 Europe/Berlin", at(2026, 11, 23, 8, 30)),
        ("today Asia/Tokyo", at(2026, 11, 22, 15)),
        # 10:02 in London is the next day already on Kiribati.
        ("yesterday 00:00 Pacific/Kiritimati", at(2026, 11, 22, 10)),
        ("15m", at(2026, 11, 23, 9, 47)),
        (timedelta(hours=1), at(2026, 11, 23, 9, 2)),
        (AtTime(7), AtTime(7)),
        (Newest(3), Newest(3)),
    ],
)
def test_a_position_is_read_as_written(value: object, expected: Position) -> None:
    assert parse(value) == expected


def test_a_moment_between_two_milliseconds_is_rounded_up() -> None:
    moment = NOW + timedelta(microseconds=1)

    assert parse(moment) == AtTime(clock.now_ms() + 1)
    assert parse(timedelta(microseconds=1)) == AtTime(clock.now_ms())
    assert parse("1969-12-31 23:59:59.9995Z") == AtTime(0)


def test_an_hour_that_comes_twice_is_the_first_of_both() -> None:
    assert parse("2026-10-25 02:30 Europe/Berlin") == at(2026, 10, 25, 0, 30)


def test_an_hour_that_is_skipped_is_moved_on() -> None:
    assert parse("2026-03-29 02:30 Europe/Berlin") == at(2026, 3, 29, 1, 30)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, r"start=5: an offset needs its partition: start=\{0: 5\}.*start=-5"),
        (0, r"start=\{0: 0\}.*start=-500"),
        (True, "start=True is no position"),
        (None, "start=None is no position"),
        ("-500", "write it as a number, start=-500"),
        ("committed", "needs a group, and no group was joined"),
        ("earlyest", 'Did you mean "earliest"'),
        ({"a": 1}, "'a' is not a partition"),
        ({-1: 1}, "-1 is not a partition"),
        ({0: -1}, "-1 is not an offset"),
        ({0: "x"}, "'x' is not an offset"),
        ("2026-13-01 10:00Z", "is not a time: month must be in 1..12"),
        ("2026-11-22 25:00Z", "is not a time: hour must be in 0..23"),
        ("14:00 Europe/Berlin", 'Write "2026-11-22 14:00 Europe/Berlin"'),
    ],
)
def test_what_names_no_position_is_refused(value: object, message: str) -> None:
    with pytest.raises(PositionError, match=message):
        parse(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2026, 11, 22, 14), r'"2026-11-22 14:00 Europe/Berlin"'),  # noqa: DTZ001
        (
            "2026-11-22 14:00",
            r'has no zone. Write "2026-11-22 14:00 Europe/Berlin" or "2026-11-22 14:00Z"',
        ),
        ("yesterday", 'has no zone. Write "yesterday Europe/Berlin"'),
        ("2026-11-22 14:00 Europe/Berln", "Nearest: 'Europe/Berlin'"),
        ("2026-11-22 14:00 berlin", "Nearest: 'Europe/Berlin'"),
        ("2026-11-22 14:00 +99:00", r"no time zone '\+99:00'"),
    ],
)
def test_a_time_without_a_zone_is_refused_with_the_correction(
    value: object, message: str
) -> None:
    with pytest.raises(TimeZoneError, match=message):
        parse(value)


@pytest.mark.parametrize("value", ["5min", "15", "1mo", "PT5M"])
def test_a_span_that_cannot_be_read_is_refused_by_name(value: str) -> None:
    with pytest.raises(SpanError, match=f"start='{value}'"):
        parse(value)


# ---- the walk back -----------------------------------------------------------


Log = list[tuple[int, int]]  # (offset, ms), oldest first


@st.composite
def logs(draw: st.DrawFn) -> dict[Partition, Log]:
    """Partitions with gaps between offsets, equal times and times that go back."""
    found: dict[Partition, Log] = {}
    for number in range(draw(st.integers(1, 4))):
        offset, rows = 0, []
        for _ in range(draw(st.integers(0, 15))):
            offset += draw(st.integers(1, 3))
            rows.append((offset, draw(st.integers(0, 12))))
        found[Partition("t", number)] = rows
    return found


def expected(
    count: int, held: dict[Partition, Log], ends: dict[Partition, int]
) -> dict[Partition, Offset]:
    """One message at a time, always where the next one back is newest."""
    left = {p: [row for row in rows if row[0] < ends[p]] for p, rows in held.items()}
    first: dict[Partition, Offset] = {**ends}
    for _ in range(count):
        fronts = [(rows[-1][1], p) for p, rows in left.items() if rows]
        if not fronts:
            break
        first[max(fronts)[1]] = left[max(fronts)[1]].pop()[0]
    return first


@settings(deadline=None, max_examples=300)
@given(logs(), st.integers(1, 50), st.integers(1, 4), st.data())
async def test_the_newest_messages_are_found_as_the_list_model_finds_them(
    held: dict[Partition, Log], count: int, page: int, data: st.DataObject
) -> None:
    ends = {
        p: data.draw(st.integers(0, rows[-1][0] + 3 if rows else 3), label=str(p))
        for p, rows in held.items()
    }

    async def back(
        partition: Partition, before: Offset, most: int
    ) -> Sequence[tuple[Offset, int]]:
        await asyncio.sleep(0)
        assert isinstance(before, int)
        assert 0 < most <= positions.PAGE
        rows = [row for row in held[partition] if row[0] < before]
        return rows[::-1][: min(most, page)]

    found = await positions.newest(count, ends, back)

    assert found == expected(count, held, ends)


async def test_no_page_is_asked_for_that_is_not_needed() -> None:
    asked: list[tuple[Offset, int]] = []

    async def back(
        partition: Partition, before: Offset, most: int
    ) -> Sequence[tuple[Offset, int]]:
        asked.append((before, most))
        assert isinstance(before, int)
        return [(o, o) for o in range(before - 1, max(-1, before - 1 - most), -1)]

    found = await positions.newest(2500, {Partition("t", 0): 9000}, back)

    assert found == {Partition("t", 0): 6500}
    assert asked == [(9000, 2000), (7000, 500)]
