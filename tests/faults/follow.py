"""A process with a live frame whose closed windows go to a file; it goes on where it stopped.

    python -m tests.faults.follow URL GROUP FILE

It prints a line after every commit, and ends when it is killed.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from pathlib import Path

import polars as pl

import streamlab as sl

SHOWN = ("window_start", "symbol", "n", "total", "_partial")
SCHEMA = {"id": pl.Int64, "time": pl.Int64, "symbol": pl.String, "price": pl.Float64}


def without_torn_line(file: Path) -> None:
    """Cut off what a writer that was killed has left of a line."""
    if file.exists():
        whole = file.read_bytes().rpartition(b"\n")
        os.truncate(file, len(whole[0]) + len(whole[1]))


def main(url: str, group: str, file: Path) -> None:
    """Follow the topic for the group."""
    without_torn_line(file)
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(rows: pl.DataFrame) -> None:
        shown = rows.select(
            pl.col("window_start").dt.epoch("ms").alias("window_start"), *SHOWN[1:]
        )
        text = "".join(json.dumps(row) + "\n" for row in shown.rows())
        os.write(out, text.encode())
        os.fsync(out)

    source = sl.topic(url, time="time", format="json", schema=SCHEMA)
    live = source.live(start="earliest", group=group, mode="resumable", paused=True)
    windows = live.window("10s", by="symbol", lateness="5s").agg(
        n=pl.len(), total=pl.col("price").sum()
    )
    windows.closed.to(write)
    live.resume()
    while True:
        threading.Event().wait(random.uniform(0, 0.1))  # noqa: S311 (no secret)
        live.commit()
        print("committed", flush=True)  # noqa: T201 (our parent listens)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
