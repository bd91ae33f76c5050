"""Sessions at their edges: extend forward, extend back, bridge two, the exact gap, late into a closed one."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from streamlab.changes import CLOSED
from streamlab.engine.graph import Graph
from streamlab.engine.outcome import Batch
from streamlab.plans.nodes import Source, Window
from tests.engine.lab import KEY, SECOND, Lab, moment, seconds, table, window
from tests.engine.proof import Kept

SOURCE = Source("lab")
x = pl.col("x")
AGGS = (x.sum().alias("sum"), x.alias("list"), x.median().alias("middle"))


def sessions(lateness: float | None = None, by: tuple[str, ...] = ()) -> Window:
    """Rows less than ten seconds apart."""
    late = None if lateness is None else seconds(lateness)
    return replace(window(SOURCE, AGGS, by=by, lateness=late), session=True)


class Sessions(Lab):
    """A lab whose frame forgets the keys that are gone."""

    def spans(self) -> dict[tuple[float, float], list[int]]:
        """(first second, end) of each session → its rows, by event time."""
        kept = Kept(self.key)
        for outcome in self.all["window"]:
            kept.take(outcome)
        frame = kept.frame().sort(self.key)
        found = {}
        for start, end, total, rows in frame.select(
            KEY, "window_end", "sum", "list"
        ).iter_rows():
            assert total == sum(rows)
            key = (start - moment(0)).total_seconds(), (end - moment(0)).total_seconds()
            found[key] = rows
        return found


def fed(lab: Sessions, *batches: list[float], first: int = 0) -> Sessions:
    """Each list a batch; rows are numbered as they come."""
    for times in batches:
        numbers = list(range(first, first + len(times)))
        first += len(times)
        rows = table(times, x=numbers).with_columns(pl.Series("__seq", numbers))
        lab.step(rows)
    return lab


def test_a_row_less_than_a_gap_later_extends_a_session_forward():
    assert fed(Sessions(sessions()), [0], [9.999]).spans() == {(0, 19.999): [0, 1]}


def test_a_row_exactly_a_gap_later_begins_a_session():
    two = {(0, 10): [0], (10, 20): [1]}

    assert fed(Sessions(sessions()), [0], [10]).spans() == two
    assert fed(Sessions(sessions()), [0, 10]).spans() == two


def test_a_row_before_a_session_extends_it_back_and_its_old_key_is_gone():
    lab = fed(Sessions(sessions()), [20], [12])

    assert lab.spans() == {(12, 30): [1, 0]}
    removed = lab.all["window"][-1].change.removed
    assert removed.get_column(KEY).to_list() == [moment(20)]


def test_a_row_exactly_a_gap_before_a_session_is_one_of_its_own():
    assert fed(Sessions(sessions()), [20], [10]).spans() == {
        (10, 20): [1],
        (20, 30): [0],
    }


def test_a_row_between_two_sessions_bridges_them():
    lab = fed(Sessions(sessions()), [0, 18], [9])

    assert lab.spans() == {(0, 28): [0, 2, 1]}
    removed = lab.all["window"][-1].change.removed
    assert removed.get_column(KEY).to_list() == [moment(18)]


def test_sessions_bridged_again_and_again_have_all_their_rows():
    lab = fed(Sessions(sessions(60)), [0, 18, 36, 54], [45], [27], [9])

    assert lab.spans() == {(0, 64): [0, 6, 1, 5, 2, 4, 3]}
    middle = lab.all["window"][-1].change.added.get_column("middle").to_list()
    assert middle == [3.0]
    fed(lab, [62], [140], first=7)
    closed = lab.lines("closed")
    assert closed.get_column("list").to_list() == [[0, 6, 1, 5, 2, 4, 3, 7]]


def test_a_row_inside_a_session_does_not_end_it_sooner():
    lab = fed(Sessions(sessions(0)), [0, 5, 8], [9], [17.5])

    assert lab.spans() == {(0, 27.5): [0, 1, 2, 3, 4]}
    assert lab.lines("closed").height == 0


def test_a_session_that_was_extended_does_not_close_where_it_once_ended():
    lab = fed(Sessions(sessions(0)), [0], [9], [12], [21])

    assert lab.spans() == {(0, 31): [0, 1, 2, 3]}
    assert lab.lines("closed").height == 0


def test_sessions_of_two_keys_never_meet():
    lab = Sessions(sessions(by=("k",)))

    lab.step(table([0, 1, 2, 3], x=[0, 1, 2, 3], k=["a", "b", "a", "b"]))

    found = lab.frame().sort("k").select(KEY, "window_end", "list").rows()
    assert found == [(moment(0), moment(12), [0, 2]), (moment(1), moment(13), [1, 3])]


def test_a_session_closes_when_the_limit_reaches_its_end_and_not_before():
    lab = fed(Sessions(sessions(5)), [0, 4], [18.999])
    assert lab.lines("closed").height == 0

    fed(lab, [19], first=3)

    assert lab.lines("closed").get_column("list").to_list() == [[0, 1]]
    assert lab.frame().filter(pl.col(CLOSED)).height == 1


def test_a_row_that_touches_a_closed_session_is_late_though_its_own_time_is_not_over():
    lab = fed(Sessions(sessions(5)), [0, 8], [23], [17])

    late = lab.lines("late")
    assert late.get_column("x").to_list() == [3]
    assert late.get_column(KEY).to_list() == [moment(0)]
    assert lab.spans() == {(0, 18): [0, 1], (23, 33): [2]}


def test_the_verdict_is_the_same_if_the_same_batch_closes_the_session():
    lab = fed(Sessions(sessions(5)), [0, 8, 23, 17])

    assert lab.lines("late").get_column("x").to_list() == [3]


def test_a_row_on_time_may_bridge_what_the_same_batch_then_closes():
    whole = fed(Sessions(sessions(5)), [0, 14, 7, 40, 20])
    cut = fed(Sessions(sessions(5)), [0], [14], [7], [40], [20])

    assert whole.spans() == cut.spans() == {(0, 24): [0, 2, 1], (40, 50): [3]}
    late = [each.lines("late").get_column("x").to_list() for each in (whole, cut)]
    assert late == [[4], [4]]


def test_a_row_whose_own_session_is_over_is_late_though_it_touches_none():
    lab = fed(Sessions(sessions(0)), [100], [90, 90.001, 95])

    late = lab.lines("late")
    assert late.get_column("x").to_list() == [1]
    assert late.get_column("_late_by").dt.total_microseconds().to_list() == [0]
    assert lab.spans() == {(90.001, 110): [2, 3, 0]}


def test_the_oldest_record_of_a_bridged_session_is_needed():
    graph = Graph(committing=True)
    graph.add(sessions(20), None)

    for number, second in enumerate([0, 18, 9, 30]):
        rows = table([second], x=[1]).with_columns(pl.Series("__seq", [number]))
        graph.step(Batch(rows, frozenset({0})))
        assert graph.low.oldest == {0: (0, 0)}
    # Closed at 48, and remembered for as long as a row may still touch it.
    rows = table([58], x=[1]).with_columns(pl.Series("__seq", [4]))
    graph.step(Batch(rows, frozenset({0})))

    assert graph.low.oldest == {0: (30 * SECOND // 1000, 3)}
