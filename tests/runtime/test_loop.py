"""The I/O loop beside whatever the user runs: pytest, a script, an asyncio program."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from functools import partial

import pytest

from streamlab.errors import WaitTimeoutError, WrongLoopError
from streamlab.runtime.loop import IoLoop, io
from streamlab.runtime.worker import Worker, WorkerClosedError


def run(program: str, *, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """A program of its own, as a user's script would be; ends well or fails the test."""
    text = textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


STREAM = """
import time
import polars as pl
import streamlab as sl

topic = sl.connect("memory://lab").topic("trades", time="time")
rows = [{"time": 1767225600000 + n, "n": n} for n in range(100)]
topic.send(rows)
"""


def test_a_call_waits_for_work_on_the_io_thread():
    async def where() -> str:
        return threading.current_thread().name

    assert io().call(where(), twin="") == "streamlab-io"


def test_an_error_arrives_where_the_call_was_made():
    async def fail() -> None:
        raise ValueError("from the other side")

    with pytest.raises(ValueError, match="from the other side"):
        io().call(fail(), twin="")


def test_a_call_that_runs_out_is_cancelled():
    ended = threading.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(WaitTimeoutError, match=r"after 0\.01 s"):
        io().call(long(), twin="", timeout=0.01)
    assert ended.wait(5)


def test_the_io_thread_never_waits_for_itself():
    async def inner() -> None:
        pass

    async def outer() -> None:
        io().call(inner(), twin="inner()")

    with pytest.raises(WrongLoopError, match=r"await inner\(\)"):
        io().call(outer(), twin="")


