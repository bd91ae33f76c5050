"""Hopping windows: a record belongs to every window that holds it, or to none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import CLOSED, PARTIAL, WINDOW_END
from streamlab.durations import Span
from streamlab.engine.graph import Graph
from streamlab.engine.needs import Bounds, Memory
from streamlab.engine.outcome import Batch
from streamlab.plans.fingerprint import fingerprint
from streamlab.plans.nodes import Explode, Late, Source, Window
from tests.engine import spans_lab as spans
from tests.engine.lab import (
    KEY,
    SECOND,
    Lab,
    assert_same,
    moment,
    seconds,
    table,
    window,
)

SOURCE = Source("lab")
N = pl.len().alias("n")
LIST = pl.col("x").alias("list")


def hopping(
    aggs: tuple[pl.Expr, ...] = (N,),
    every: float = 10,
    period: float = 30,
    **given: Any,
) -> Window:
    return window(SOURCE, aggs, every=every, period=seconds(period), **given)


def counted(lab: Lab) -> dict[float, int]:
    frame = lab.frame()
    return dict(zip(spans.seconds_of(frame), frame["n"].to_list(), strict=True))


def test_a_record_belongs_to_every_window_that_holds_it_also_to_those_before_the_first():
    lab = Lab(hopping())

    lab.step(table([5, 15]))

    assert counted(lab) == {-20: 1, -10: 2, 0: 2, 10: 1}
    ends = spans.seconds_of(lab.frame(), WINDOW_END)
    assert ends == [10, 20, 30, 40]


def test_a_window_holds_its_start_and_not_its_end():
    lab = Lab(hopping())

    lab.step(table([30]))

    assert counted(lab) == {10: 1, 20: 1, 30: 1}


def test_windows_shorter_than_their_distance_leave_records_out_as_filtered():
    lab = Lab(hopping(period=3))

    outcome = lab.step(table([1, 3, 9, 12]))["window"]

    assert counted(lab) == {0: 1, 10: 1}
    assert outcome.counts == (4, 2, 2, 0, 0, 0)


def test_a_period_that_is_no_multiple_of_the_distance():
    lab = Lab(hopping(period=25))

    lab.step(table([4, 5, 14]))

    assert counted(lab) == {-20: 1, -10: 3, 0: 3, 10: 1}


def test_lateness_is_judged_for_each_window_of_a_record():
    lab = Lab(hopping(lateness=seconds(5)))

    outcome = lab.step(table([1, 25, 3], x=[1, 2, 3]))["window"]

    late = lab.lines("late")
    found = list(zip(spans.seconds_of(late), late["_late_by"], late["x"], strict=True))
    assert found == [(-20, timedelta(seconds=10), 3), (-10, timedelta(0), 3)]
    assert counted(lab) == {-20: 1, -10: 1, 0: 3, 10: 1, 20: 1}
    assert outcome.counts == (3, 3, 0, 0, 0, 0)


def test_a_record_that_missed_all_its_windows_counts_as_late_once():
    lab = Lab(hopping(lateness=seconds(0)))

    outcome = lab.step(table([1, 100, 3]))["window"]

    assert outcome.counts == (3, 2, 0, 0, 1, 0)
    assert lab.lines("late").height == 3


def test_a_record_made_several_rows_counts_for_the_best_of_them():
    node = window(
        Explode(SOURCE, ("at",)),
        [N],
        period=seconds(3),
        on="at",
        lateness=seconds(0),
    )
    lab = Lab(node)

    outcome = lab.step(
        table(
            [1, 2, 3, 4],
            at=[[moment(1)], [moment(5), moment(22)], [moment(6)], [moment(2)]],
        )
    )["window"]

    # In, in with one of two rows, between two windows, late.
    assert outcome.counts == (4, 2, 1, 0, 1, 0)


def test_windows_close_in_the_order_of_their_ends():
    lab = Lab(hopping(by=("k",), lateness=seconds(0)))

    lab.step(table([1, 2], k=["b", "a"]))
    lab.step(table([11, 45], k=["a", "a"]))

    closed = lab.lines("closed")
    keys = list(zip(spans.seconds_of(closed), closed["k"], closed["n"], strict=True))
    assert keys == [
        *((-20, "a", 1), (-20, "b", 1), (-10, "a", 2), (-10, "b", 1)),
        *((0, "a", 2), (0, "b", 1), (10, "a", 1)),
    ]
    assert lab.frame().filter(pl.col(CLOSED)).height == 7


def test_windows_that_began_before_the_frame_are_partial():
    lab = Lab(hopping(), began=moment(5))

    lab.step(table([12]))

    assert lab.frame()[PARTIAL].to_list() == [True, True, False]


def test_rows_are_kept_for_windows_that_need_them_in_order_of_event_time():
    lab = Lab(hopping((LIST, N)))

    for piece in (table([15, 5], x=[1, 2]), table([7, 15], x=[3, 4])):
        lab.step(piece)

    assert lab.frame()["list"].to_list() == [[2, 3], [2, 3, 1, 4], [2, 3, 1, 4], [1, 4]]


def test_a_record_is_needed_until_the_last_of_its_windows_is_over():
    graph = Graph(committing=True)
    node = hopping(lateness=seconds(0))
    graph.add(node, None)

    graph.step(Batch(table([1, 12, 25]), frozenset({0})))
    assert graph.low.oldest == {0: (1000, 0)}

    graph.step(Batch(table([31]), frozenset({0})))
    assert graph.low.oldest == {0: (12_000, 1)}
    assert graph.low.plans == {fingerprint(node): Bounds(31 * SECOND, None)}


def test_windows_that_an_earlier_reading_closed_are_passed_over_pair_by_pair():
    node = hopping(lateness=seconds(0))
    past = Memory({fingerprint(node): Bounds(20 * SECOND, None)}, {0: (None, 1)})
    graph = Graph(committing=True, memory=past)
    handle, late = graph.add(node, None), graph.add(Late(node), None)

    # The first was read before, the second is new: both belong to windows until 20 and after.
    outcomes = graph.step(Batch(table([15, 16]), frozenset({0})))

    added = outcomes[handle].change.added
    assert sorted(zip(spans.seconds_of(added), added["n"], strict=True)) == [
        *((0, 2), (10, 2)),
    ]
    assert spans.seconds_of(outcomes[late].change.added) == [-10]
    standing = graph.standing(node)
    assert standing.expired is not None
    assert spans.seconds_of(standing.expired) == [-10]


def test_the_oldest_windows_are_given_up_where_there_are_too_many():
    lab = Lab(hopping(), max_open=2)

    outcome = lab.step(table([5]))["window"]
    lab.step(table([6]))

    assert outcome.evicted == 1
    assert counted(lab) == {-20: 1, -10: 2, 0: 2}
    assert spans.seconds_of(lab.lines("late")) == [-20]


def test_integers_hop_too():
    node = Window(SOURCE, 10, (), "i", 3, "UTC", 5, seconds(3600), (N,), period=20)
    lab = Lab(node)

    lab.step(table([0, 0, 0], i=[4, 30, 5]))

    frame = lab.frame()
    assert frame.select(KEY, WINDOW_END, "n").rows() == [
        *((-7, 13, 1), (3, 23, 1), (13, 33, 1), (23, 43, 1)),
    ]
    assert lab.lines("late").select(KEY, "_late_by").rows() == [(-7, 12), (3, 2)]


def test_state_is_let_go_when_windows_close():
    lab = Lab(hopping((N, LIST), by=("x",), lateness=seconds(0)))

    held = lab.step(table([1] * 500, x=range(500)))["window"].state_bytes
    lab.quiet(final=True)
    lab.step(table([1000], x=[0]))

    assert held > 3 * 500 * 100
    assert lab.all["window"][-1].state_bytes < held / 4 + 200_000


DAY, HOUR = 86_400 * SECOND, 3600 * SECOND
CALENDARS = [
    (Span(0, DAY), Span(0, 7 * DAY)),
    (Span(0, DAY), Span(1, 0)),
    (Span(0, HOUR // 2), Span(0, DAY)),  # its ends go back in the hour that comes twice
    (Span(0, 7 * DAY), Span(0, 3 * DAY)),
    (Span(1, 0), Span(0, 45 * DAY)),
    (Span(3, 0), Span(12, 0)),
    (Span(0, DAY), Span(0, 36 * HOUR)),
]
CHANGES = [
    ("UTC", "2024-02-20"),
    ("Europe/Berlin", "2026-03-24"),
    ("Europe/Berlin", "2026-10-20"),
    ("America/Sao_Paulo", "2018-10-30"),  # no midnight on 4 November
    ("Pacific/Apia", "2011-12-26"),  # no 30 December
]


@pytest.mark.parametrize(("zone", "first"), CHANGES)
@pytest.mark.parametrize(("every", "period"), CALENDARS)
def test_days_and_months_are_counted_on_the_wall_clock_of_the_zone(
    zone: str, first: str, every: Span, period: Span
):
    base = pl.Series([first]).str.to_datetime("%Y-%m-%d").dt.epoch("s")[0]
    times = [base + (place * 7919 * 37) % (11 * 86_400) for place in range(60)]
    rows = table(times, x=[float(place) for place in range(60)], k=["a"] * 60)
    node = Window(
        SOURCE,
        every,
        (),
        None,
        seconds(0),
        zone,
        seconds(86_400),
        seconds(3600),
        (N, spans.x.std().alias("std"), LIST),
        period,
    )

    lab = spans.run(node, rows, [20, 1, 17])

    spans.assert_batch_answer(lab, rows)


def test_a_window_of_a_day_ends_when_a_missing_midnight_is_jumped_over():
    node = Window(
        SOURCE,
        Span(0, DAY),
        (),
        None,
        seconds(0),
        "America/Sao_Paulo",
        None,
        seconds(3600),
        (N,),
        Span(0, 2 * DAY),
    )
    lab = Lab(node)

    lab.step(table([1_541_214_000]))  # 3 November 2018, midnight

    hours = (lab.frame()[WINDOW_END] - lab.frame()[KEY]).dt.total_hours()
    assert hours.to_list() == [48, 47]
    assert str(lab.frame()[WINDOW_END][0]) == "2018-11-04 01:00:00-02:00"


hops = st.sampled_from([(10.0, 30.0), (10.0, 25.0), (10.0, 4.0), (7.0, 60.0)])


@settings(deadline=None, max_examples=30)
@given(
    drawn=spans.rows,
    lengths=spans.cuts,
    others=spans.cuts,
    hop=hops,
    by=spans.keys,
    aggs=spans.aggs,
    late_by=spans.latenesses,
    final=st.booleans(),
)
def test_any_cut_gives_plain_polars_answer_less_the_late_pairs(
    *,
    drawn: spans.Drawn,
    lengths: list[int],
    others: list[int],
    hop: tuple[float, float],
    by: tuple[str, ...],
    aggs: tuple[pl.Expr, ...],
    late_by: float | None,
    final: bool,
):
    rows = spans.frame_of(drawn)
    every, period = hop
    lateness = None if late_by is None else seconds(late_by)
    node = hopping(aggs, every, period, by=by, lateness=lateness, offset=seconds(3))

    labs = [spans.run(node, rows, each, final=final) for each in (lengths, others)]

    spans.assert_batch_answer(labs[0], rows)
    spans.assert_alike(*labs)


@settings(deadline=None, max_examples=15)
@given(
    drawn=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), max_size=30),
    turns=st.lists(st.booleans(), max_size=30),
    lengths=spans.cuts,
    session=st.booleans(),
)
def test_any_interleaving_gives_the_same_if_no_row_trails_by_more_than_the_lateness(
    *,
    drawn: list[tuple[int, int]],
    turns: list[bool],
    lengths: list[int],
    session: bool,
):
    newest = 0.0
    halves: tuple[list[tuple[float, float]], ...] = ([], [])
    for place, (forward, back) in enumerate(drawn):
        newest += forward
        halves[place % 2].append((max(0.0, newest - back / 2), float(place)))
    period = None if session else seconds(25)
    aggs = (N, spans.x.std().alias("std"), spans.x.implode().alias("list"))
    node = window(
        SOURCE, aggs, every=5, lateness=seconds(7), session=session, period=period
    )

    frames = []
    for order in (turns, list[bool]()):
        left = [list(half) for half in halves]
        every = [*order, *[False, True] * len(drawn)]
        taken = [(*left[turn].pop(0), int(turn)) for turn in every if left[turn]]
        rows = table(
            [time for time, *_ in taken],
            [part for *_, part in taken],
            x=pl.Series([value for _, value, _ in taken], dtype=pl.Float64),
        )
        lab = spans.run(node, rows, lengths, final=True)
        assert lab.lines("late").height == 0
        frames.append(spans.kept(lab))

    one, other = frames
    assert_same(one, other, lambda _: 1e4)
