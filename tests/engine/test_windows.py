"""Windows at their edges: what is late, closed, rejected, partial, evicted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from streamlab.changes import CLOSED, HIDDEN_SCHEMA, PARTIAL, WINDOW_END
from streamlab.durations import Span
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Closed, Filter, Late, Node, Source, Window
from tests.engine.lab import KEY, Lab, moment, seconds, table, window

SOURCE = Source("lab")
N = pl.len().alias("n")
LIST = pl.col("x").alias("list")


def starts(frame: pl.DataFrame) -> list[float]:
    return [(each - moment(0)).total_seconds() for each in frame.get_column(KEY)]


def test_a_row_at_the_edge_belongs_to_the_window_that_begins_there():
    lab = Lab(window(SOURCE, [N]))

    lab.step(table([0, 9.999999, 10, -0.000001]))

    assert starts(lab.frame()) == [-10, 0, 10]
    assert lab.frame().get_column("n").to_list() == [1, 2, 1]
    assert lab.frame().get_column(WINDOW_END).to_list() == [
        moment(0),
        moment(10),
        moment(20),
    ]


def test_a_window_closes_when_the_watermark_reaches_its_end_and_not_before():
    lab = Lab(window(SOURCE, [N], lateness=seconds(5)))

    lab.step(table([1, 14.999999]))
    assert lab.lines("closed").height == 0

    outcome = lab.step(table([15]))
    assert starts(lab.lines("closed")) == [0]
    assert outcome["window"].change.watermark == moment(10)
    assert lab.frame().get_column(CLOSED).to_list() == [True, False]
    assert CLOSED not in lab.lines("closed").columns


def test_the_verdict_is_by_row_so_a_row_before_the_one_that_closes_is_not_late():
    lab = Lab(window(SOURCE, [LIST], lateness=seconds(0)))

    lab.step(table([1, 9, 10, 9], x=[1, 2, 3, 4]))

    assert lab.frame().get_column("list").to_list() == [[1, 2], [3]]
    assert lab.lines("late").get_column("x").to_list() == [4]


def test_a_late_row_is_listed_with_its_window_and_how_late_it_was():
    lab = Lab(window(SOURCE, [N], lateness=seconds(2)))

    lab.step(table([1, 15, 3, 12], x=[1, 2, 3, 4]))

    late = lab.lines("late")
    assert late.columns == [
        *(KEY, WINDOW_END, "_late_by", "_partition", "_offset", "_timestamp", "x"),
        *HIDDEN_SCHEMA,
    ]
    assert late.row(0)[:7] == (
        *(moment(0), moment(10), timedelta(seconds=3), 0, 2, moment(3), 3),
    )
    assert late.height == 1


def test_without_lateness_nothing_is_late_and_only_the_end_closes():
    lab = Lab(window(SOURCE, [N]))

    lab.step(table([100, 1, 1000, 2]))
    assert lab.frame().get_column(CLOSED).to_list() == [False] * 3

    lab.quiet(final=True)
    assert lab.frame().get_column(CLOSED).to_list() == [True] * 3
    assert starts(lab.lines("closed")) == [0, 100, 1000]


def test_rows_without_a_time_or_with_one_in_the_future_are_rejected_and_move_nothing():
    lab = Lab(window(SOURCE, [N], lateness=seconds(0)))

    outcome = lab.step(
        table([1, None, 3601.001, 3600, 2], stamps=[1, 1, 1, 0, 2], x=list("abcde"))
    )["window"]

    assert outcome.rejected is not None
    assert outcome.rejected.select("x", "_reason").rows() == [
        ("b", "no event time"),
        ("c", "time in the future"),
    ]
    assert outcome.counts == (5, 2, 0, 2, 1, 0)
    assert lab.lines("late").get_column("x").to_list() == [
        "e"
    ]  # 3600 is just within an hour


def test_rows_that_a_filter_holds_back_still_move_the_watermark():
    node = window(Filter(SOURCE, (pl.col("x") > 0,)), [N], lateness=seconds(0))
    lab = Lab(node)

    lab.step(table([1, 20, 2], x=[1, -1, 1]))

    assert starts(lab.lines("closed")) == [0]
    assert lab.lines("late").height == 1


def test_an_idle_partition_lets_windows_close_even_without_new_rows():
    lab = Lab(window(SOURCE, [N], lateness=seconds(0)))
    lab.step(table([1, 30], [0, 1]), (0, 1))
    assert lab.lines("closed").height == 0

    lab.quiet((1,))
    assert starts(lab.lines("closed")) == [0]

    lab.step(table([2, 31], [0, 1]), (0, 1))
    assert lab.lines("late").get_column("_partition").to_list() == [0]


def test_with_all_partitions_idle_the_newest_row_closes_windows():
    lab = Lab(window(SOURCE, [N], lateness=seconds(0)))

    lab.step(table([1, 30, 5], [0, 1, 0]), ())

    assert starts(lab.lines("closed")) == [0]
    assert lab.lines("late").height == 1


def test_windows_that_began_before_the_frame_did_are_partial():
    lab = Lab(window(SOURCE, [N], lateness=seconds(0)), began=moment(12))

    lab.step(table([12, 11, 25, 45]))

    partial = dict(
        zip(starts(lab.frame()), lab.frame().get_column(PARTIAL), strict=True)
    )
    assert partial == {10: True, 20: False, 40: False}
    assert lab.lines("closed").get_column(PARTIAL).to_list() == [True, False]


def test_the_oldest_open_windows_are_evicted_and_later_rows_for_them_are_late():
    lab = Lab(window(SOURCE, [N], by=("x",)), max_open=3)

    outcome = lab.step(table([1, 2, 11, 21, 22], x=[1, 2, 1, 1, 2]))["window"]
    assert outcome.evicted == 2
    lab.step(table([3, 12], x=[1, 1]))

    assert lab.lines("late").get_column("__time").to_list() == [moment(3)]
    assert lab.frame().filter(pl.col(KEY) == moment(10)).get_column("n").to_list() == [
        2
    ]


def test_the_newest_window_is_never_evicted_however_many_keys_it_has():
    lab = Lab(window(SOURCE, [N], by=("x",)), max_open=3)

    outcome = lab.step(table([1] * 5, x=[1, 2, 3, 4, 5]))["window"]

    assert outcome.evicted == 0


def test_windows_that_close_make_room_before_any_is_evicted():
    node = window(SOURCE, [N], by=("x",), lateness=seconds(20))
    lab = Lab(node, max_open=3)

    outcome = lab.step(table([1, 2, 3, 25, 35], x=[1, 2, 3, 1, 1]))["window"]

    assert outcome.evicted == 0
    assert starts(lab.lines("closed")) == [0, 0, 0]


def test_closed_windows_come_once_each_by_start_then_key():
    lab = Lab(window(SOURCE, [N], by=("x",), lateness=seconds(0)))

    lab.step(table([1, 2, 11, 3], x=["b", "a", "c", "a"]))
    lab.step(table([40, 41], x=["a", "b"]))
    lab.quiet(final=True)

    closed = lab.lines("closed")
    keys = list(zip(starts(closed), closed.get_column("x"), strict=True))
    assert keys == [(0, "a"), (0, "b"), (10, "c"), (40, "a"), (40, "b")]
    assert closed.get_column("__seq").to_list() == [0, 1, 2, 3, 4]
    assert closed.get_column("__time").to_list() == closed.get_column(KEY).to_list()


def test_another_time_column_has_a_watermark_of_its_own():
    on = [date(2026, 1, 1), date(2026, 1, 2), None, date(2026, 1, 1)]
    stamps = [2e9] * 4
    lab = Lab(window(SOURCE, [N], every=86_400, on="day", lateness=seconds(0)))

    outcome = lab.step(table([5, 5, 5, 5], stamps=stamps, day=on))["window"]

    assert lab.frame().get_column(KEY).to_list() == [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 2, tzinfo=UTC),
    ]
    assert outcome.counts == (4, 2, 0, 1, 1, 0)


def test_the_first_value_of_another_time_column_says_which_windows_are_partial():
    stamps = [2e9] * 3
    on = [moment(105), moment(99), moment(110)]
    lab = Lab(window(SOURCE, [N], on="at"), began=moment(0))

    lab.step(table([1, 2, 3], stamps=stamps, at=on))

    assert lab.frame().get_column(PARTIAL).to_list() == [True, True, False]


def test_integer_windows_are_floor_divided():
    node = Window(SOURCE, 10, (), "k", 3, "UTC", 4, seconds(3600), (N,))
    lab = Lab(node)

    outcome = lab.step(table([0] * 5, k=[-8, 2, 3, 27, None]))["window"]

    frame = lab.frame()
    assert frame.select(KEY, WINDOW_END, "n", CLOSED).rows() == [
        (-17, -7, 1, True),
        (-7, 3, 1, True),
        (3, 13, 1, True),
        (23, 33, 1, False),
    ]
    assert frame.schema[KEY] == pl.Int64
    assert outcome.counts.rejected == 1
    lab.step(table([0], k=[12]))
    assert lab.lines("late").get_column("_late_by").to_list() == [10]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "every", [Span(0, 86_400_000_000), Span(0, 7 * 86_400_000_000), Span(1, 0)]
)
def test_days_weeks_and_months_begin_where_the_zone_says(zone: str, every: Span):
    hours = pl.datetime_range(
        datetime(2018, 10, 20, tzinfo=UTC),
        datetime(2018, 11, 20, tzinfo=UTC),
        "1h",
        eager=True,
    )
    times = [each.timestamp() for each in hours]
    node = window(SOURCE, [N], time_zone=zone, lateness=seconds(0))
    lab = Lab(
        Window(
            SOURCE, every, (), None, seconds(0), zone, seconds(0), node.max_ahead, (N,)
        )
    )

    lab.step(table(times))

    local = (
        hours.dt.convert_time_zone(zone).dt.cast_time_unit("us").dt.truncate(every.text)
    )
    expected = local.alias(KEY).to_frame().group_by(KEY).agg(N).sort(KEY)
    assert lab.lines("late").height == 0
    assert lab.frame().select(KEY, "n").equals(expected)
    ends = lab.frame().get_column(WINDOW_END)
    assert ends[:-1].to_list() == expected.get_column(KEY)[1:].to_list()


@pytest.mark.parametrize("every", ["1ms", "7s", "90s", "1h", "36h", "1d", "1w", "2w"])
def test_windows_of_fixed_length_start_where_truncate_does(every: str):
    days = pl.Series([-400, -3, 0, 3, 4, 20_000, 20_001, 20_005]) * 86_400
    times = [second + 0.007 for second in days.to_list()]
    span = {"ms": 1000, "s": 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
    unit = "".join(c for c in every if c.isalpha())
    count = int(every.removesuffix(unit))
    us = count * (span[unit] if unit in span else 7 * span["d"])
    lab = Lab(
        Window(SOURCE, Span(0, us), (), None, seconds(0), "UTC", None, seconds(1), (N,))
    )

    lab.step(table(times))

    stamps = table(times).get_column("__time").dt.truncate(every)
    assert lab.frame().get_column(KEY).to_list() == sorted(set(stamps.to_list()))


def test_an_offset_moves_the_starts():
    lab = Lab(window(SOURCE, [N], offset=seconds(3)))

    lab.step(table([2, 3, 12.9, 13]))

    assert starts(lab.frame()) == [-7, 3, 13]


def test_frames_added_later_begin_with_what_the_window_knows():
    node = window(SOURCE, [N], lateness=seconds(2))
    lab = Lab(node)
    lab.step(table([1, 15, 16, 3]))

    graph = lab.graph
    plans: dict[str, Node] = {
        "window": node,
        "closed": Closed(node),
        "late": Late(node),
    }
    first = {n: graph.first_change(graph.add(each, None)) for n, each in plans.items()}

    assert all(outcome is not None for outcome in first.values())
    added = {
        name: each.change.added for name, each in first.items() if each is not None
    }
    assert added["window"].sort(KEY).equals(lab.frame())
    assert added["closed"].equals(lab.lines("closed"))
    assert added["late"].equals(lab.lines("late"))


def test_a_frame_begins_with_the_rows_its_source_still_keeps():
    seed = table([1, 2, 15], x=[1, 2, 3])

    lab = Lab(window(SOURCE, [LIST], lateness=seconds(0)), seed)
    assert lab.frame().get_column("list").to_list() == [[1, 2], [3]]
    lab.step(table([3, 16], x=[4, 5]))

    assert lab.frame().get_column("list").to_list() == [[1, 2], [3, 5]]
    assert lab.lines("late").get_column("x").to_list() == [4]


def test_seed_rows_of_a_partition_that_is_idle_now_are_not_late_because_of_it():
    graph = Graph()
    graph.step(Batch(table([1, 50, 2], [0, 1, 0]), frozenset({1})))
    node = window(SOURCE, [N], lateness=seconds(0))

    handle = graph.add(node, table([1, 50, 2], [0, 1, 0]))

    first = graph.first_change(handle)
    assert first is not None
    assert first.counts.late == 0


def test_a_window_over_closed_windows_counts_each_once():
    inner = window(SOURCE, [N], by=("x",), lateness=seconds(0))
    outer = window(
        Closed(inner), [pl.col("n").sum().alias("n")], every=60, lateness=seconds(0)
    )
    lab = Lab(outer)

    for at in range(0, 200, 7):
        lab.step(table([at, at + 1], x=["a", "b"]))
    lab.quiet(final=True)

    assert lab.frame().get_column("n").sum() == 2 * len(range(0, 200, 7))
    assert lab.frame().get_column(CLOSED).all()
    assert lab.lines("late").height == 0


def test_state_is_let_go_when_windows_close():
    node = window(SOURCE, [N, LIST], by=("x",), lateness=seconds(0))
    lab = Lab(node, max_open=10)
    names = [f"a key that takes some room {n}" for n in range(3_000)]

    open_bytes = lab.step(table([1] * 3_000, x=names))["window"].state_bytes
    lab.quiet(final=True)

    assert open_bytes > 3_000 * 150
    assert lab.all["window"][-1].state_bytes < 20_000
    for handle in lab.handles.values():
        lab.graph.remove(handle)
    assert lab.graph.state_bytes == 0
