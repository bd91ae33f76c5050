"""Windows, accounts, parity: what a live frame says and whether it is true."""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamlab as sl
from streamlab.errors import (
    LatenessNeededError,
    ParityError,
    RevisingFrameError,
    SpanError,
    StateLimitError,
    StreamFailedError,
    UsageError,
)
from streamlab.live.frame import LiveFrame
from tests.scenarios.lab import (
    BROKER,
    EPOCH_MS,
    SEVERAL,
    moment,
    put,
    row,
    topic,
)

COUNT = pl.len().alias("n")
NUMBER = itertools.count()


def balanced(frame: LiveFrame) -> None:
    """All three equations of a frame's accounts."""
    stats = frame.stats
    source, mine, store = stats.source, stats.operator, stats.store
    assert source.received == source.decoded + source.rejected
    assert mine.received == (
        mine.passed + mine.filtered + mine.rejected + mine.late + mine.expired
    )
    assert store.put == store.kept + store.forgotten + store.replaced + store.removed
    assert store.kept == frame.df.height


def sent(name: str, records: list[Any], **options: Any) -> sl.Topic:
    made = topic(name, **options)
    made.send([r if isinstance(r, bytes) else json.dumps(r).encode() for r in records])
    return made


def test_a_late_record_joins_its_window_while_the_window_is_kept(name: str):
    source = sent(name, [row(1), row(12), row(3)])

    counts = source.live(start="earliest").window("10s").agg(COUNT)

    assert counts.wait()["n"].to_list() == [2, 1]
    assert counts.df["_closed"].to_list() == [False, False]
    assert counts.late.df.height == 0


def test_what_comes_after_the_window_closed_is_late_and_counted(name: str):
    source = sent(name, [row(1), row(12), row(16), row(3, 7.0), row(13)])
    live = source.live(start="earliest")
    counts = live.window("10s", lateness="5s").agg(COUNT)
    late, closed = counts.late, counts.closed

    assert counts.wait()["n"].to_list() == [1, 3]
    assert counts.df["_closed"].to_list() == [True, False]
    assert late.df.select("window_start", "price", "_offset").rows() == [
        (moment(0), 7.0, 3)
    ]
    assert closed.df.select("window_start", "n").rows() == [(moment(0), 1)]
    assert counts.stats.late == 1
    assert counts.status().late == 1
    for frame in (live, counts, late, closed):
        balanced(frame)


def test_each_window_is_closed_once(name: str):
    source = topic(name)
    live = source.live()
    closed = live.window("10s", by="symbol", lateness="2s").agg(COUNT).closed

    for at in range(0, 100, 10):
        source.send(SEVERAL[at : at + 10])
    live.wait(count=100)

    keys = closed.df.select("window_start", "symbol")
    assert keys.is_unique().all()
    assert closed.df["n"].to_list() == [5] * 18


def test_closed_late_and_errors_are_the_same_frame_at_every_call(name: str):
    live = sent(name, [row(1)]).live(start="earliest")
    counts = live.window("10s", lateness="5s").agg(COUNT)
    busy = counts.filter(pl.col("n") > 0)

    assert counts.closed is counts.closed
    assert counts.late is counts.late is busy.late
    assert live.errors is live.errors is counts.errors


def test_closed_needs_a_lateness_and_suggests_the_measured_one(name: str):
    records = [row(second) for second in range(200)]
    for at in range(0, 200, 20):
        records[at]["time"] -= 4_100
    records[150]["time"] -= 6_200
    live = sent(name, records).live(start="earliest")
    live.wait()
    counts = live.window("10s").agg(COUNT)

    with pytest.raises(LatenessNeededError) as caught:
        _ = counts.closed
    assert str(caught.value) == (
        ".closed needs to know when a window is over. Rows of this topic come up to "
        '5.2 s late (p99 3.1 s in the last 200): window("10s", lateness="4s").'
    )


def test_a_bounded_stream_closes_its_windows_without_a_lateness(name: str):
    source = sent(name, SEVERAL)
    counts = source.live(start="earliest", until={0: 100}).window("50s").agg(COUNT)

    assert counts.closed.wait()["n"].to_list() == [50, 50]
    counts.wait(lambda df: df["_closed"].all())


