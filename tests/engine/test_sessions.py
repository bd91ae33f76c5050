"""Sessions: rows of a key less than a gap apart are one window."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import CLOSED, PARTIAL, WINDOW_END, Change
from streamlab.engine.graph import Graph
from streamlab.engine.needs import Bounds, Memory
from streamlab.engine.outcome import Batch
from streamlab.engine.sessions import SessionOperator
from streamlab.plans.fingerprint import fingerprint
from streamlab.plans.nodes import Closed, Filter, Late, Node, Source, Window
from tests.engine import spans_lab as spans
from tests.engine.lab import KEY, SECOND, Lab, assert_same, moment, seconds, table
from tests.engine.lab import window as any_window

SOURCE = Source("lab")
N = pl.len().alias("n")
LIST = pl.col("x").alias("list")
HOLD = frozenset({0})


def sessions(aggs: tuple[pl.Expr, ...] = (N,), gap: float = 10, **given: Any) -> Window:
    return any_window(SOURCE, aggs, every=gap, session=True, **given)


def spans_of(frame: pl.DataFrame) -> list[tuple[float, float]]:
    frame = frame.sort(KEY)
    ends = spans.seconds_of(frame, WINDOW_END)
    return list(zip(spans.seconds_of(frame), ends, strict=True))


def change(lab: Lab, rows: pl.DataFrame) -> Change:
    return lab.step(rows)["window"].change


def test_a_session_lasts_until_a_gap_after_its_last_row():
    lab = Lab(sessions())

    lab.step(table([1, 5, 14.999999]))

    assert spans_of(lab.frame()) == [(1, 24.999999)]


def test_a_row_exactly_a_gap_later_begins_a_new_session():
    lab = Lab(sessions())

    lab.step(table([11, 21]))
    lab.step(table([31]))
    lab.step(table([1]))

    assert spans_of(lab.frame()) == [(1, 11), (11, 21), (21, 31), (31, 41)]


def test_a_session_that_grows_forward_keeps_its_key():
    lab = Lab(sessions())
    lab.step(table([1]))

    grown = change(lab, table([9]))

    assert spans_of(grown.added) == [(1, 19)]
    assert grown.removed.height == 0


def test_a_session_that_grows_backwards_gets_another_key_and_the_old_one_is_removed():
    lab = Lab(sessions((N, LIST), by=("k",)))
    lab.step(table([20], k=["a"], x=[1]))

    grown = change(lab, table([12], k=["a"], x=[2]))

    assert grown.removed.rows() == [(moment(20), "a")]
    assert grown.added.select(KEY, WINDOW_END, "k", "n", "list").rows() == [
        (moment(12), moment(30), "a", 2, [2, 1])
    ]


def test_a_row_between_two_sessions_makes_them_one():
    lab = Lab(sessions((*spans.BOTH,), by=("k",)))
    first = table([1, 16, 40], k=["a"] * 3, x=[1.0, 2.0, 9.0])
    between = table([8, 31], k=["a", "a"], x=[5.0, 3.0])
    lab.step(first)

    bridged = change(lab, between)

    # 31 touches the one that begins at 40, not the one that ends at 26.
    assert spans_of(bridged.added) == [(1, 26), (31, 50)]
    gone = sorted(spans.seconds_of(bridged.removed))
    assert gone == [16, 40]
    whole = pl.concat([first, between]).sort("__time")
    expected = whole.with_columns(
        pl.when(pl.col("__time") < moment(30)).then(1).otherwise(31).alias("s")
    )
    found = spans.kept(lab).drop(KEY, WINDOW_END, "k", CLOSED, PARTIAL)
    answer = expected.group_by("s", maintain_order=True).agg(spans.BOTH)
    assert_same(found, answer.drop("s"), lambda _: 1.0)


def test_several_sessions_may_become_one_at_once():
    lab = Lab(sessions((N, LIST)))
    for at in (0, 15, 30, 45):
        lab.step(table([at], x=[at]))

    bridged = change(lab, table([38, 8, 23], x=[38, 8, 23]))

    assert spans_of(bridged.added) == [(0, 55)]
    assert bridged.added["list"].to_list() == [[0, 8, 15, 23, 30, 38, 45]]
    assert sorted(spans.seconds_of(bridged.removed)) == [15, 30, 45]


def test_equal_times_stay_in_the_order_of_their_offsets_through_a_merger():
    lab = Lab(sessions((LIST,)))
    for at, value in ((20, 0), (8, 1), (20, 2), (14, 3), (20, 4), (8, 5)):
        rows = table([at], x=[value]).with_columns(pl.lit(value).alias("__seq"))
        lab.step(rows.with_columns(pl.col("__seq").cast(pl.Int64)))

    assert spans.kept(lab)["list"].to_list() == [[1, 5, 3, 0, 2, 4]]


def test_a_session_closes_when_the_watermark_reaches_its_end():
    lab = Lab(sessions(lateness=seconds(5)))

    lab.step(table([1, 15.999999]))
    assert lab.lines("closed").height == 0

    lab.step(table([16]))
    assert spans_of(lab.lines("closed")) == [(1, 11)]
    assert lab.frame()[CLOSED].to_list() == [True, False]


def test_a_session_that_has_grown_does_not_close_when_it_once_would_have():
    lab = Lab(sessions(by=("k",), lateness=seconds(0)))
    for second, key in ((1, "a"), (9, "a"), (12, "b")):
        lab.step(table([second], k=[key]))
    assert lab.lines("closed").height == 0

    lab.step(table([19], k=["b"]))

    assert spans_of(lab.lines("closed")) == [(1, 19)]


def test_a_row_whose_own_session_would_be_over_is_late():
    lab = Lab(sessions(lateness=seconds(0)))

    outcome = lab.step(table([50, 40.000001, 40, 30], x=[1, 2, 3, 4]))["window"]

    late = lab.lines("late")
    assert spans_of(late) == [(30, 40), (40, 50)]
    assert late["_late_by"].to_list() == [timedelta(0), timedelta(seconds=10)]
    assert outcome.counts == (4, 2, 0, 0, 2, 0)
    assert spans_of(lab.frame()) == [(40.000001, 60)]


def test_a_row_that_touches_a_closed_session_is_late_by_how_long_that_was_over():
    lab = Lab(sessions(by=("k",), lateness=seconds(0)))
    lab.step(table([1, 13], k=["a", "b"]))

    outcome = lab.step(table([9, 9], k=["a", "c"]))["window"]

    late = lab.lines("late")
    assert late.select("k", "_late_by").rows() == [("a", timedelta(seconds=2))]
    assert spans_of(late) == [(1, 11)]
    assert outcome.counts == (2, 1, 0, 0, 1, 0)


def test_a_session_is_closed_by_a_row_of_the_same_batch_too():
    rows = table([1, 13, 9, 20], k=["a", "b", "a", "a"])
    node = sessions(by=("k",), lateness=seconds(0))
    labs = [
        spans.run(node, rows, lengths, holding={0}, final=True)
        for lengths in ([4], [1, 1, 1], [2])
    ]

    assert labs[0].lines("late").height == 1
    for lab in labs:
        spans.assert_batch_answer(lab, rows)
        spans.assert_alike(labs[0], lab)


def test_an_open_session_takes_rows_behind_the_limit_as_long_as_it_is_open():
    lab = Lab(sessions(lateness=seconds(0)))

    outcome = lab.step(table([1, 10, 19, 12, 9.5]))["window"]

    assert outcome.counts == (5, 5, 0, 0, 0, 0)
    assert spans_of(lab.frame()) == [(1, 29)]


def test_closed_sessions_come_in_the_order_of_their_ends():
    lab = Lab(sessions(by=("k",), lateness=seconds(0)))

    lab.step(table([1, 2, 8, 9, 60], k=["a", "b", "a", "c", "d"]))

    closed = lab.lines("closed")
    assert closed["k"].to_list() == ["b", "a", "c"]
    assert closed["__seq"].to_list() == [0, 1, 2]


def test_without_lateness_only_the_end_closes():
    lab = Lab(sessions())
    lab.step(table([100, 1]))
    assert lab.lines("closed").height == 0

    lab.quiet(final=True)

    assert spans_of(lab.lines("closed")) == [(1, 11), (100, 110)]
    assert lab.frame()[CLOSED].all()


def test_integers_make_sessions_too():
    node = Window(SOURCE, 10, (), "i", 0, "UTC", 5, seconds(3600), (N,), session=True)
    lab = Lab(node)

    outcome = lab.step(table([0] * 6, i=[4, 13, 23, None, 40, 26]))["window"]

    assert lab.frame().select(KEY, WINDOW_END, "n", CLOSED).rows() == [
        *((4, 23, 2, True), (23, 33, 1, True), (40, 50, 1, False)),
    ]
    assert lab.lines("late").select(KEY, "_late_by").rows() == [(23, 2)]
    assert outcome.counts == (6, 4, 0, 1, 1, 0)


def test_a_session_that_may_have_begun_before_the_frame_is_partial():
    lab = Lab(sessions(by=("k",)), began=moment(5))

    lab.step(table([6, 14.5, 15], k=["a", "b", "c"]))

    partial = lab.frame().sort("k")[PARTIAL].to_list()
    assert partial == [True, True, False]


def test_those_that_end_first_are_given_up_where_there_are_too_many():
    lab = Lab(sessions(by=("k",)), max_open=2)

    outcome = lab.step(table([1, 30, 20], k=["a", "b", "c"]))["window"]
    lab.step(table([5, 25], k=["a", "c"]))

    assert outcome.evicted == 1
    assert lab.lines("late")["k"].to_list() == ["a"]
    assert spans_of(lab.frame()) == [(1, 11), (20, 35), (30, 40)]


def test_a_filter_over_sessions_says_which_keys_are_gone():
    node = sessions(by=("k",))
    graph = Graph()
    handle = graph.add(Filter(node, (pl.col("n") > 1,)), None)

    def step(*rows: tuple[float, str]) -> Change:
        block = table([t for t, _ in rows], k=[key for _, key in rows])
        return graph.step(Batch(block, HOLD))[handle].change

    step((20, "a"), (21, "a"), (45, "a"), (46, "a"), (80, "a"))
    forward = step((30, "a"))
    bridged = step((38, "a"))
    backwards = step((12, "a"))
    unseen = step((75, "a"))

    assert (spans_of(forward.added), forward.removed.height) == ([(20, 40)], 0)
    assert spans_of(bridged.added) == [(20, 56)]
    assert bridged.removed.rows() == [(moment(45), "a")]
    assert spans_of(backwards.added) == [(12, 56)]
    assert backwards.removed.rows() == [(moment(20), "a")]
    # The one that began at 80 had never passed, so it is not taken out.
    assert (spans_of(unseen.added), unseen.removed.height) == ([(75, 90)], 0)


def test_many_vanishing_keys_are_not_forgotten_before_they_are_told():
    node = sessions()
    graph = Graph()
    handle = graph.add(Filter(node, (pl.col("n") > 0,)), None)
    times = [1000.0 + 20 * place for place in range(100)]
    graph.step(Batch(table(times), HOLD))

    backwards = graph.step(Batch(table([t - 5 for t in times]), HOLD))[handle].change

    assert sorted(spans.seconds_of(backwards.removed)) == times
    assert backwards.added.height == 100


def test_a_record_is_needed_until_no_row_can_touch_its_session():
    graph = Graph(committing=True)
    node = sessions(by=("k",), lateness=seconds(0))
    graph.add(node, None)

    graph.step(Batch(table([1, 5, 30], k=["a", "b", "c"]), HOLD))
    assert graph.low.oldest == {0: (30_000, 2)}

    rows = table([35, 50, 41], k=["d", "d", "c"]).with_columns(
        pl.col("__seq") + pl.lit(3, pl.Int64)
    )
    graph.step(Batch(rows.head(2), HOLD))
    assert graph.low.oldest == {0: (35_000, 3)}
    assert graph.low.plans == {fingerprint(node): Bounds(50 * SECOND, None)}


def test_what_a_bridged_session_needed_is_needed_by_the_whole():
    graph = Graph(committing=True)
    graph.add(sessions(lateness=seconds(100)), None)

    for at, (time, part) in enumerate([(30, 0), (15, 0), (23, 0), (16, 1)]):
        rows = table([time], [part]).with_columns(pl.lit(at).alias("__seq"))
        rows = rows.with_columns(pl.col("__seq").cast(pl.Int64))
        graph.step(Batch(rows, frozenset({0, 1})))

    assert graph.low.oldest == {0: (30_000, 0), 1: (16_000, 3)}
    graph.step(Batch(table([1]).clear(), HOLD, final=True))
    assert graph.low.oldest == {}


def resumed(
    over: float, until: int, **given: Any
) -> tuple[Graph, dict[str, int], Window]:
    """A reading that goes on: it had read offsets before `until`, and was at `over`."""
    node = sessions(lateness=seconds(0), **given)
    bounds = Bounds(round(over * SECOND), None)
    memory = Memory({fingerprint(node): bounds}, {0: (None, until)})
    graph = Graph(committing=True, memory=memory)
    plans: dict[str, Node] = {
        "window": node,
        "closed": Closed(node),
        "late": Late(node),
    }
    return graph, {name: graph.add(each, None) for name, each in plans.items()}, node


def test_an_open_session_is_rebuilt_whole_though_its_first_rows_are_long_past():
    graph, handles, _ = resumed(25, until=3)

    graph.step(Batch(table([1, 9]), HOLD))
    rows = table([1, 9, 18, 22]).tail(2)
    outcome = graph.step(Batch(rows, HOLD))[handles["window"]]

    assert outcome.change.added.select("n").rows() == [(4,)]
    assert spans_of(outcome.change.added) == [(1, 32)]
    assert graph.low.oldest == {0: (1000, 0)}


def test_what_was_closed_before_does_not_come_again_in_parts():
    graph, handles, node = resumed(25, until=2, by=("k",))

    outcomes = graph.step(Batch(table([5, 9, 40], k=["a", "a", "b"]), HOLD))

    assert outcomes[handles["window"]].change.added["k"].to_list() == ["b"]
    assert outcomes[handles["closed"]].change.added.height == 0
    assert outcomes[handles["late"]].change.added.height == 0
    expired = graph.standing(node).expired
    assert expired is not None
    assert expired["__seq"].to_list() == [0, 1]


def test_a_row_not_read_before_whose_session_was_over_is_late():
    graph, handles, _ = resumed(25, until=1)

    outcomes = graph.step(Batch(table([20, 8]), HOLD))

    assert outcomes[handles["late"]].change.added["__seq"].to_list() == [1]
    assert outcomes[handles["window"]].counts == (2, 1, 0, 0, 1, 0)


@pytest.mark.parametrize("aggs", [(N,), (N, LIST)])
def test_nothing_is_held_once_all_sessions_are_over(aggs: tuple[pl.Expr, ...]):
    lab = Lab(sessions(aggs, by=("k",), lateness=seconds(0)))
    for block in range(20):
        times = [block * 4 + place % 9 for place in range(200)]
        lab.step(table(times, k=range(200), x=range(200)))
    held = lab.all["window"][-1].state_bytes

    lab.quiet(final=True)

    (operator,) = lab.graph._operators.values()
    state = operator.state
    assert isinstance(state, SessionOperator)
    assert held > 200 * 300
    assert state._sessions.used == 0
    assert state._sessions.bytes + state._aggregator.bytes < 5_000


def test_sessions_that_are_over_do_not_pile_up():
    lab = Lab(sessions((N, LIST), by=("k",), lateness=seconds(0)))

    sizes = []
    for block in range(60):
        rows = table(
            [block * 30 + each for each in (0, 5, 9)], k=list("abc"), x=[1] * 3
        )
        lab.step(rows)
        (operator,) = lab.graph._operators.values()
        assert isinstance(operator.state, SessionOperator)
        sizes.append(operator.state._sessions.bytes + operator.state._aggregator.bytes)

    assert max(sizes[20:]) <= max(sizes[:20])


def test_frames_added_later_begin_with_what_is_open_and_closed():
    node = sessions(lateness=seconds(2))
    lab = Lab(node)
    lab.step(table([1, 30, 3]))

    plans: list[tuple[str, Node]] = [("window", node), ("closed", Closed(node))]
    first = {
        name: lab.graph.first_change(lab.graph.add(each, None))
        for name, each in [*plans, ("late", Late(node))]
    }

    added = {n: each.change.added for n, each in first.items() if each is not None}
    assert added["window"].sort(KEY).equals(lab.frame())
    assert added["closed"].equals(lab.lines("closed"))
    assert added["late"].equals(lab.lines("late"))


gaps = st.sampled_from([1.0, 5.0, 12.0])


@settings(deadline=None, max_examples=40)
@given(
    drawn=spans.rows,
    lengths=spans.cuts,
    others=spans.cuts,
    gap=gaps,
    by=spans.keys,
    aggs=spans.aggs,
    late_by=spans.latenesses,
    final=st.booleans(),
)
def test_any_cut_gives_plain_polars_answer_less_the_late_rows(
    *,
    drawn: spans.Drawn,
    lengths: list[int],
    others: list[int],
    gap: float,
    by: tuple[str, ...],
    aggs: tuple[pl.Expr, ...],
    late_by: float | None,
    final: bool,
):
    rows = spans.frame_of(drawn)
    lateness = None if late_by is None else seconds(late_by)
    node = sessions(aggs, gap, by=by, lateness=lateness)

    labs = [spans.run(node, rows, each, final=final) for each in (lengths, others)]

    spans.assert_batch_answer(labs[0], rows)
    spans.assert_alike(*labs)
    late = [row for _, row in expected_late(rows, gap, late_by, by)]
    assert labs[0].lines("late").select("__part", "__seq").rows() == late


def expected_late(
    rows: pl.DataFrame, gap: float, late_by: float | None, by: tuple[str, ...]
) -> list[tuple[int, tuple[int, int]]]:
    """Row by row, as the rule says it: no cleverness."""
    newest = dict.fromkeys(spans.PARTS, float("-inf"))
    mark, held = float("-inf"), dict[Any, list[tuple[float, float]]]()
    found = []
    for place, row in enumerate(rows.iter_rows(named=True)):
        if row["__time"] is None:
            continue
        time, key = (
            (row["__time"] - moment(0)).total_seconds(),
            tuple(row[n] for n in by),
        )
        newest[row["__part"]] = max(newest[row["__part"]], time)
        mark = max(mark, min(newest.values()))
        limit = float("-inf") if late_by is None else mark - late_by
        mine = held.setdefault(key, [])
        touched = [(s, e) for s, e in mine if time < e and s < time + gap]
        if time + gap <= limit or any(end <= limit for _, end in touched):
            found.append((place, (row["__part"], row["__seq"])))
            continue
        whole = [(time, time + gap), *touched]
        held[key] = [each for each in mine if each not in touched]
        held[key].append((min(s for s, _ in whole), max(e for _, e in whole)))
    return found
