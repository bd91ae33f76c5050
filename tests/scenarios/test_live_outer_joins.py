"""Right and full joins with a table, as live frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import streamlab as sl
from streamlab.changes import JOINED, Change
from streamlab.errors import (
    ModeError,
    NotIncrementalError,
    RevisingFrameError,
    UsageError,
)
from streamlab.live.batches import Batches
from streamlab.live.frame import LiveFrame
from streamlab.views.chart import RollingChart
from tests.scenarios.lab import SEVERAL, TYPES, row, topic
from tests.scenarios.test_live_windows import balanced

TABLE = pl.DataFrame(
    {
        "symbol": ["A", "B", "B", "Q", None],
        "name": ["Anna", "Bob", "Bill", "Queen", "?"],
    }
)
SCHEMA: dict[str, Any] = {"schema": TYPES, "format": "json"}


def joined(live: LiveFrame, how: str = "full", **options: Any) -> LiveFrame:
    return live.join(TABLE, on="symbol", how=how, **options)


def send(source: sl.Topic, *symbols: str) -> None:
    source.send([row(at, float(at), symbol) for at, symbol in enumerate(symbols)])


def names(frame: pl.DataFrame) -> list[Any]:
    return frame["name"].to_list()


@pytest.mark.parametrize("how", ["right", "full"])
@pytest.mark.parametrize("coalesce", [None, True, False])
def test_it_is_polars_join_over_all_records(name: str, how: Any, *, coalesce: Any):
    source = topic(name, partitions=2)
    send(source, "A", "Z")
    live = source.live(start="earliest")
    both = joined(live, how, coalesce=coalesce)
    both.wait()
    send(source, "B", "A", "Z")

    found = both.wait()

    expected = live.df.join(
        TABLE, on="symbol", how=how, coalesce=coalesce, maintain_order="left_right"
    )
    assert found.schema == both.schema == expected.schema
    assert Counter(found.rows()) == Counter(expected.rows())
    assert names(found)[-2:] == ["Queen", "?"]  # without a match, so behind all others
    assert both.check_parity().startswith("equal: ")
    balanced(both)


def test_the_table_is_there_before_the_first_record(name: str):
    for start in ("earliest", "latest"):
        source = topic(f"{name}-{start}", **SCHEMA)
        both = joined(source.live(start=start))
        seen: list[Change] = []
        sink = both.to(seen.append)
        sink.flush()

        assert names(both.df) == names(TABLE)
        assert not [column for column in both.df.columns if column.startswith("__")]
        assert len(both) == TABLE.height
        send(source, "A")
        assert names(both.wait()) == ["Anna", "Bob", "Bill", "Queen", "?"]
        sink.flush()
        assert [each.added.height for each in seen] == [5, 1]
        assert both.check_parity().startswith("equal: 5 rows")
        balanced(both)


def kept(changes: list[Change]) -> pl.DataFrame:
    """A frame as its changes leave it."""
    rows = changes[0].added
    for change in changes[1:]:
        gone = [change.removed.select(JOINED), change.added.select(JOINED)]
        rows = rows.join(pl.concat(gone), on=JOINED, how="anti")
        rows = pl.concat([rows, change.added])
    return rows.sort(JOINED).drop(JOINED)


def test_functions_get_what_comes_and_what_leaves(name: str):
    source = topic(name)
    live = source.live(start="earliest")
    both = joined(live)
    changes: list[Change] = []
    sink = both.to(changes.append)
    gathered = Batches(both._feed, both._member, "")

    for symbols in ("A", "ZB", "A", "B"):
        send(source, *symbols)
        both.wait()
    sink.flush()

    assert [change.removed.height for change in changes] == [0, 1, 2, 0, 0]
    assert names(changes[0].added) == names(TABLE)
    assert kept(changes).equals(both.df)
    at_once = next(iter(gathered))
    assert isinstance(at_once, Change)
    assert at_once.added.sort(JOINED).drop(JOINED).equals(both.df)


def test_a_dropped_key_is_in_what_code_gets(name: str):
    source = topic(name)
    live = source.live(start="earliest")
    counts = live.window("10s", by="symbol").agg(n=pl.len()).select("n")
    gathered = Batches(counts._feed, counts._member, "")

    for _ in range(2):
        send(source, "A")
        counts.wait()

    change = next(iter(gathered))
    assert isinstance(change, Change)
    assert change.added.select("symbol", "n").rows() == [("A", 2)]
    assert counts.df.columns == ["n"]


def test_steps_queries_charts_and_tables_on_top(name: str):
    source = topic(name)
    both = joined(source.live(start="earliest"))
    named = (
        both.filter(pl.col("name") != "Bob")
        .rename({"name": "who"})
        .select("who", "price")
    )
    count = named.recompute(lambda lf: lf.group_by("who").len().sort("who"))
    send(source, "A", "B", "Z")
    named.wait()

    assert named.df.rows() == [
        ("Anna", 0.0),
        ("Bill", 1.0),
        ("Queen", None),
        ("?", None),
    ]
    assert named.check_parity().startswith("equal")
    assert count.wait()["who"].to_list() == ["?", "Anna", "Bill", "Queen"]
    assert both.lateness()["records"].to_list()[-1] == 3
    chart = both.plot.scatter(y="price", color="name")
    assert isinstance(chart, RollingChart)
    assert chart._compiled is not None
    assert chart._compiled.spec["encoding"]["x"]["field"] == "time"
    assert "Queen" in str(both._repr_mimebundle_())
    assert JOINED not in str(both._repr_mimebundle_())


def test_what_is_forgotten_first_are_the_oldest_records(name: str):
    source = topic(name)
    live = source.live(start="earliest", keep=1)
    both = joined(live)
    few = both.keep(4)
    assert few.df.is_empty()

    send(source, *"AABAZ")
    few.wait()

    assert names(both.wait()) == [
        "Anna",
        "Anna",
        "Bob",
        "Bill",
        "Anna",
        None,
        "Queen",
        "?",
    ]
    assert names(few.df) == ["Anna", None, "Queen", "?"]
    assert both.status().keep_rows == 100_000 + TABLE.height
    assert "over all 5 records" in both.status().basis
    assert few.check_parity().startswith("equal: 4 rows")
    balanced(few)
    with pytest.raises(UsageError, match=r"no event time.*keep\(100_000\)"):
        both.keep("5m")


def test_a_frame_made_later_is_of_all_records_the_join_has_had(name: str):
    source = topic(name)
    live = source.live(start="earliest", keep=1)
    both, totals = joined(live), live.group_by("symbol").agg(n=pl.len())
    send(source, *"AABAZ")
    totals.wait()

    for frame in (both.filter(pl.col("name") != "Bob"), totals.filter(pl.col("n") > 1)):
        frame.wait()
        assert frame.began is None
        assert frame.check_parity().startswith("equal")


def test_after_a_seek_the_table_is_whole_again(name: str):
    source = topic(name)
    live = source.live(start="earliest")
    both = joined(live)
    send(source, *"AB")
    both.wait()

    live.seek({0: 1})

    assert names(both.wait()) == ["Bob", "Bill", "Anna", "Queen", "?"]
    live.seek("latest")
    assert names(both.df) == names(TABLE)
    send(source, "Q")
    assert names(both.wait(count=1)) == ["Queen", "Anna", "Bob", "Bill", "?"]


def test_a_frame_made_after_the_end(name: str):
    source = topic(name)
    send(source, *"AB")
    live = source.live(start="earliest", until="latest")
    live.wait()

    assert names(joined(live, "right").df) == ["Anna", "Bob", "Bill", "Queen", "?"]


def test_a_large_table_is_joined_by_its_index(name: str):
    wide = pl.DataFrame(
        {"symbol": [f"s{n}" for n in range(10_000)], "n": range(10_000)}
    )
    source = topic(name)
    both = source.live(start="earliest").join(wide, on="symbol", how="right")

    send(source, "s7", "s3", "s7", "none")
    both.wait()

    assert both.df["n"].to_list()[:5] == [7, 3, 7, 0, 1]
    assert both.df.height == 10_001
    assert both.check_parity().startswith("equal")


REFUSED: list[Callable[[LiveFrame], object]] = [
    lambda frame: frame.window("10s"),
    lambda frame: frame.group_by("name"),
    lambda frame: frame.unique("name"),
    lambda frame: frame.explode("name"),
    lambda frame: frame.in_order("1s"),
    lambda frame: frame.with_columns(pl.col("price").shift(1)),
    lambda frame: frame.merge_sorted(frame.source, lateness="1s"),
    joined,
]


@pytest.mark.parametrize(("how", "plain"), [("full", "left"), ("right", "inner")])
def test_what_can_take_nothing_back_names_a_join_that_need_not(
    name: str, how: str, plain: str
):
    both = joined(topic(name, **SCHEMA).live(), how)
    for verb in REFUSED:
        with pytest.raises(RevisingFrameError, match=f'how="{plain}"'):
            verb(both)
    with pytest.raises(RevisingFrameError, match="several"):
        both.join(TABLE, on="symbol", suffix="_again")


def test_revised_rows_and_groups_are_refused(name: str):
    live = topic(name, **SCHEMA).live()
    windows = live.window("10s", by="symbol").agg(n=pl.len())
    with pytest.raises(RevisingFrameError, match=r"\.closed"):
        joined(windows)
    with pytest.raises(NotIncrementalError, match="m:1"):
        joined(live, validate="1:1")
    for mode in ("resumable", "load-balanced"):
        shared = topic(f"{name}-{mode}", **SCHEMA).live(group="g", mode=mode)
        for how, plain in (("full", "left"), ("right", "inner")):
            with pytest.raises(ModeError, match=f'how="{plain}"'):
                joined(shared, how)


def test_explain_says_what_is_kept(name: str):
    send(topic(name), *"A")
    lines = joined(topic(name).live(start="earliest")).explain().splitlines()

    assert "with a table of 5 rows" in lines[2]
    assert "which of them have found a match" in lines[3]


def test_all_of_it_again_in_one_partition_after_another(name: str):
    source = topic(name, partitions=3)
    live = source.live(start="earliest")
    frames = [
        joined(live, how).filter(pl.col("price") != 3.0) for how in ("right", "full")
    ]
    source.send([*SEVERAL, row(1.5, 5.0, "Z")])
    for frame in frames:
        frame.wait()

        assert frame.check_parity().startswith("equal")
        balanced(frame)