def test_a_poisoned_record_is_shown_and_stops_nothing(name: str):
    source = sent(
        name,
        [row(1), b"{broken", row(2, "twelve"), row(3)],
        schema={"time": pl.Int64, "symbol": pl.String, "price": pl.Float64},
        format="json",
    )
    live = source.live(start="earliest")
    few = live.errors.keep(1)

    assert live.wait().height == 2
    errors = live.errors.df
    assert errors["_offset"].to_list() == [1, 2]
    assert errors["_payload"][0] == b"{broken"
    assert few.df["_offset"].to_list() == [2]
    assert (live.stats.received, live.stats.decoded, live.stats.rejected) == (4, 2, 2)
    assert live.status().rejected == 2
    balanced(live)


def test_a_failing_step_fails_its_frame_alone_and_names_the_record(name: str):
    source = sent(name, [row(1, "1.5"), row(2, "twelve"), row(3, "3.5")], partitions=1)
    live = source.live()
    good = live.select("symbol")
    bad = live.with_columns(amount=pl.col("price").cast(pl.Float64))
    deeper = bad.window("10s").agg(COUNT)
    put(
        name,
        0,
        [
            json.dumps(r).encode()
            for r in (row(1, "1.5"), row(2, "twelve"), row(3, "3.5"))
        ],
    )

    live.wait(count=3)

    assert (live.df.height, good.df.height, bad.df.height) == (3, 3, 1)
    failure = bad.failure()
    assert failure is not None
    assert "with_columns" in failure.step
    assert failure.record.startswith("p0 @ 4, 2026-01-01 00:00:00")
    assert '"price": "twelve"' in failure.payload
    assert "conversion" in failure.error
    assert "strict=False" in failure.hint
    assert failure.good == 1
    assert bad.status().state == deeper.status().state == "failed"
    assert (live.error, good.error) == (None, None)
    with pytest.raises(StreamFailedError, match=f"{name} failed: .*conversion"):
        bad.wait(count=4)
    put(name, 0, [json.dumps(row(4)).encode()])
    assert live.wait(count=4).height == 4
    balanced(bad)
    balanced(good)


