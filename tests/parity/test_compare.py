from __future__ import annotations

import polars as pl
import pytest

from streamlab.changes import HIDDEN, HIDDEN_SCHEMA
from streamlab.parity import Difference, compare, evaluate
from streamlab.plans.nodes import (
    Closed,
    Explode,
    Filter,
    Node,
    Rename,
    Select,
    WithColumns,
)
from tests.parity.lab import (
    ROWS,
    TRADES,
    live_of,
    price,
    size,
    trades,
    window,
)

EQUAL: dict[str, tuple[Node, tuple[str, ...]]] = {
    "rows": (TRADES, ()),
    "exploded": (
        Explode(WithColumns(TRADES, (pl.concat_list(size, size),)), ("size",)),
        (),
    ),
    "windows": (window(), ("window_start", "symbol")),
    "closed": (Closed(window()), ()),
    "after windows": (Filter(window(), (pl.col("n") > 1,)), ("window_start", "symbol")),
    "after closed": (Select(Closed(window()), (pl.col("vwap") * 2,)), ()),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_frames_have_no_difference(name: str) -> None:
    node, key = EQUAL[name]

    assert compare(live_of(node), evaluate(node, ROWS), key) is None
    with_hidden = live_of(node).with_columns(
        pl.lit(None, dtype).alias(n) for n, dtype in HIDDEN_SCHEMA.items()
    )
    assert compare(with_hidden, evaluate(node, ROWS), key) is None


def test_state_columns_are_not_compared() -> None:
    live = live_of(window()).with_columns(_closed=True, _partial=True)
    key = ("window_start", "symbol")

    assert compare(live, evaluate(window(), ROWS), key) is None
    named = Rename(window(), {"_closed": "done"})
    assert compare(live.rename({"_closed": "done"}), evaluate(named, ROWS), key) is None
    derived = WithColumns(window(), ((~pl.col("_closed")).alias("open"),))
    assert compare(live.with_columns(open=False), evaluate(derived, ROWS), key) is None


def changed(live: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    values = live[column].to_list()
    values[row] = value
    return live.with_columns(pl.Series(column, values, dtype=live.schema[column]))


WRONG: dict[str, tuple[str, object]] = {
    "float": ("vwap", 2.0000001),
    "float that is null": ("vwap", None),
    "float that is nan": ("first", float("nan")),
    "integer": ("n", 2),
    "list": ("sizes", [1, 1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_found_and_its_row_named(name: str) -> None:
    column, value = WRONG[name]
    live = live_of(window()).sort("window_start", "symbol")
    was = live[column][2]

    found = compare(
        changed(live, column, 2, value),
        evaluate(window(), ROWS),
        ("window_start", "symbol"),
    )

    assert found is not None
    assert found.column == column
    assert "symbol='A'" in found.row
    assert "2026-01-01 00:00:10" in found.row
    if name != "list":
        assert (found.live, found.expected) == pytest.approx((value, was), nan_ok=True)


def test_the_first_of_several_differences_is_told_in_words() -> None:
    live = changed(changed(ROWS.drop(HIDDEN), "size", 4, 0), "price", 2, 9.5)

    found = compare(live, evaluate(TRADES, ROWS))

    assert str(found) == (
        "row 2 symbol='B', price=9.0, size=2, column 'price': "
        "9.5 in the live frame, 9.0 in batch"
    )


def test_floats_may_differ_by_a_billionth_of_what_was_added() -> None:
    # 1e9 and -1e9 cancel: the sum is small, what went in is not.
    rows = trades((1, "A", 1e9, 1), (2, "A", -1e9, 1), (3, "A", 0.25, 1))
    node = window(aggs=(price.sum().alias("sum"), pl.len().alias("n")))
    key = ("window_start", "symbol")
    live = live_of(node, rows)

    assert (
        compare(changed(live, "sum", 0, 0.25 + 1e-3), evaluate(node, rows), key) is None
    )
    far = compare(changed(live, "sum", 0, 0.25 + 10), evaluate(node, rows), key)
    assert far is not None
    assert far.column == "sum"
    # A column that is not summed has no share in it.
    small = trades((1, "A", 0.5, 10**9), (2, "A", 0.25, 1))
    live = live_of(node, small)
    assert compare(changed(live, "sum", 0, 0.75 + 1e-3), evaluate(node, small), key)


def test_infinite_and_missing_numbers_are_only_equal_to_themselves() -> None:
    odd = [float("inf"), float("-inf"), float("nan"), None, 0.0]
    rows = trades(*((1, "A", value, 1) for value in odd))
    live = rows.drop(HIDDEN)

    assert compare(live, evaluate(TRADES, rows)) is None
    for at in range(len(odd)):
        for value in odd:
            found = compare(changed(live, "price", at, value), evaluate(TRADES, rows))
            assert (found is None) == (repr(value) == repr(odd[at]))


def test_floats_inside_structs_and_lists_are_compared_too() -> None:
    inside = pl.struct(mean=price.mean(), all=price.implode()).alias("s")
    node = window(aggs=(inside, pl.len().alias("n")))
    key = ("window_start", "symbol")
    live = live_of(node).sort("window_start", "symbol")
    close, far = dict(live["s"][0]), dict(live["s"][0])
    close["mean"] += 1e-12
    far["all"] = [*far["all"][:-1], 7.0]

    assert compare(changed(live, "s", 0, close), evaluate(node, ROWS), key) is None
    found = compare(changed(live, "s", 0, far), evaluate(node, ROWS), key)
    assert found is not None
    assert found.column == "s"


def test_missing_added_and_repeated_rows_are_found() -> None:
    live, batch = live_of(window()), evaluate(window(), ROWS)
    key = ("window_start", "symbol")
    extra = live[:1].with_columns(symbol=pl.lit("C"))

    missing = compare(live[1:], batch, key)
    added = compare(pl.concat([live, extra]), batch, key)
    repeated = compare(pl.concat([live, live[:1]]), batch, key)

    assert missing is not None
    assert (missing.live, missing.expected) == ("missing", "there")
    assert added is not None
    assert "symbol='C'" in added.row
    assert (added.live, added.expected) == ("there", "missing")
    assert repeated is not None
    assert repeated.live == "twice"
    assert str(missing).endswith(": missing in the live frame, there in batch")


def test_an_append_frame_has_all_rows_in_order() -> None:
    live, batch = ROWS.drop(HIDDEN), evaluate(TRADES, ROWS)

    short, long = compare(live[:-1], batch), compare(pl.concat([live, live[:1]]), batch)
    swapped = compare(live[[1, 0, 2, 3, 4, 5]], batch)

    assert short is not None
    assert short.row.startswith("row 5 symbol='B'")
    assert (short.live, short.expected) == ("5 rows", "6 rows")
    assert long is not None
    assert (long.live, long.expected) == ("7 rows", "6 rows")
    assert swapped is not None
    assert swapped.row.startswith("row 0 ")


def test_what_retention_dropped_is_not_missing() -> None:
    batch = evaluate(TRADES, ROWS)
    live = ROWS.drop(HIDDEN)

    assert compare(live[2:], batch, forgotten=2) is None
    wrong = compare(changed(live, "size", 3, 7)[2:], batch, forgotten=2)
    assert wrong is not None
    assert wrong.row.startswith("row 3 ")

    windows, key = live_of(window()), ("window_start", "symbol")
    assert compare(windows[1:], evaluate(window(), ROWS), key, forgotten=1) is None
    assert compare(windows[2:], evaluate(window(), ROWS), key, forgotten=1) is not None


def test_windows_not_closed_yet_are_not_missing_among_the_closed() -> None:
    closed = Closed(window())
    live, batch = live_of(closed), evaluate(closed, ROWS)

    assert "_closed" not in live.columns
    assert compare(live[:2], batch) is None
    assert compare(live[:0], batch) is None
    assert compare(live[1:2], batch, forgotten=1) is None
    assert compare(live[1:3], batch) is not None


def test_other_columns_and_types_are_a_difference() -> None:
    live, batch = ROWS.drop(HIDDEN), evaluate(TRADES, ROWS)

    renamed = compare(live.rename({"size": "amount"}), batch)
    typed = compare(live.with_columns(size.cast(pl.Int32)), batch)

    assert renamed == Difference(
        "the columns", "", ["symbol", "price", "amount"], ["symbol", "price", "size"]
    )
    assert typed == Difference("the types", "size", pl.Int32(), pl.Int64())


def test_a_row_that_is_missing_is_named_where_it_should_stand():
    whole = evaluate(TRADES, ROWS)

    found = compare(whole.frame[[0, 1, 3, 4, 5]], whole)

    assert found is not None
    assert str(found) == (
        "row 2 symbol='B', price=9.0, size=2, column 'symbol': 'A' in the live frame, "
        "'B' in batch"
    )
    assert str(compare(whole.frame[:-1], whole)) == (
        "row 5 symbol='B', price=8.0, size=5: 5 rows in the live frame, 6 rows in batch"
    )
