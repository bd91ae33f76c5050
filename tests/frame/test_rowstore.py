"""The store of an append frame; the model is a list."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import HIDDEN_SCHEMA, Change
from streamlab.durations import Span
from streamlab.frames.rowstore import RowStore
from streamlab.frames.store import Budget, Keep, bytes_held

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pl.Schema({"n": pl.Int64(), "text": pl.String(), **HIDDEN_SCHEMA})
Row = tuple[int, int | None]  # number, event time in seconds

times = st.one_of(st.none(), st.integers(0, 60))
cuts = st.lists(st.lists(times, max_size=8), max_size=12)


def numbered(batches: list[list[int | None]]) -> list[list[Row]]:
    count = itertools.count()
    return [[(next(count), time) for time in batch] for batch in batches]


def frame(rows: list[Row], text: str = "") -> pl.DataFrame:
    moments = [None if t is None else EPOCH + timedelta(seconds=t) for _, t in rows]
    return pl.DataFrame(
        {
            "n": [n for n, _ in rows],
            "text": [f"{text}{n}" for n, _ in rows],
            "__time": moments,
            "__part": [0] * len(rows),
            "__stamp": [int(EPOCH.timestamp() * 1000)] * len(rows),
            "__seq": [n for n, _ in rows],
        },
        schema=SCHEMA,
    )


def change(rows: pl.DataFrame) -> Change:
    return Change(rows, rows.clear(), 0, 0, None)


def store(keep: Keep, budget: int = 10**9) -> RowStore:
    return RowStore(pl.DataFrame(schema=SCHEMA), keep, Budget(budget))


def filled(keep: Keep, batches: list[list[Row]]) -> RowStore:
    made = store(keep)
    for batch in batches:
        made.put(change(frame(batch)))
    return made


def kept(made: RowStore) -> list[int]:
    return made.held().frame()["n"].to_list()


def remembered(rows: list[Row], limit: int | None, age: int | None) -> list[int]:
    """The model: one row after the other, oldest dropped at once."""
    left: list[Row] = []
    newest: int | None = None
    for row in rows:
        left.append(row)
        if row[1] is not None:
            newest = max(row[1], newest if newest is not None else row[1])
        if limit is not None:
            left = left[-limit:]
        if age is not None and newest is not None:
            while left and (left[0][1] is None or left[0][1] < newest - age):
                left.pop(0)
    return [n for n, _ in left]


@settings(deadline=None, max_examples=60)
@given(
    cuts,
    st.one_of(st.none(), st.integers(1, 20)),
    st.one_of(st.none(), st.integers(0, 30)),
)
def test_what_is_kept_is_what_a_list_would_keep_however_the_rows_were_cut(
    batches: list[list[int | None]], limit: int | None, age: int | None
):
    rows = numbered(batches)
    span = None if age is None else Span(0, age * 1_000_000)

    made = filled(Keep(rows=limit, age=span), rows)

    assert kept(made) == remembered([r for b in rows for r in b], limit, age)


@settings(deadline=None, max_examples=60)
@given(cuts, st.integers(1, 20), st.integers(0, 30), st.integers(1, 4000))
def test_every_row_that_was_put_is_kept_or_forgotten_and_views_are_told(
    batches: list[list[int | None]], limit: int, age: int, size: int
):
    rows = numbered(batches)
    made = store(Keep(limit, Span(0, age * 1_000_000), size))
    told = sum(made.put(change(frame(batch))).forgotten for batch in rows)

    counts = made.counts()

    assert counts.put == sum(map(len, rows)) == counts.kept + counts.forgotten
    assert counts.kept == made.height == made.held().height == len(kept(made))
    assert told == counts.forgotten


@settings(deadline=None, max_examples=60)
@given(cuts, st.integers(1, 20))
def test_a_snapshot_taken_earlier_never_changes(
    batches: list[list[int | None]], limit: int
):
    made, snapshots = store(Keep(rows=limit)), []
    for batch in numbered(batches):
        made.put(change(frame(batch)))
        held = made.held()
        snapshots.append((held, kept(made)))

    for held, numbers in snapshots:
        assert held.frame()["n"].to_list() == numbers


@settings(deadline=None, max_examples=60)
@given(cuts, st.integers(0, 6000))
def test_shrinking_drops_the_oldest_and_counts_them(
    batches: list[list[int | None]], budget: int
):
    rows = numbered(batches)
    made = store(Keep(), budget)
    for batch in rows:
        made.put(change(frame(batch)))
        while made.budget.over and made.shrink():
            pass

    counts, whole = made.counts(), [n for b in rows for n, _ in b]

    assert made.budget.held == made.bytes <= budget
    assert counts.put == counts.kept + counts.forgotten
    assert kept(made) == whole[len(whole) - counts.kept :]


def test_a_row_dated_far_ahead_of_its_broker_ages_nobody():
    made = filled(Keep(age=Span(0, 10_000_000)), numbered([[1, 2, 100_000, 3]]))

    assert kept(made) == [0, 1, 2, 3]


def test_versions_rise_with_every_change():
    made = store(Keep(rows=2))
    versions = [
        made.put(change(frame(batch))).version for batch in numbered([[1], [], [2, 3]])
    ]

    assert versions == [1, 2, 3]
    assert made.held().version == 3


def test_replacing_forgets_all_that_was_there():
    made = filled(Keep(), numbered([[1, 2, 3]]))

    told = made.replace(frame([(7, 1)]))

    assert (told.added.height, told.forgotten) == (1, 3)
    assert kept(made) == [7]
    assert made.counts()[:3] == (4, 1, 3)


def test_clearing_begins_anew():
    made = filled(Keep(rows=5), numbered([[1, 2, 3], [4, 5, 6]]))

    assert made.clear().forgotten == 5
    assert made.counts() == (0, 0, 0, 0, 0)
    made.put(change(frame([(1, 0)])))
    assert kept(made) == [1]


def test_a_thin_filter_of_a_batch_does_not_hold_the_batch():
    whole = frame(numbered([[0] * 20_000])[0], "x" * 300)
    thin = whole.filter(pl.col("n") % 100 == 0)
    assert (
        bytes_held(thin) > 6_000_000 > 20 * thin.estimated_size()
    )  # polars holds it all

    made = store(Keep())
    made.put(change(thin))

    assert made.held().frame().equals(thin)
    assert bytes_held(made.held().frame()) < 2 * thin.estimated_size() + 4096
    assert made.budget.held < 2 * thin.estimated_size() + 4096


def test_what_thin_filters_leave_takes_little_memory_in_the_process():
    made, before = store(Keep()), pa.total_allocated_bytes()
    for number in range(30):
        whole = frame([(number * 1000 + n, 0) for n in range(1000)], "x" * 3000)
        made.put(change(whole.filter(pl.col("n") % 1000 == 0)))
        del whole

    real = _really_held(made)

    assert made.height == 30
    assert real < 1_000_000  # of 90 MB that went by
    assert made.budget.held >= real
    assert pa.total_allocated_bytes() - before < 10_000_000


def _really_held(made: RowStore) -> int:
    """Buffers of all pieces, told by Arrow, each once."""
    sizes: dict[int, int] = {}
    for piece in made._pieces:
        for column in piece.rows.iter_columns():
            array = column.to_arrow(compat_level=pl.CompatLevel.newest())
            for chunk in (
                array.chunks if isinstance(array, pa.ChunkedArray) else [array]
            ):
                sizes |= {b.address: b.size for b in chunk.buffers() if b is not None}
    return sum(sizes.values())


def test_dropped_rows_count_until_their_piece_is_let_go():
    made = store(Keep(rows=10))
    made.put(change(frame(numbered([[0] * 1000])[0], "x" * 500)))

    assert made.height == 10
    assert made.budget.held > 400_000  # one piece: its strings are all still there

    for number in range(20):
        made.put(change(frame([(1000 + number, 0)])))

    assert kept(made) == list(range(1010, 1020))
    assert made.budget.held < 20_000


@pytest.mark.parametrize("rows", [10_000, 300_000])
def test_pieces_stay_few(rows: int):
    made = store(Keep())
    step = rows // 100
    block = frame(numbered([[0] * step])[0])
    for _ in range(100):
        made.put(change(block))

    assert made.height == rows
    assert len(made._pieces) < 40
