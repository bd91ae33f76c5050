"""From XADD to visible in `.df`, at 5,000 messages a second.

    python -m tests.bench.delay [seconds]

One window and one chart hang on the stream. Measured while this process is idle, and while its
main thread runs a pure-Python loop with the switch interval that a kernel gets (0.5 ms); beside
them a bare `redis.asyncio` XREAD loop under the same load. A child process sends, so that it
does not share our interpreter. Clocks: both are the machine's own.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import polars as pl
import redis.asyncio

import streamlab as sl
from streamlab.changes import Change
from streamlab.servers import valkey

RATE = 5_000
EVERY_MS = 2
SENDER = """
import sys, time, redis
url, key, rate, seconds, every = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
client = redis.Redis.from_url(url)
count = int(rate * every / 1000)
due = time.time()
end = due + seconds
number = 0
while due < end:
    pipe = client.pipeline(transaction=False)
    for _ in range(count):
        number += 1
        pipe.xadd(key, {"msg": b'{"sent":%d,"key":%d,"value":%d}' % (time.time_ns(), number % 5, number)})
    pipe.execute()
    due += every / 1000
    time.sleep(max(0, due - time.time()))
"""


def send(url: str, key: str, seconds: float) -> subprocess.Popen[bytes]:
    """Start the sender."""
    words = [sys.executable, "-c", SENDER, url, key]
    return subprocess.Popen([*words, str(RATE), str(seconds), str(EVERY_MS)])


def quantiles(delays: list[Any]) -> str:
    """p50 and p99 in ms, and how many."""
    both = np.concatenate(delays) if delays else np.zeros(1)
    p50, p99 = np.quantile(both, [0.5, 0.99])
    return f"p50 {p50:6.2f} ms   p99 {p99:7.2f} ms   ({len(both):,} records)"


def bare(url: str, seconds: float) -> str:
    """A loop that only reads."""

    async def loop() -> list[Any]:
        client = redis.asyncio.Redis.from_url(url)
        found: list[Any] = []
        last: Any = "$"
        end = time.time() + seconds + 1
        while time.time() < end:
            reply: Any = await client.xread({"bare": last}, count=1_000, block=500)
            now = time.time_ns()
            for _, entries in reply:
                last = entries[-1][0]
                sent = [int(fields[b"msg"][8:27]) for _, fields in entries]
                found.append((now - np.array(sent)) / 1e6)
        await client.aclose()
        return found

    sender = send(url, "bare", seconds)
    found = asyncio.run(loop())
    sender.wait()
    return quantiles(found)


def ours(url: str, key: str, seconds: float, *, busy: bool) -> str:
    """A live frame with a window and a chart."""
    schema = {"sent": pl.Int64, "key": pl.Int64, "value": pl.Int64}
    topic = sl.topic(f"{url}/{key}", format="json", schema=schema)
    topic.send([{"sent": time.time_ns(), "key": 0, "value": 0}])
    live = topic.live(start="latest", keep=200_000)
    window = live.window("1s", by="key").agg(mean=pl.col("value").mean(), n=pl.len())
    chart = window.plot.line(y="mean", x="window_start", color="key:N")
    delays: list[Any] = []

    def changed(change: Change) -> None:
        if change.added.height:
            delays.append((time.time_ns() - change.added["sent"].to_numpy()) / 1e6)

    live.subscribe(changed)
    sender = send(url, key, seconds)
    end = time.time() + seconds + 1
    if busy:
        before = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        number = 0
        while time.time() < end:
            number += 1
        sys.setswitchinterval(before)
    else:
        threading.Event().wait(end - time.time())
    sender.wait()
    live.stop()
    chart.close()
    return quantiles(delays)


def main() -> None:
    """Measure all three in one run."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with valkey() as server:
        print(f"bare client, idle          {bare(server.url, seconds)}")
        print(
            f"streamlab, idle            {ours(server.url, 'idle', seconds, busy=False)}"
        )
        print(
            f"streamlab, a cell computes {ours(server.url, 'busy', seconds, busy=True)}"
        )


if __name__ == "__main__":
    main()