async def test_the_bridge_hands_results_errors_and_cancelling_over():
    ended = threading.Event()

    async def value() -> int:
        return 7

    async def fail() -> None:
        raise ValueError("wrong")

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    assert await io().bridge(value()) == 7
    with pytest.raises(ValueError, match="wrong"):
        await io().bridge(fail())
    waiting = asyncio.create_task(io().bridge(long()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(ended.wait, 5)


def test_a_task_that_dies_is_told_to_whoever_is_responsible():
    told, heard = list[BaseException](), threading.Event()

    async def die() -> None:
        raise ValueError("dead")

    def failed(error: BaseException) -> None:
        told.append(error)
        heard.set()

    io().spawn(die(), name="dying", failed=failed)

    assert heard.wait(5)
    assert [str(error) for error in told] == ["dead"]


def test_a_cancelled_task_is_no_failure_even_before_it_began():
    told = list[BaseException]()

    async def long() -> None:
        await asyncio.sleep(60)

    async def both() -> None:
        early = io().spawn(long(), name="early", failed=told.append)
        early.cancel()
        await early.ended(5)
        late = io().spawn(long(), name="late", failed=told.append)
        await asyncio.sleep(0)
        late.cancel()
        await late.ended(5)
        assert late.task is not None
        assert late.task.cancelled()

    io().call(both(), twin="")
    assert told == []


def test_closing_runs_every_closer_and_lets_tasks_clean_up():
    loop, closed = IoLoop(), list[str]()
    started = threading.Event()

    async def close() -> None:
        closed.append("closer")

    async def broken() -> None:
        raise RuntimeError("can't")

    async def task() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            closed.append("task")

    loop.on_close(close)
    loop.on_close(broken)
    loop.on_close(close)()  # taken back
    loop.spawn(task(), name="task", failed=lambda _: None)
    assert started.wait(5)

    loop.close()
    loop.close()

    assert sorted(closed) == ["closer", "task"]
    assert not loop.running


def test_a_worker_does_one_thing_after_another():
    worker, order = Worker("test-worker"), list[int]()

    for n in range(50):
        worker.submit(partial(order.append, n))
    inner = worker.run(partial(worker.run, threading.current_thread))

    assert (inner.name, order) == ("test-worker", list(range(50)))
    with pytest.raises(ZeroDivisionError):
        worker.run(partial(divmod, 1, 0))
    worker.close()
    with pytest.raises(WorkerClosedError):
        worker.submit(lambda: None)
    assert worker.run(threading.current_thread) is threading.current_thread()


@pytest.mark.slow
def test_importing_starts_nothing():
    run("""
        import threading
        import streamlab
        import streamlab.live.frame, streamlab.topics.topic, streamlab.topics.brokers
        from streamlab.runtime import loop
        assert threading.active_count() == 1
        assert not loop.started()
    """)


@pytest.mark.slow
def test_a_script_may_just_end_while_streams_run():
    program = (
        STREAM
        + """
live = topic.live(start="earliest")
few = live.filter(pl.col("n") > 50)
sums = live.recompute(lambda lf: time.sleep(60) or lf)
print(live.wait().height, few.df.height, flush=True)
ended = time.monotonic()
import atexit
atexit.register(lambda: print(time.monotonic() - ended))
"""
    )
    done = run(program, seconds=20)

    counts, seconds = done.stdout.splitlines()
    assert counts == "100 49"
    assert float(seconds) < 3
    assert done.stderr == ""


@pytest.mark.slow
def test_an_asyncio_program_uses_the_twins():
    program = (
        STREAM.replace("topic.send(rows)", "")
        + """
import asyncio

async def main():
    await topic.aio.send(rows)
    live = await topic.aio.live(start="earliest", until={0: 100})
    frame = await live.aio.wait(count=100)
    batches = [batch.height async for batch in live]
    await live.aio.stop()
    return frame.height

print(asyncio.run(main()))
live = asyncio.run(topic.aio.live(start="earliest"))
print(asyncio.run(live.aio.wait()).height)
"""
    )
    done = run(program)

    assert done.stdout.split() == ["100", "100"]
    assert done.stderr == ""


@pytest.mark.slow
def test_an_interrupted_wait_leaves_the_stream_alive():
    program = (
        STREAM
        + """
import os, signal, threading

live = topic.live(start="earliest")
live.wait()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    live.wait(count=1000)
except KeyboardInterrupt as interrupt:
    print(interrupt)
topic.send(rows)
print(live.wait(count=200).height)
"""
    )
    assert run(program).stdout.splitlines() == [
        "Stopped waiting. The stream goes on; trades.stop() ends it.",
        "200",
    ]


@pytest.mark.slow
def test_a_forked_child_has_stopped_streams_and_can_begin_anew():
    program = (
        STREAM
        + """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)

live = topic.live(start="earliest")
few = live.filter(pl.col("n") > 50)
live.wait(); few.df
begun = time.monotonic()
child = os.fork()
if child == 0:
    states = live.status().state, few.status().state
    heights = len(live), len(few)
    live.stop(); few.stop(); sl.stop_all()
    try:
        live.wait(count=1000)
    except sl.errors.StreamStoppedError as error:
        print(states, heights, error, round(time.monotonic() - begun) < 2, flush=True)
    again = sl.connect("memory://child").topic("trades", format="raw")
    print(again.send([b"x"]), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
topic.send(rows)
print(live.wait(count=200).height)
"""
    )
    assert run(program).stdout.splitlines() == [
        (
            "('stopped', 'stopped') (100, 49) trades was stopped after 100 records, "
            "before 1 000 records. True"
        ),
        "1",
        "200",
    ]


@pytest.mark.slow
def test_plain_ipython_replaces_by_the_cells_text():
    program = (
        STREAM
        + """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.user_ns.update(topic=topic, sl=sl, rows=rows)
make = 'live = topic.live(start="earliest"); live.wait();'

def run(code):
    shell.run_cell(code, store_history=True).raise_error()

for _ in range(5):
    run(make)
first = shell.user_ns["live"]
run("few = live.select('n')")
run("topic.send(rows); few.wait(count=200);")
print(first.status().state, len(shell.user_ns["few"]))
run(make)
print(first.status().state, shell.user_ns["few"].status().stale.split(" (")[0])
from streamlab.live.frame import running
print([frame.steps for frame in running()])
"""
    )
    assert run(program).stdout.splitlines()[-3:] == [
        "live 200",
        "live reads from an older 'live'",
        "['trades', 'trades → select', 'trades']",
    ]
