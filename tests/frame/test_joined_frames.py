"""Frames of two live sources: joined, merged, ended, broken, sought, held back."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pandas as pd
import polars as pl
import pytest

from streamlab.errors import (
    ColumnNotFoundError,
    LatenessNeededError,
    ModeError,
    NotIncrementalError,
    RevisingFrameError,
    StreamFailedError,
    StreamStoppedError,
    UsageError,
    WaitTimeoutError,
)
from streamlab.live.cells import CELLS
from streamlab.live.frame import LiveFrame, stop_all
from streamlab.runtime.kernel import Cell
from tests.scenarios.lab import moment, put, row, topic

NAMES = itertools.count()
CHECK = "earliest"


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    yield
    stop_all()


class Two:
    """Trades and quotes, each a topic in memory."""

    def __init__(self, **options: Any) -> None:
        number = next(NAMES)
        self.trades = topic(f"trades-{number}", **options)
        self.quotes = topic(f"quotes-{number}", **options)

    def live(self, **options: Any) -> tuple[LiveFrame, LiveFrame]:
        given = {"start": "earliest"} | options
        return self.trades.live(**given), self.quotes.live(**given)

    def trade(self, *seconds: float, price: float = 1.0, symbol: str = "A") -> None:
        self.trades.send([row(s, price, symbol) for s in seconds])

    def quote(self, *seconds: float, symbol: str = "A") -> None:
        self.quotes.send([row(s, 10.0 * s, symbol) for s in seconds])


def asof(left: LiveFrame, right: LiveFrame, **options: Any) -> LiveFrame:
    given = {"by": "symbol", "tolerance": "5s", "lateness": "1s"} | options
    return left.join_asof(right, **given)


def prices(frame: LiveFrame) -> list[Any]:
    return frame.df["price_right"].to_list()


# -- the rows ------------------------------------------------------------------------------


def test_trades_find_the_quote_before_them():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)

    two.quote(1, 2, 9)
    two.trade(1.5, 2, 9)
    joined.wait()

    assert joined.df.columns == ["time", "symbol", "price", "time_right", "price_right"]
    assert joined.df.select("time", "time_right").rows() == [
        (moment(1.5), moment(1)),
        (moment(2), moment(2)),
    ]
    assert joined.check_parity().startswith("equal: 2 rows")


def test_what_both_sides_hold_already_is_joined_first():
    two = Two()
    trades, quotes = two.live()
    two.quote(1, 2, 9)
    two.trade(1.5, 2.5, 9)
    trades.wait()
    quotes.wait()

    joined = asof(trades, quotes)

    assert joined.wait()["price_right"].to_list() == [10, 20]


def test_the_right_side_may_come_later_by_far():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)

    two.trade(1, 2, 9)
    assert joined.wait().height == 0
    two.quote(1, 9)

    assert joined.wait()["price_right"].to_list() == [10, 10]


def test_the_left_side_may_have_no_record_while_the_right_one_goes_on():
    two = Two()
    trades, quotes = two.live(tick="1ms")
    joined = asof(trades, quotes)

    for second in range(10):
        two.quote(second)
        quotes.wait(count=second + 1)
    two.trade(5.5, 20)

    assert joined.wait(lambda df: df.height == 1)["price_right"].to_list() == [50]


def test_the_columns_are_told_as_soon_as_both_sides_know_theirs():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    assert joined.schema is None

    two.trade(1)
    trades.wait()
    assert joined.schema is None
    two.quote(1)
    quotes.wait()

    assert joined.columns[-1] == "price_right"


def test_all_rows_within_a_time():
    two = Two()
    trades, quotes = two.live()
    joined = trades.join_within(quotes, by="symbol", tolerance="1s", lateness="1s")

    two.quote(1, 2, 3, 9)
    two.trade(2, 6, 9)
    joined.wait()

    assert prices(joined) == [10, 20, 30]
    assert joined.stats.operator.passed == 1
    assert joined.stats.operator.filtered == 1
    assert joined.check_parity().startswith("equal: 3 rows")


def test_two_topics_as_one_in_order():
    two = Two()
    trades, quotes = two.live()
    merged = trades.merge_sorted(quotes, lateness="1s")

    two.trade(1, 3, 9)
    two.quote(2, 3, 9)
    merged.wait()

    assert merged.df["price"].to_list() == [1, 20, 1, 30]
    assert merged.check_parity().startswith("equal: 4 rows")


def test_a_source_joined_with_itself():
    two = Two()
    trades = two.trades.live(start="earliest")
    buys = trades.filter(pl.col("price") > 0)
    sells = trades.filter(pl.col("price") < 0)
    joined = asof(buys, sells)

    two.trades.send([row(1, -5.0), row(2, 7.0), row(9, 1.0)])

    assert joined.wait()["price_right"].to_list() == [-5]
    assert joined.check_parity().startswith("equal: 1 rows")


def test_joined_rows_go_into_windows_and_further_frames():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    spread = joined.with_columns(spread=pl.col("price_right") - pl.col("price"))
    means = joined.window("5s").agg(n=pl.len())

    two.quote(1, 6, 30)
    two.trade(1, 2, 7, 30)
    joined.wait()

    assert spread.df["spread"].to_list() == [9, 9, 59]
    assert means.df["n"].to_list() == [2, 1]


def test_two_joins_with_one_frame_in_order_each_begin_with_what_it_holds():
    two = Two()
    trades, quotes = two.live()
    ordered = quotes.in_order("1s")
    first = asof(trades, ordered)
    two.quote(1, 9)
    two.trade(2, 9)
    assert first.wait()["price_right"].to_list() == [10]

    second = asof(trades, ordered)

    assert second.wait()["price_right"].to_list() == [10]
    assert prices(first) == [10]


def test_three_sources():
    two = Two()
    news = topic(f"news-{next(NAMES)}")
    trades, quotes = two.live()
    third = news.live(start="earliest")
    joined = asof(asof(trades, quotes), third, suffix="_news")

    two.quote(1, 9)
    two.trade(2, 9)
    news.send([row(1.5, 7.0), row(9)])

    rows = joined.wait()
    assert rows.select("price", "price_right", "price_news").rows() == [(1, 10, 7)]
    assert joined.check_parity().startswith("equal: 1 rows")


def test_both_ways_at_once():
    two = Two()
    trades, quotes = two.live()
    there, back = asof(trades, quotes), asof(quotes, trades)

    two.quote(1, 9)
    two.trade(2, 9)

    assert there.wait()["price_right"].to_list() == [10]
    assert back.wait()["price_right"].to_list() == [None]


def test_late_rows_of_either_side_are_counted_there():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    late = joined.late

    two.quote(5, 1, 9)
    two.trade(5, 9, 2)
    joined.wait()

    assert joined.other is not None
    assert joined.other.stats.late == 1
    assert joined.other.late.df["_offset"].to_list() == [1]
    assert late.df["_offset"].to_list() == [2]
    assert joined.check_parity().startswith("equal: 1 rows")


# -- waiting -------------------------------------------------------------------------------


def test_wait_is_for_all_that_was_there_in_both_sources():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)

    for second in range(1, 30):
        two.quote(second)
        two.trade(second + 0.5)
        rows = joined.wait()
        # The quotes are as far as their newest, less a second.
        assert rows.height == max(0, second - 2)


def test_a_count_is_of_the_left_sources_records():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)

    two.trade(1, 2, 3)
    joined.wait(count=3)

    with pytest.raises(WaitTimeoutError, match="3 of 4 records"):
        joined.wait(count=4, timeout=0.05)


# -- ends ----------------------------------------------------------------------------------


def test_both_sides_end_and_everything_is_joined():
    two = Two()
    two.quote(1, 2)
    two.trade(1.5, 8)
    trades, quotes = two.live(until="latest")
    joined = asof(trades, quotes)

    rows = joined.wait(lambda df: df.height == 2)

    assert rows["price_right"].to_list() == [10, None]
    with pytest.raises(StreamStoppedError, match="ended"):
        joined.wait(count=99)
    assert joined.status().state == "ended"


def test_the_right_side_ends_earlier_and_holds_nothing_back():
    two = Two()
    two.quote(1)
    trades = two.trades.live(start="earliest")
    quotes = two.quotes.live(start="earliest", until="latest")
    joined = asof(trades, quotes)

    two.trade(2, 3, 9)

    assert joined.wait(lambda df: df.height == 2)["price_right"].to_list() == [10, 10]
    assert joined.status().state == "live"


def test_the_left_side_ends_earlier_and_the_joined_frame_goes_on():
    two = Two()
    two.trade(2, 3)
    trades = two.trades.live(start="earliest", until="latest")
    quotes = two.quotes.live(start="earliest")
    joined = asof(trades, quotes)
    trades.wait()

    two.quote(1, 2.5, 9)

    assert joined.wait(lambda df: df.height == 2)["price_right"].to_list() == [10, 25]
    assert joined.status().state == "live"
    assert trades.status().state == "ended"


def test_a_loop_over_a_joined_frame_ends_when_both_sides_have():
    two = Two()
    two.trade(2, 3)
    two.quote(1, 9)
    trades = two.trades.live(start="earliest", until="latest")
    quotes = two.quotes.live(start="earliest", until="latest", paused=True)
    joined = asof(trades, quotes)
    trades.wait()
    threading.Timer(0.05, quotes.resume).start()

    rows = pl.concat(list(joined))

    assert rows["price_right"].to_list() == [10, 10]


def test_a_right_side_that_is_stopped_ends_the_join_with_its_name():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    two.quote(1, 9)
    two.trade(2, 9)
    joined.wait()

    quotes.stop()

    with pytest.raises(StreamFailedError, match=r"quotes-\d+ was stopped"):
        joined.wait(lambda _: False)
    assert joined.df.height == 1
    two.trade(10)
    assert trades.wait(count=3).height == 3


def test_a_right_side_that_fails_fails_the_join_with_its_name():
    two = Two()
    trades, quotes = two.live()
    bad = quotes.with_columns(n=1 // pl.col("symbol").str.len_bytes().cast(pl.Int8))
    worse = bad.filter(pl.col("symbol").str.to_integer(strict=True) > 0)
    joined = trades.join_asof(worse, tolerance="5s", lateness="1s")
    two.trade(2, 9)

    two.quote(1)

    with pytest.raises(StreamFailedError, match=r"quotes-\d+ failed"):
        joined.wait(lambda _: False)
    assert trades.error is None


def test_the_left_side_is_stopped_and_the_right_one_goes_on():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    two.quote(1, 9)
    two.trade(2, 9)
    joined.wait()

    trades.stop()
    two.quote(*range(10, 20))

    assert quotes.wait(count=12).height == 12
    assert joined.df.height == 1
    assert joined.status().state == "stopped"


def test_a_joined_frame_that_is_stopped_asks_for_no_more_rows():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    two.quote(1, 9)
    two.trade(2, 9)
    joined.wait()
    before = quotes.siblings()

    joined.stop()

    assert quotes._feed.pipeline.outlets.taps == []
    assert quotes.siblings() == before - 1
    assert joined.df.height == 1


def test_what_hangs_on_a_stopped_joined_frame_goes_on():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    some = joined.filter(pl.col("price") > 0)
    two.quote(1, 9)
    two.trade(2, 9)
    assert some.wait().height == 1

    joined.stop()
    two.quote(12)
    two.trade(12)

    assert some.wait(lambda df: df.height == 2).height == 2


def test_stopped_frames_are_not_joined():
    two = Two()
    trades, quotes = two.live()
    quotes.stop()

    with pytest.raises(StreamStoppedError, match="was stopped"):
        asof(trades, quotes)


# -- seeking -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1])
def test_after_a_seek_the_join_is_as_if_it_had_begun_there(side: int):
    two = Two()
    frames = two.live()
    joined = asof(*frames)
    two.quote(1, 2, 9)
    two.trade(1.5, 2.5, 9)
    assert joined.wait()["price_right"].to_list() == [10, 20]

    frames[side].seek("earliest")
    joined.wait()

    assert prices(joined) == [10, 20]
    two.quote(12)
    two.trade(12)
    assert joined.wait(lambda df: df.height == 3)["price_right"].to_list()[2] == 90


def test_after_a_seek_of_the_right_side_only_what_comes_from_there_is_joined():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)
    two.quote(1, 2, 9)
    two.trade(1.5, 2.5, 9)
    joined.wait()

    quotes.seek({0: 1})

    assert joined.wait()["price_right"].to_list() == [None, 20]


# -- pace ----------------------------------------------------------------------------------


def test_the_right_source_is_held_back_while_the_left_worker_is_busy():
    two = Two()
    trades, quotes = two.live(tick="1ms")
    joined = asof(trades, quotes)
    two.trade(1)
    joined.wait()
    open_, busy = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        open_.wait(20)

    blocked = threading.Thread(target=trades._feed.on_worker, args=[hold])
    blocked.start()
    busy.wait(20)
    sent = 0
    while not quotes._feed.pipeline.outlets.full:
        sent += 1
        two.quote(sent)
        quotes.wait(count=sent, timeout=5)
    two.quote(sent + 1)
    with pytest.raises(WaitTimeoutError):
        quotes.wait(count=sent + 1, timeout=0.1)
    assert "held back by the join with trades" in str(quotes.status().notes)

    open_.set()
    blocked.join()

    assert quotes.wait(count=sent + 1).height == sent + 1


def test_a_silent_partition_holds_rows_back_until_it_is_idle():
    two = Two(partitions=2)
    trades = two.trades.live(start="earliest", idle="1ms")
    quotes = two.quotes.live(start="earliest", idle="200ms")
    joined = asof(trades, quotes)

    for partition, seconds in ((0, [1, 9]), (1, [1])):
        lines = [json.dumps(row(s, 10.0 * s)).encode() for s in seconds]
        put(two.quotes.name, partition, lines)
    two.trade(2, 9)

    assert joined.wait(lambda df: df.height == 1)["price_right"].to_list() == [10]


# -- cells ---------------------------------------------------------------------------------


def test_a_joined_frame_needs_both_sides():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)

    assert joined.other is not None
    assert list(joined.needs()) == [trades, joined.other]
    assert list(joined.other.needs()) == [quotes]


def test_a_joined_frame_says_that_a_side_was_replaced():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades, quotes)

    quotes.entry.cell = Cell("one", "r1", 1)
    CELLS.replace(Cell("one", "r2", 2))

    assert joined.status().stale.startswith("reads from an older 'quotes")
    two.quote(1, 9)
    two.trade(2, 9)
    assert joined.wait()["price_right"].to_list() == [10]


# -- what is refused -------------------------------------------------------------------------


def test_without_a_tolerance_the_message_has_an_example():
    trades, quotes = Two().live()

    with pytest.raises(UsageError, match=r'join_asof\(…, tolerance="1s"\)'):
        trades.join_asof(quotes, by="symbol", lateness="1s")
    with pytest.raises(UsageError, match=r'join_within\(…, tolerance="1s"\)'):
        trades.join_within(quotes, by="symbol", lateness="1s")


def test_without_a_lateness_the_message_suggests_the_measured_one():
    two = Two()
    trades, quotes = two.live()
    two.trade(5, 2, 6)
    trades.wait()

    with pytest.raises(LatenessNeededError, match=r"up to 3\.0 s late") as raised:
        asof(trades, quotes, lateness=None)
    assert 'join_asof(…, lateness="' in str(raised.value)


def test_sides_in_order_need_no_lateness():
    two = Two()
    trades, quotes = two.live()
    joined = asof(trades.in_order("1s"), quotes.in_order("2s"), lateness=None)

    two.quote(1, 9)
    two.trade(2, 9)

    assert joined.wait()["price_right"].to_list() == [10]


def test_revised_frames_are_refused_with_the_way_out():
    trades, quotes = Two().live()
    counts = quotes.window("10s", lateness="1s").agg(n=pl.len())

    with pytest.raises(RevisingFrameError, match=r"\.closed"):
        asof(trades, counts)
    with pytest.raises(RevisingFrameError, match=r"\.closed"):
        asof(counts, trades)


def test_closed_windows_are_joined():
    two = Two()
    trades, quotes = two.live()
    closed = quotes.window("2s", lateness="0s").agg(n=pl.len()).closed
    joined = trades.join_asof(closed, tolerance="10s", lateness="0s")

    two.quote(0, 1, 2, 4, 8, 30)
    two.trade(5, 30)

    assert joined.wait()["n"].to_list() == [1]


def test_a_misspelt_key_is_named_with_the_nearest():
    two = Two()
    trades, quotes = two.live()
    two.trade(1)
    two.quote(1)
    trades.wait()
    quotes.wait()

    with pytest.raises(ColumnNotFoundError, match="Nearest: 'symbol'"):
        asof(trades, quotes, by="symbl")
    with pytest.raises(ColumnNotFoundError, match="quotes"):
        asof(trades, quotes.rename({"symbol": "sym"}))


def test_keys_of_two_types_are_refused_with_the_cast():
    two = Two()
    trades, quotes = two.live()
    two.trade(1)
    two.quote(1)
    trades.wait()
    quotes.wait()

    with pytest.raises(UsageError, match="symbol"):
        trades.join_asof(
            quotes, by_left="symbol", by_right="price", tolerance="1s", lateness="1s"
        )


def test_a_merge_of_other_columns_says_which():
    two = Two()
    trades, quotes = two.live()
    two.trade(1)
    two.quote(1)
    trades.wait()
    quotes.wait()

    with pytest.raises(UsageError, match=r"only quotes.* has 'bid'"):
        trades.merge_sorted(quotes.with_columns(bid=1.0), lateness="1s")


def test_a_live_frame_is_no_table():
    trades, quotes = Two().live()

    with pytest.raises(UsageError, match=r"join_asof.*join_within.*merge_sorted"):
        trades.join(quotes, on="symbol")


def test_groups_do_not_join():
    two = Two()
    mine = two.trades.live(group="g", mode="resumable")
    quotes = two.quotes.live()

    with pytest.raises(ModeError, match="reads for group 'g'"):
        asof(mine, quotes)
    with pytest.raises(ModeError, match="reads for group 'g'"):
        asof(quotes, mine)


def test_explain_says_what_it_is_joined_with():
    trades, quotes = Two().live()

    lines = asof(trades, quotes).explain().splitlines()

    assert lines[1:3] == ["in order 1s", "join_asof 5s"]
    assert lines[3].startswith("    with quotes-")
    assert "the newest of each key" in lines[4]
    assert "table of 3 rows" in trades.join(TABLE, on="symbol").explain()


def test_a_join_that_holds_too_much_stops_and_says_so():
    two = Two()
    trades = two.trades.live(start="earliest", keep="100kB")
    quotes = two.quotes.live(start="earliest")
    joined = asof(trades, quotes, tolerance="1d")
    two.quote(*range(5_000), symbol="x" * 40)
    two.trade(1)

    with pytest.raises(StreamFailedError, match="join_asof 1d holds"):
        joined.wait(lambda _: False)
    assert quotes.wait(count=5_000).height == 5_000


def test_rows_that_wait_for_the_first_record_of_the_left_side_are_within_the_budget():
    two = Two()
    trades = two.trades.live(start="earliest", keep="100kB")
    quotes = two.quotes.live(start="earliest")
    joined = asof(trades, quotes)
    two.quote(*range(5_000), symbol="x" * 40)

    with pytest.raises(
        StreamFailedError, match=r"before trades-.* had its first record"
    ):
        joined.wait(lambda _: False)
    two.trade(1)
    assert trades.wait(count=1).height == 1


@pytest.mark.parametrize("early", [True, False])
def test_an_empty_right_side_that_has_ended_is_over(*, early: bool):
    two = Two()
    trades = two.trades.live(start="earliest", until="latest")
    quotes = two.quotes.live(start="earliest", until="latest", paused=early)
    if not early:
        trades.wait()
        quotes.wait()

    joined = asof(trades, quotes)
    quotes.resume()

    with pytest.raises(StreamStoppedError, match="ended"):
        joined.wait(count=1)


# -- tables ----------------------------------------------------------------------------------

TABLE = pl.DataFrame({"symbol": ["A", "B", "B"], "name": ["Anna", "Bob", "Bill"]})


@pytest.mark.parametrize("how", ["inner", "left", "semi", "anti"])
def test_a_table_is_joined_as_polars_does_it(how: Any):
    two = Two()
    trades = two.trades.live(start="earliest")
    joined = trades.join(TABLE, on="symbol", how=how)
    crossed = trades.join(TABLE, how="cross")

    for symbol in "ABCBA":
        two.trade(1, symbol=symbol)
    joined.wait()

    whole = trades.df.join(TABLE, on="symbol", how=how, maintain_order="left_right")
    assert joined.df.equals(whole)
    assert crossed.df.equals(trades.df.join(TABLE, how="cross"))
    stats = joined.stats.operator
    assert stats.received == 5
    assert stats.passed + stats.filtered == 5
    assert joined.check_parity().startswith("equal")


def test_tables_of_other_libraries_and_lazy_ones():
    two = Two()
    two.trade(1)
    trades = two.trades.live(start="earliest")

    for table in (TABLE.lazy(), TABLE.to_pandas(), TABLE.to_arrow()):
        assert trades.join(table, on="symbol").wait()["name"].to_list() == ["Anna"]
    assert isinstance(TABLE.to_pandas(), pd.DataFrame)


def test_a_windows_rows_are_joined_with_a_table_while_they_are_revised():
    two = Two()
    trades = two.trades.live(start="earliest")
    counts = trades.window("10s", by="symbol").agg(n=pl.len())
    named = counts.join(TABLE.head(2), on="symbol")

    two.trade(1, 2)
    two.trade(3, symbol="C")
    counts.wait()
    two.trade(4)
    counts.wait()

    assert named.df.select("n", "name").rows() == [(3, "Anna")]
    with pytest.raises(RevisingFrameError, match="unique"):
        counts.join(TABLE, on="symbol")


def test_rows_look_up_the_time_in_a_table():
    two = Two()
    trades = two.trades.live(start="earliest")
    table = pl.DataFrame({"time": [moment(5), moment(1)], "phase": ["late", "early"]})
    found = trades.join_asof(table, on="time")

    two.trade(7, 2, 0)
    found.wait()

    assert found.df["phase"].to_list() == ["late", "early", None]
    assert trades.join_asof(table, tolerance="1s").wait()["phase"].to_list() == [
        None,
        "early",
        None,
    ]


def test_what_a_static_join_refuses():
    two = Two()
    trades = two.trades.live(start="earliest")
    two.trade(1)
    trades.wait()

    with pytest.raises(NotIncrementalError, match="m:1"):
        trades.join(TABLE, on="symbol", validate="1:1")
    with pytest.raises(UsageError, match="several rows of one key"):
        trades.join(TABLE, on="symbol", validate="m:1")
    with pytest.raises(ColumnNotFoundError, match="Nearest: 'symbol'"):
        trades.join(TABLE, on="symbl")
    with pytest.raises(UsageError, match="on which columns"):
        trades.join(TABLE)
    with pytest.raises(UsageError, match="takes a polars frame"):
        trades.join(json.loads("{}"), on="symbol")
