"""Rules of windows at their edges, one test each."""

from __future__ import annotations

import numpy as np
import polars as pl

from streamlab.changes import PARTIAL
from streamlab.engine.graph import Graph
from streamlab.engine.kept import Kept
from streamlab.engine.needs import Bounds, Past
from streamlab.engine.outcome import Batch
from streamlab.engine.rawrows import RawRows
from streamlab.plans.nodes import Explode, Filter, InOrder, Source
from tests.engine.lab import KEY, Lab, moment, seconds, table, window

SOURCE = Source("lab")
N = pl.len().alias("n")


def partials(lab: Lab) -> dict[float, bool]:
    """Start of each window, in seconds → whether it is partial."""
    frame = lab.frame()
    starts = (frame.get_column(KEY).dt.epoch("us") / 1e6).to_list()
    return dict(zip(starts, frame.get_column(PARTIAL).to_list(), strict=True))


def test_a_window_that_begins_with_the_frame_is_whole():
    lab = Lab(window(SOURCE, [N]), began=moment(20))

    lab.step(table([19, 20, 31]))

    assert partials(lab) == {10: True, 20: False, 30: False}


def test_only_the_very_first_value_of_another_column_says_which_windows_are_partial():
    lab = Lab(window(SOURCE, [N], on="at"), began=moment(0))
    stamps = [2e9] * 2

    lab.step(table([1, 2], stamps=stamps, at=[moment(105), moment(111)]))
    lab.step(table([3, 4], stamps=stamps, at=[moment(131), moment(112)]))

    assert partials(lab) == {100: True, 110: False, 130: False}


def test_of_ids_of_one_millisecond_those_before_the_place_were_read():
    past = Past(Bounds(0, None), {0: (5, 2), 1: (None, 3)})
    parts = np.array([0, 0, 0, 0, 1, 1, 2], np.int32)
    stamps = np.array([4, 5, 5, 6, 9, 9, 0], np.int64)
    seqs = np.array([9, 1, 2, 0, 2, 3, 0], np.int64)

    read = past.was_read(parts, stamps, seqs)

    assert read.tolist() == [True, True, False, False, True, False, False]


def test_a_row_of_an_open_window_is_taken_back_however_many_windows_there_are():
    frame = window(SOURCE, [N], every=1)
    graph = Graph()
    handle = graph.add(Filter(frame, (pl.col("n") == 1,)), None)
    many = [float(at) for at in range(150)]

    graph.step(Batch(table(many), frozenset({0})))
    outcome = graph.step(Batch(table([3.5, 149.5]), frozenset({0})))[handle]

    removed = outcome.change.removed.get_column(KEY).sort().to_list()
    assert removed == [moment(3), moment(149)]


def test_rows_of_closed_windows_are_not_remembered_as_passing():
    frame = window(SOURCE, [N], every=1, lateness=seconds(0))
    graph = Graph()
    handle = graph.add(Filter(frame, (pl.col("n") == 1,)), None)

    for start in range(0, 400, 20):
        rows = table([start + at + 0.5 for at in range(20)])
        graph.step(Batch(rows, frozenset({0})))

    keyed = graph._frames[handle].keyed
    assert keyed is not None
    assert len(keyed._inside) <= 130


def test_bytes_are_of_what_is_kept():
    kept, rows = Kept(2_000), pl.DataFrame({"x": range(2_000)})

    for _ in range(5):
        kept.add(rows)

    assert kept.bytes == rows.estimated_size()
    assert kept.frame(rows.clear()).equals(rows)


def test_rows_of_many_batches_that_wait_together_leave_in_order_and_once():
    waiting = InOrder(SOURCE, seconds(1000), seconds(3600))
    graph = Graph()
    handle = graph.add(waiting, None)
    times = [float((at * 37) % 101) for at in range(100)]
    found = []

    def step(rows: pl.DataFrame, *, final: bool = False) -> None:
        outcome = graph.step(Batch(rows, frozenset({0}), final))[handle]
        found.extend(outcome.change.added.get_column("x").to_list())

    # The newest lets the older half go while runs are half full.
    for at in range(0, 60, 3):
        step(table(times[at : at + 3], x=times[at : at + 3]))
    step(table([1050], x=[1050.0]))
    assert found == sorted(time for time in times[:60] if time < 50)
    for at in range(60, 100, 3):
        late_ones = [time for time in times[at : at + 3] if time >= 50]
        step(table(late_ones, x=pl.Series(late_ones, dtype=pl.Float64)))
    step(table([1.0], x=[1.0]).clear(), final=True)

    kept = [time for time in times[60:] if time >= 50]
    assert found == sorted([*times[:60], *kept, 1050.0])


def test_an_exploded_record_of_which_one_row_is_late_counts_as_passed():
    stamps = [2e9] * 2
    at = pl.Series([[moment(50)], [moment(3), moment(51)]])
    node = window(Explode(SOURCE, ("at",)), [N], on="at", lateness=seconds(0))
    lab = Lab(node)

    outcome = lab.step(table([1, 2], stamps=stamps, at=at))["window"]

    assert lab.lines("late").height == 1
    assert outcome.counts == (2, 2, 0, 0, 0, 0)


def test_nan_inside_a_key_is_one_key():
    inside = pl.Series([{"v": float("nan")}, {"v": 1.0}, {"v": float("nan")}])
    lab = Lab(window(SOURCE, [N], by=("k",)))

    for at in range(3):
        lab.step(table([1.0], k=inside[at : at + 1]))

    last = lab.all["window"][-1].change.added
    assert last.get_column("n").to_list() == [2]


def test_rows_kept_do_not_hold_the_batch_they_were_cut_from():
    texts = [f"some text that is too long for a view, {at}" for at in range(20_000)]
    raw = RawRows()

    raw.add(pl.DataFrame({"text": texts})[7:9], np.array([0, 0]))

    kept = raw.of([0])
    assert kept is not None
    arrow = kept.get_column("text").to_arrow(compat_level=pl.CompatLevel.newest())
    assert arrow.get_total_buffer_size() < 1_000