def test_a_reader_that_dies_is_shown_on_every_frame(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    source = sent(name, SEVERAL)
    live = source.live(start="earliest")
    child = live.filter(pl.col("price") > 50)
    live.wait()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("redis://me:secret@host is gone")

    monkeypatch.setattr(live._feed.pipeline, "step", broken)
    source.send(SEVERAL)
    with pytest.raises(StreamFailedError, match="is gone"):
        child.wait(count=200)

    for frame in (live, child):
        failure = frame.failure()
        assert failure is not None
        assert failure.error == "RuntimeError: redis://me:***@host is gone"
        assert failure.good == 100
        assert isinstance(frame.error, RuntimeError)
        assert frame.status().state == "failed"
    assert live.df.height == 100
    with pytest.raises(StreamFailedError):
        list(live)


def test_windows_of_windows_are_refused_with_ways_out_that_exist(name: str):
    counts = sent(name, SEVERAL).live(start="earliest").window("10s").agg(COUNT)

    for call in (lambda: counts.window("1m"), lambda: counts.explode("n")):
        with pytest.raises(RevisingFrameError) as caught:
            call()
        words = str(caught.value)
        assert ".closed" in words
        assert ".recompute(lambda lf: lf." in words
        assert not {"lf.window(", ".in_order", ".group_by(", "parquet"} & set(
            words.split()
        )
        assert "lf.window(" not in words
    with pytest.raises(RevisingFrameError, match=r"\.closed of the window itself"):
        counts.filter(pl.col("n") > 1).window("1m")


def test_spans_are_checked_at_the_call(name: str):
    live = sent(name, SEVERAL).live(start="earliest")

    with pytest.raises(SpanError, match="every=10: ten what"):
        live.window(10)
    with pytest.raises(SpanError, match="integer column"):
        live.window("10s", on="price_n") if "price_n" in live.columns else live.select(
            n=pl.col("price").cast(pl.Int64)
        ).window("10s", on="n")
    with pytest.raises(UsageError, match="of what length"):
        live.window()
    with pytest.raises(
        UsageError, match=r"without aggregates; add \.agg\(n=pl\.len\(\)\)"
    ):
        live.window("10s").agg()
    assert "add .agg(n=pl.len())" in repr(live.window("10s"))


@pytest.mark.parametrize(
    ("keep", "height"), [(30, 30), ("20s", 21), ((30, "20s"), 21), ("1MB", 100)]
)
def test_a_frame_retains_what_it_was_told_to(name: str, keep: Any, height: int):
    live = sent(name, SEVERAL).live(start="earliest", keep=keep)

    assert live.wait().height == height
    assert live.df["price"].to_list() == [float(n) for n in range(100 - height, 100)]
    balanced(live)


def test_the_status_says_how_many_rows_are_kept(name: str):
    live = sent(name, SEVERAL).live(start="earliest", keep=300)

    assert "keeps 300 rows" in live.status().notes


def test_a_derived_frame_may_keep_differently(name: str):
    live = sent(name, SEVERAL).live(start="earliest", keep=50)
    few, child, own = live.keep(5), live.filter(pl.col("price") >= 0), live.keep("10s")
    live.wait()
    put(name, 0, [json.dumps(row(100, 100.0)).encode()])
    live.wait(count=101)

    assert [f.df.height for f in (live, few, child, own)] == [50, 5, 50, 11]
    assert few.df["price"].to_list()[-1] == 100.0
    for frame in (live, few, child, own):
        balanced(frame)


def test_a_derived_frame_begins_with_what_its_parent_keeps(name: str):
    source = sent(name, SEVERAL)
    live = source.live(start="earliest", keep=35)
    live.wait()

    counts = live.window("10s").agg(COUNT)
    child = live.filter(pl.col("symbol") == "A")

    assert live.began is None
    assert counts.began == child.began == moment(65)
    assert counts.df["n"].to_list() == [5, 10, 10, 10]
    assert counts.df["_partial"].to_list() == [True, False, False, False]
    assert counts.check_parity().startswith("equal: 4 rows")
    assert child.check_parity().startswith("equal: 17 rows")


def test_a_frame_that_joins_at_the_end_is_partial_in_its_first_window(name: str):
    source = sent(name, SEVERAL)
    counts = source.live().window("50s").agg(COUNT)
    source.send([row(110), row(170)])

    assert counts.wait(count=2)["_partial"].to_list() == [True, False]
    assert counts.check_parity().startswith("equal: 2 rows")


def test_many_frames_share_one_budget(name: str):
    source = topic(name)
    live = source.live(keep="200kB")
    others = [live.filter(pl.col("price") >= n) for n in range(4)]
    counts = live.window("10s", by="symbol").agg(COUNT)
    for batch in range(40):
        source.send([row(batch * 50 + n, float(n + 10), "s" * 30) for n in range(50)])
    live.wait(count=2000)
    counts.wait()

    budget = live._feed.pipeline.budget
    assert budget.limit == 200_000
    assert budget.held <= 200_000
    assert live.status().kept_bytes == budget.held
    assert budget.held == sum(
        (m.store.bytes if m.store else 0) + m.state_bytes
        for m in live._feed.pipeline.members
    )
    for frame in (live, *others, counts):
        assert frame.df.height > 0
        balanced(frame)
    assert live.stats.store.forgotten > 0


def test_state_beyond_the_budget_stops_the_frame_with_ways_out(name: str):
    source = topic(name)
    live = source.live(keep="20kB")
    many = live.window("10s", by="symbol").agg(COUNT)
    source.send([row(n, 1.0, f"symbol-{n}") for n in range(1000)])

    live.wait(count=1000)

    assert isinstance(many.error, StateLimitError)
    assert "lateness=" in str(many.error)
    assert live.error is None


def test_frames_of_one_version_agree_under_load(name: str):
    source = sent(name, SEVERAL, partitions=3)
    live = source.live(start="earliest")
    counts = live.window("10s", by="symbol").agg(COUNT)
    some = live.filter(pl.col("symbol") == "A")
    going = threading.Event()

    def send() -> None:
        while not going.is_set():
            source.send([row(n % 100, float(n), "AB"[n % 2]) for n in range(137)])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        heights = []
        for _ in range(40):
            rows, windows, few, again = sl.collect_all([live, counts, some, live])
            heights.append(rows.height)
            assert windows["n"].sum() == rows.height == again.height
            assert few.height == rows.filter(pl.col("symbol") == "A").height
            live.wait(lambda _, seen=heights[-1]: len(live) > seen)
    finally:
        going.set()
        sender.join()
    assert len(set(heights)) == 40


payload = st.one_of(
    st.builds(
        row, st.integers(0, 40), st.floats(-10, 10, width=32), st.sampled_from("AB")
    ).map(lambda r: json.dumps(r).encode()),
    st.sampled_from([b"{broken", b"[1]", b'{"time": "when"}', b"", b'{"symbol": 3}']),
)
blocks = st.lists(
    st.tuples(st.integers(0, 2), st.lists(payload, min_size=1, max_size=6)), max_size=8
)


@settings(deadline=None, max_examples=15)
@given(blocks, st.sampled_from([None, "0s", "5s"]))
def test_any_cut_equals_polars_and_every_record_is_accounted_for(
    sends: list[tuple[int, list[bytes]]], lateness: str | None
):
    name = f"cut-{next(NUMBER)}"  # an example may be run again
    source = topic(
        name,
        partitions=3,
        format="json",
        schema={"time": pl.Int64, "symbol": pl.String, "price": pl.Float64},
    )
    with source.live(start="earliest", tick="1ms", idle=None) as live:
        few = live.filter(pl.col("price") > 0)
        sums = live.window("10s", by="symbol", lateness=lateness).agg(
            COUNT, total=pl.col("price").sum(), first=pl.col("price").first()
        )
        positive = sums.filter(pl.col("total") > 0)
        frames = [live, few, sums, positive, *([sums.closed] if lateness else [])]
        count = 0
        for partition, payloads in sends:
            put(name, partition, payloads)
            count += len(payloads)
            live.wait(count=count)
        sums.wait()

        for frame in frames:
            balanced(frame)
            assert frame.check_parity().startswith(("equal", "nothing"))
        assert live.stats.received == count
        assert live.errors.df.height == live.stats.rejected


def test_parity_finds_a_wrong_engine(name: str, monkeypatch: pytest.MonkeyPatch):
    source = sent(name, SEVERAL)
    live = source.live()
    sums = live.window("10s").agg(total=pl.col("price").sum())
    source.send(SEVERAL)
    sums.wait(count=100)
    assert sums.check_parity().startswith("equal: 10 rows")

    pipeline = live._feed.pipeline
    right = pipeline._put_source
    monkeypatch.setattr(
        pipeline,
        "_put_source",
        lambda taken, mark: right(taken._replace(rows=taken.rows.head(3)), mark),
    )
    graph = pipeline._wiring.graph
    assert graph is not None
    step = graph.step
    monkeypatch.setattr(
        graph, "step", lambda batch: step(batch._replace(rows=batch.rows.head(99)))
    )
    source.send(SEVERAL)
    sums.wait(count=200)

    with pytest.raises(ParityError, match="differs from the batch answer"):
        sums.check_parity()
    with pytest.raises(ParityError, match="differs from the batch answer"):
        live.check_parity()


def test_late_rows_name_the_brokers_own_partition(name: str):
    topic(name, partitions=3)
    put(name, 2, [b'{"time": %d}' % (EPOCH_MS + ms) for ms in (1_000, 60_000, 2_000)])
    source = sl.connect(BROKER).topic(name, time="time", schema={"time": pl.Int64})
    live = source.live(start={0: 0, 1: 0, 2: 0})
    late = live.window("10s", lateness="5s").agg(COUNT).late
    live.wait(count=3)

    assert late.df.select("_partition", "_offset").rows() == [(2, 2)]


def test_windows_over_closed_windows_equal_the_batch_answer(name: str):
    source = sent(name, SEVERAL)
    live = source.live(start="earliest", until="latest")
    counts = live.window("1s", lateness="0s").agg(n=pl.len())
    above = counts.closed.window("5s", lateness="0s").agg(most=pl.col("n").max())
    above.wait()

    assert above.df.height > 1
    assert above.check_parity().startswith(f"equal: {above.df.height} rows")
    assert above.closed.check_parity().startswith("equal")


def test_parity_is_refused_where_it_means_nothing(name: str):
    live = sent(name, SEVERAL).live(start="earliest")

    for frame in (live.errors, live.recompute(lambda lf: lf)):
        with pytest.raises(UsageError, match="compares rows and windows"):
            frame.check_parity()
    assert "nothing to compare" in topic(name + "-empty").live().check_parity()


def test_steps_and_plans_are_told(name: str):
    live = sent(name, SEVERAL).live(start="earliest")
    counts = (
        live.filter(pl.col("price") > 1)
        .window("10s", by="symbol")
        .agg(COUNT, middle=pl.col("price").median())
    )

    assert counts.steps == f"{name} → filter → window 10s by symbol"
    assert counts.key == ("window_start", "symbol")
    assert counts.time_column == "window_start"
    assert live.time_column == "time"
    explained = counts.explain()
    assert "n: " in explained
    assert "middle: " in explained
    assert repr(live).startswith(f"<LiveFrame {name} (")
