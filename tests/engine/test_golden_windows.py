"""Streams written out by hand, with what windows must make of them, record by record."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from streamlab.changes import CLOSED, WINDOW_END
from streamlab.durations import span
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Source, Window
from tests.engine.lab import KEY, Lab, moment, seconds, table, window
from tests.engine.spans_lab import seconds_of

SOURCE = Source("lab")
N = pl.len().alias("n")
LIST = pl.col("x").alias("list")
KINDS: dict[str, dict[str, Any]] = {
    "tumbling": {"every": 10},
    "hopping": {"every": 10, "period": seconds(20)},
    "session": {"every": 10, "session": True},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def calendar(
    every: str, zone: str, period: str | None = None, offset: str = "0us"
) -> Window:
    """Without lateness; a row is never in the future."""
    return Window(
        SOURCE,
        span(every, "every"),
        (),
        None,
        span(offset, "offset"),
        zone,
        None,
        seconds(3600),
        (N,),
        None if period is None else span(period, "period"),
    )


def local(zone: str, *walls: str) -> list[float]:
    """Seconds since 1970 of wall times that come once."""
    info = ZoneInfo(zone)
    return [
        datetime.fromisoformat(each).replace(tzinfo=info).timestamp() for each in walls
    ]


def shown(frame: pl.DataFrame) -> list[tuple[str, str, int]]:
    frame = frame.sort(KEY).select(
        pl.col(KEY).dt.strftime("%Y-%m-%d %H:%M"),
        pl.col(WINDOW_END).dt.strftime("%Y-%m-%d %H:%M"),
        "n",
    )
    return frame.rows()


def ran(node: Window, times: list[float]) -> list[tuple[str, str, int]]:
    lab = Lab(node)
    lab.step(table(times))
    return shown(lab.frame())


# Sessions: (second, key) as handed over → (start, end, key, records, closed) in the end.
SESSIONS = {
    "extend forward": ([(0, "a"), (5, "a")], [(0, 15, "a", 2)], []),
    "extend back": ([(5, "a"), (0, "a")], [(0, 15, "a", 2)], []),
    "bridge two": ([(0, "a"), (14, "a"), (7, "a")], [(0, 24, "a", 3)], []),
    "exact gap": ([(0, "a"), (10, "a")], [(0, 10, "a", 1), (10, 20, "a", 1)], []),
    "other keys do not bridge": (
        [(0, "a"), (15, "a"), (7, "b")],
        [(0, 10, "a", 1), (7, 17, "b", 1), (15, 25, "a", 1)],
        [],
    ),
    "late into a closed one": (
        [(0, "a"), (17, "b"), (9, "a")],
        [(0, 10, "a", 1), (17, 27, "b", 1)],
        [(9, 2)],
    ),
    "beside a closed one": (
        [(0, "a"), (17, "b"), (10, "a")],
        [(0, 10, "a", 1), (10, 20, "a", 1), (17, 27, "b", 1)],
        [],
    ),
    "over by itself": (
        [(0, "a"), (40, "b"), (25, "a")],
        [(0, 10, "a", 1), (40, 50, "b", 1)],
        [(25, 2)],
    ),
    "late ones bridge nothing": (
        [(0, "a"), (14, "a"), (18, "b"), (7, "a")],
        [(0, 10, "a", 1), (14, 24, "a", 1), (18, 28, "b", 1)],
        [(7, 3)],
    ),
}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_at_their_edges(name: str, together: bool):  # noqa: FBT001 - parametrized
    stream, expected, late = SESSIONS[name]
    node = window(SOURCE, [N], by=("k",), session=True, lateness=seconds(5))
    lab = Lab(node)
    rows = table([second for second, _ in stream], k=[key for _, key in stream])

    for place in [None] if together else range(rows.height):
        lab.step(rows if place is None else rows.slice(place, 1))

    kept: dict[Any, Any] = {}
    for outcome in lab.all["window"]:
        for gone in outcome.change.removed.rows():
            del kept[gone]
        for row in outcome.change.added.iter_rows(named=True):
            kept[row[KEY], row["k"]] = row
    ends = [
        (
            (row[KEY] - moment(0)).seconds,
            (row[WINDOW_END] - moment(0)).seconds,
            row["k"],
            row["n"],
        )
        for row in kept.values()
    ]
    assert sorted(ends) == expected
    missed = lab.lines("late").select("__time", "__seq")
    assert [(int((t - moment(0)).seconds), seq) for t, seq in missed.rows()] == late


@kinds
def test_a_window_whose_end_is_the_watermark_is_closed(kind: str):
    lab = Lab(window(SOURCE, [N], lateness=seconds(5), **KINDS[kind]))
    lab.step(table([0, 14.999999]))
    before = seconds_of(lab.lines("closed"), WINDOW_END)

    lab.step(table([15]).with_columns(pl.lit(2, pl.Int64).alias("__seq")))

    assert before == []
    assert seconds_of(lab.lines("closed"), WINDOW_END) == [10]


@kinds
def test_a_row_exactly_the_lateness_behind_is_on_time(kind: str):
    lab = Lab(window(SOURCE, [LIST], lateness=seconds(5), **KINDS[kind]))

    lab.step(table([20, 15, 25.5, 20.5], x=[0, 1, 2, 3]))

    assert lab.lines("late").height == 0


def test_a_row_is_on_time_for_an_open_window_however_far_behind_it_is():
    lab = Lab(window(SOURCE, [N], lateness=seconds(5)))

    lab.step(table([14.999999, 0]))

    assert lab.lines("late").height == 0


@kinds
def test_a_record_dated_2099_is_rejected_and_closes_nothing(kind: str):
    lab = Lab(window(SOURCE, [N], lateness=seconds(0), **KINDS[kind]))
    times = [0, 4_070_908_800, 3]

    outcome = lab.step(table(times, stamps=[0, 1, 2]))["window"]

    assert outcome.rejected is not None
    assert outcome.rejected["_reason"].to_list() == ["time in the future"]
    assert outcome.counts.rejected == 1
    assert outcome.counts.passed == 2
    assert lab.lines("closed").height == lab.lines("late").height == 0
    assert lab.frame()["n"].max() == 2


@kinds
def test_a_silent_partition_holds_windows_open_until_it_is_idle(kind: str):
    lab = Lab(window(SOURCE, [N], lateness=seconds(0), **KINDS[kind]))
    lab.step(table([0, 100], [0, 0]), (0, 1))
    assert lab.lines("closed").height == 0

    lab.quiet((0,))

    assert seconds_of(lab.lines("closed"), WINDOW_END)[0] == 10
    # Back again, it is late where the others have gone on.
    lab.step(table([2], [1]), (0, 1))
    late = seconds_of(lab.lines("late"), WINDOW_END)
    assert late == (
        [10, 20] if kind == "hopping" else [12 if kind == "session" else 10]
    )


@kinds
def test_null_times_are_rejected_and_nothing_else_happens(kind: str):
    lab = Lab(window(SOURCE, [N], lateness=seconds(0), **KINDS[kind]))

    only = lab.step(table([None, None], stamps=[0, 1]))["window"]
    lab.step(table([5], stamps=[5]))

    assert only.counts == (2, 0, 0, 2, 0, 0)
    assert only.rejected is not None
    assert only.rejected["_reason"].to_list() == ["no event time"] * 2
    assert lab.frame()["n"].to_list() == ([1, 1] if kind == "hopping" else [1])


@kinds
def test_a_batch_without_rows_changes_nothing(kind: str):
    lab = Lab(window(SOURCE, [N, LIST], by=("x",), lateness=seconds(0), **KINDS[kind]))
    lab.step(table([1], x=[1]))

    outcome = lab.step(table([1], x=[1]).clear())["window"]

    assert outcome.change.added.height == 0
    assert outcome.counts == (0, 0, 0, 0, 0, 0)


@kinds
def test_the_end_of_a_bounded_input_closes_everything(kind: str):
    lab = Lab(window(SOURCE, [N], lateness=seconds(60), **KINDS[kind]))
    lab.step(table([1, 35]))
    assert lab.lines("closed").height == 0

    lab.quiet(final=True)

    assert lab.frame()[CLOSED].all()
    assert lab.lines("closed").height == lab.frame().height


@kinds
def test_rows_in_order_close_windows_by_their_frontier(kind: str):
    lab = Lab(window(SOURCE, [N], lateness=seconds(0), **KINDS[kind]))
    rows = table([0, 5, 16])

    def closed(rows: pl.DataFrame, frontier: int) -> list[float]:
        batch = Batch(rows, frozenset({0, 1}), frontier=frontier * 1_000_000)
        outcome = lab.graph.step(batch)[lab.handles["closed"]]
        return seconds_of(outcome.change.added, WINDOW_END)

    # Partition 1 holds nothing back, and no row need come for the frontier to move.
    assert closed(rows.head(2), 9) == []
    assert closed(rows.clear(), 15) == ([15] if kind == "session" else [10])
    assert closed(rows.tail(1), 21) == ([] if kind == "session" else [20])


def test_a_berlin_day_has_23_24_or_25_hours():
    zone = "Europe/Berlin"
    spring = local(zone, "2026-03-28T12:00", "2026-03-29T12:00", "2026-03-30T12:00")
    autumn = local(zone, "2026-10-25T00:00", "2026-10-25T23:59:59")

    lab = Lab(calendar("1d", zone))
    lab.step(table([*spring, *autumn]))

    hours = (lab.frame()[WINDOW_END] - lab.frame()[KEY]).dt.total_hours().to_list()
    assert hours == [24, 23, 24, 25]
    assert lab.frame()["n"].to_list() == [1, 1, 1, 2]


def test_both_hours_of_an_autumn_night_are_of_one_day():
    twice = [
        datetime(2026, 10, 25, hour, 30, tzinfo=UTC).timestamp() for hour in (0, 1)
    ]

    assert ran(calendar("1d", "Europe/Berlin"), twice) == [
        ("2026-10-25 00:00", "2026-10-26 00:00", 2)
    ]
    assert [n for *_, n in ran(calendar("1h", "Europe/Berlin"), twice)] == [1, 1]


def test_a_day_without_midnight_begins_when_the_clocks_jump():
    zone = "America/Sao_Paulo"
    times = local(zone, "2018-11-03T23:59", "2018-11-04T01:00", "2018-11-05T00:00")

    assert ran(calendar("1d", zone), times) == [
        ("2018-11-03 00:00", "2018-11-04 01:00", 1),
        ("2018-11-04 01:00", "2018-11-05 00:00", 1),
        ("2018-11-05 00:00", "2018-11-06 00:00", 1),
    ]


def test_a_day_that_a_zone_left_out_is_no_window():
    zone = "Pacific/Apia"  # went from 29 to 31 December 2011
    times = local(zone, "2011-12-29T23:59", "2011-12-31T00:00")

    assert ran(calendar("1d", zone), times) == [
        ("2011-12-29 00:00", "2011-12-31 00:00", 1),
        ("2011-12-31 00:00", "2012-01-01 00:00", 1),
    ]


def test_days_that_hop_end_at_the_same_time_of_day():
    zone = "Europe/Berlin"
    found = ran(calendar("1d", zone, "3d"), local(zone, "2026-03-29T12:00"))

    assert found == [
        ("2026-03-27 00:00", "2026-03-30 00:00", 1),
        ("2026-03-28 00:00", "2026-03-31 00:00", 1),
        ("2026-03-29 00:00", "2026-04-01 00:00", 1),
    ]


@pytest.mark.parametrize(
    ("every", "first", "second"),
    [
        ("1w", "2026-01-12 00:00", "2026-01-19 00:00"),  # Mondays
        ("2w", "2026-01-12 00:00", "2026-01-26 00:00"),
        ("1mo", "2026-01-01 00:00", "2026-02-01 00:00"),
        ("1q", "2026-01-01 00:00", "2026-04-01 00:00"),
        ("1y", "2026-01-01 00:00", "2027-01-01 00:00"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_weeks_months_quarters_and_years(
    every: str, first: str, second: str, zone: str
):
    inside = local(zone, "2026-01-15T12:00")
    edge = local(zone, second.replace(" ", "T"))

    found = ran(calendar(every, zone), [*inside, *edge])

    if every == "2w":  # counted from 1970
        assert len({start for start, *_ in found}) == len(found)
        assert all(datetime.fromisoformat(start).weekday() == 0 for start, *_ in found)
        return
    assert found[0] == (first, second, 1)
    assert found[1][0] == second


def test_an_offset_moves_days_weeks_and_months():
    zone = "Europe/Berlin"
    time = local(zone, "2026-01-15T05:00")  # a Thursday

    assert ran(calendar("1d", zone, offset="6h"), time)[0][0] == "2026-01-14 06:00"
    assert ran(calendar("1w", zone, offset="4d"), time)[0][0] == "2026-01-09 00:00"
    assert ran(calendar("1mo", zone, offset="15d"), time)[0][:2] == (
        "2025-12-16 00:00",
        "2026-01-16 00:00",
    )


def test_a_month_that_hops_ends_on_the_last_day_where_the_next_is_shorter():
    found = ran(calendar("1d", "UTC", "1mo"), local("UTC", "2026-02-27T12:00"))

    ends = [end for _, end, _ in found]
    assert ends.count("2026-02-28 00:00") == 4  # 28, 29, 30 and 31 January
    assert found[0][0] == "2026-01-28 00:00"
    assert found[-1][:2] == ("2026-02-27 00:00", "2026-03-27 00:00")


@kinds
def test_dates_count_from_their_midnight(kind: str):
    day = 86_400
    every_kind: dict[str, dict[str, Any]] = {
        "tumbling": {"every": day},
        "hopping": {"every": day, "period": seconds(2 * day)},
        "session": {"every": day, "session": True},
    }
    lab = Lab(window(SOURCE, [N], on="day", **every_kind[kind]))

    rows = table([1, 2, 3], stamps=[2e9] * 3, day=[date(2026, 1, d) for d in (1, 2, 4)])
    lab.step(rows)

    starts = [each.day for each in lab.frame()[KEY]]
    expected = {
        "tumbling": [1, 2, 4],
        "hopping": [31, 1, 2, 3, 4],
        "session": [1, 2, 4],
    }
    assert starts == expected[kind]


@kinds
def test_integers_with_offset_and_lateness(kind: str):
    session = kind == "session"
    period = 20 if kind == "hopping" else None
    offset = 0 if session else 3
    ahead = seconds(3600)
    node = Window(
        *(SOURCE, 10, (), "i", offset, "UTC", 5, ahead, (N,)), period, session
    )
    lab = Lab(node)

    outcome = lab.step(table([0] * 4, i=[3, 12, 30, 1]))["window"]

    assert lab.frame().schema[KEY] == pl.Int64
    assert (
        lab.frame()[KEY].to_list()
        == {
            "tumbling": [3, 23],
            "hopping": [-7, 3, 13, 23],
            "session": [3, 30],
        }[kind]
    )
    assert outcome.change.watermark is None
    late = {"tumbling": 1, "hopping": 2, "session": 1}
    assert lab.lines("late").height == late[kind]


KEYS: dict[str, list[Any]] = {
    "text": ["", None, "é", ""],
    "float": [float("nan"), None, 0.5, float("nan")],
    "bool": [True, None, False, True],
    "date": [date(2026, 1, 1), None, date(1969, 1, 1), date(2026, 1, 1)],
    "time": [timedelta(1), None, timedelta(2), timedelta(1)],
    "list": [[1, None], None, [], [1, None]],
    "struct": [{"a": 1}, {"a": None}, {"a": 2}, {"a": 1}],
    "bytes": [b"\x00", None, b"", b"\x00"],
}


@kinds
def test_keys_of_any_type_with_nulls_among_them(kind: str):
    lab = Lab(window(SOURCE, [N], by=tuple(KEYS), **KINDS[kind]))
    rows = table([5] * 4, **KEYS)

    lab.step(rows.head(2))
    lab.step(rows.tail(2))

    frame = pl.concat([each.change.added for each in lab.all["window"]])
    last = frame.group_by(KEY, *KEYS).agg(pl.col("n").last())
    windows = 2 if kind == "hopping" else 1
    assert sorted(last["n"].to_list()) == sorted([1, 1, 2] * windows)
    assert frame.select(list(KEYS)).schema == rows.select(list(KEYS)).schema
    again = frame.filter(pl.col("n") == 2).select(list(KEYS)).head(1)
    assert again.equals(rows.select(list(KEYS)).head(1), null_equal=True)


@kinds
def test_order_inside_a_window_is_event_time_then_partition_then_offset(kind: str):
    aggs = [LIST, pl.col("x").first().alias("first"), pl.col("x").last().alias("last")]
    lab = Lab(window(SOURCE, aggs, **KINDS[kind]))
    rows = table([5, 4, 5, 4, 5], [1, 1, 0, 0, 1], x=["a", "b", "c", "d", "e"])

    for at in range(5):
        lab.step(rows.slice(at, 1), (0, 1))

    added = lab.all["window"][-1].change.added
    assert added.select("list", "first", "last").row(0) == (
        ["d", "b", "c", "a", "e"],
        "d",
        "e",
    )
