"""The moving chart of a keyed frame: rows are replaced and removed by key."""

from __future__ import annotations

import pytest

from tests.views.charts import Bench, in_page, windows
from tests.views.fakes import FakeFrame


@pytest.fixture
def keyed() -> Bench:
    frame = FakeFrame(
        dict(windows().schema), key=("window_start", "symbol"), time="window_start"
    )
    return Bench(frame)


def test_keyed_rows_are_replaced_and_removed_by_key(keyed: Bench):
    page = keyed.wire.page()
    keyed.frame.push(windows((1, "a", 1.0), (1, "b", 2.0), (2, "a", None)))
    page.hello()
    keyed.post.go_on()

    keyed.frame.push(windows((1, "b", 2.5), (3, "a", 4.0)))
    keyed.post.go_on()
    assert keyed.sent[-1]["parts"][0]["n"] == 2
    keyed.frame.remove(windows((1, "a", 1.0)).select("window_start", "symbol"))
    keyed.post.go_on()

    rows = sorted(page.table(), key=lambda row: (row["window_start"], row["symbol"]))
    assert rows == in_page(windows((1, "b", 2.5), (2, "a", None), (3, "a", 4.0)))


def test_a_row_that_did_not_change_is_not_sent_again(keyed: Bench):
    keyed.frame.push(windows((1, "a", 1.0), (1, "b", 2.0)))
    keyed.wire.page().hello()
    keyed.post.go_on()

    keyed.frame.push(windows((1, "a", 1.0), (1, "b", 3.0)))
    keyed.post.go_on()

    assert keyed.sent[-1]["parts"][0]["n"] == 1


def test_a_null_in_the_key_is_one_key(keyed: Bench):
    page = keyed.wire.page()
    keyed.frame.push(windows((1, None, 1.0)))
    page.hello()
    keyed.post.go_on()

    keyed.frame.push(windows((1, None, 2.0)))
    keyed.post.go_on()

    assert [row["vwap"] for row in page.table()] == [2.0]


def test_above_the_budget_a_keyed_frame_shows_its_newest_and_says_so():
    frame = FakeFrame(
        dict(windows().schema), key=("window_start", "symbol"), time="window_start"
    )
    bench = Bench(frame, rows=50)
    page = bench.wire.page()
    frame.push(windows(*((n, "a", float(n)) for n in range(40))))
    page.hello()
    bench.post.go_on()

    frame.push(windows(*((n, "a", float(n)) for n in range(30, 90))))
    bench.post.go_on()
    frame.push(windows((3, "a", 0.0)))  # too old to be shown
    bench.post.go_on()

    assert sorted(row["window_start"] for row in page.table()) == list(range(40, 90))
    assert "newest 50 of 90 rows" in page.caption
    frame.remove(windows((89, "a", 0.0)).select("window_start", "symbol"))
    bench.post.go_on()
    assert sorted(row["window_start"] for row in page.table()) == list(range(39, 89))


def test_a_frame_that_forgets_by_another_order_than_time_is_looked_at_again():
    frame = FakeFrame(
        dict(windows().schema), key=("symbol", "window_start"), time="window_start"
    )
    bench = Bench(frame, rows=3)
    page = bench.wire.page()
    page.hello()
    frame.push(windows((1, "z", 1.0), (2, "z", 2.0), (9, "a", 9.0), (8, "a", 8.0)))
    bench.post.go_on()

    frame.push(windows(), forget=2)  # the first by key are the newest by time
    bench.post.go_on()

    assert sorted(row["window_start"] for row in page.table()) == [1, 2]
