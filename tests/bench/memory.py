"""Ten million records through a 64 MB budget: resident memory stays bounded and flat.

    python -m tests.bench.memory [records]

Half the records are small, half carry 300 bytes of text. A filter that keeps 1 % and a window
hang on the source. Prints resident size over time; the aim is under start + 3 × budget, and
within ±5 % of its mean over the last half.
"""

from __future__ import annotations

import sys
import threading
import time

import polars as pl
import psutil

import streamlab as sl

BUDGET = 64_000_000
BLOCK = 20_000
TEXT = "x" * 300


def payloads(start: int, count: int) -> list[bytes]:
    """Half small, half with a long text that differs in each record."""
    return [
        b'{"time":%d,"key":%d,"value":%d,"text":"%s"}'
        % (1_767_225_600_000 + n, n % 50, n % 1000, _text(n))
        for n in range(start, start + count)
    ]


def _text(number: int) -> bytes:
    return b"%d" % number if number % 2 else b"%d%s" % (number, TEXT.encode())


def resident() -> float:
    """Resident size of this process in MB."""
    return float(psutil.Process().memory_info().rss / 1e6)


def main() -> None:
    """Feed, watch, report."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    topic = sl.connect("memory://bench").topic("records", time="time")
    topic.send(payloads(0, 1_000))
    live = topic.live(start="earliest", keep="64MB")
    rare = live.filter(pl.col("value") < 10)
    window = live.window("10s", by="key", lateness="5s").agg(
        n=pl.len(), mean=pl.col("value").mean()
    )
    live.wait(count=1_000)
    len(rare), len(window)
    start, sizes = resident(), []
    begun = time.monotonic()
    feeder = threading.Thread(target=feed, args=(topic, live, total), daemon=True)
    feeder.start()
    while feeder.is_alive():
        feeder.join(0.5)
        sizes.append(resident())
    took = time.monotonic() - begun
    half = sizes[len(sizes) // 2 :]
    mean = sum(half) / len(half)
    spread = max(abs(size - mean) for size in half) / mean
    print(f"{total:,} records in {took:.0f} s ({total / took / 1e6:.2f} M/s)")
    print(
        f"start {start:.0f} MB, most {max(sizes):.0f} MB (+{max(sizes) - start:.0f} MB)"
    )
    print(f"limit start + 3 × budget = {start + 3 * BUDGET / 1e6:.0f} MB")
    print(f"last half: mean {mean:.0f} MB, within ±{100 * spread:.1f} %")
    print(f"kept: source {len(live):,}, filter {len(rare):,}, windows {len(window):,}")
    print(
        f"held by the budget's account: {live.status().kept_bytes / 1e6:.0f} MB of it the source's"
    )
    bounded = max(sizes) < start + 3 * BUDGET / 1e6
    print("bounded" if bounded else "NOT BOUNDED")
    raise SystemExit(0 if bounded and live.stats.received == total else 1)


def feed(topic: sl.Topic, live: sl.LiveFrame, total: int) -> None:
    """Send at the reader's pace, so that the broker in memory holds little itself."""
    from streamlab.backends.memory import broker as memory

    sent = 1_000
    while sent < total:
        topic.send(payloads(sent, min(BLOCK, total - sent)))
        sent += min(BLOCK, total - sent)
        live.wait(count=sent, timeout=120)
        memory.broker("bench").find("records").trim(0, keep=1_000)


if __name__ == "__main__":
    main()
