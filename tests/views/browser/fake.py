"""For the test notebooks: an I/O thread, and frames that grow by the clock or by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from streamlab.runtime import kernel
from tests.views.fakes import FakeFrame

BEGAN = datetime(2026, 11, 23, 10, tzinfo=UTC)
SYMBOLS = ("AMD", "INTC", "NVDA")


class ThreadPost:
    """A daemon thread with a loop: what streamlab's own I/O loop is to views."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.busy = kernel.Busy()
        self._context = Context()
        # What is posted must not carry the poster's context: in it a cell is the parent of every
        # message, and the page's answers would wait for that cell.
        self._context.run(kernel.own_thread)
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def post(self, call: Callable[[], object], delay: float = 0.0) -> None:
        self.loop.call_soon_threadsafe(
            self.loop.call_later, delay, call, context=self._context
        )

    def adopt(self, widget: Any) -> None:
        kernel.adopt(widget)

    def every(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Call again and again, on a thread of its own like a worker's; returns the end."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(seconds):
                call()

        threading.Thread(target=run, daemon=True).start()
        return over.set


def trades(start: int, count: int) -> pl.DataFrame:
    """Rows `start` … of an endless day of trades, one every 100 ms; the same every time."""
    at = range(start, start + count)
    return pl.DataFrame(
        {
            "time": [BEGAN + timedelta(milliseconds=100 * n) for n in at],
            "price": [
                100 + (n * 37 % 101) / 7 + n / 50 if n % 97 else None for n in at
            ],
            "symbol": [SYMBOLS[n % 3] for n in at],
            "size": [n * 7919 % 500 for n in at],
        },
        schema={
            "time": pl.Datetime("us", "UTC"),
            "price": pl.Float64,
            "symbol": pl.String,
            "size": pl.Int64,
        },
    )


class Trades(FakeFrame):
    """An append frame of trades."""

    def __init__(self, rows: int = 1_000) -> None:
        super().__init__(dict(trades(0, 0).schema), time="time", name="live")
        self.steps, self.count, self.keep = "trades", 0, rows
        self.grow(rows)

    def grow(self, rows: int = 10) -> None:
        """The next rows; the oldest go when there are too many."""
        new = trades(self.count, rows)
        self.count += rows
        self.push(new, forget=max(0, self.df.height + rows - self.keep))


class Windows(FakeFrame):
    """A keyed frame: 10 s windows by symbol, of which the last few still change."""

    def __init__(self, windows: int = 400) -> None:
        frame = self._windows(range(windows), 0)
        super().__init__(
            dict(frame.schema), key=("window_start", "symbol"), time="window_start"
        )
        self.last, self.turn = windows, 0
        self.push(frame)

    def grow(self) -> None:
        """A new window, three that change, and one from before that goes."""
        self.turn += 1
        self.push(self._windows(range(self.last - 2, self.last + 1), self.turn))
        self.last += 1
        self.remove(self.df.select(self.key).slice(self.turn, 1))

    @staticmethod
    def _windows(at: range, turn: int) -> pl.DataFrame:
        rows = [
            (
                BEGAN + timedelta(seconds=10 * n),
                symbol,
                100 + n / 9 + turn / 13,
                n,
                n % 2 == 0,
            )
            for n in at
            for symbol in SYMBOLS
        ]
        columns = ["window_start", "symbol", "vwap", "n", "_closed"]
        return pl.DataFrame(rows, schema=columns, orient="row")


class Odd(FakeFrame):
    """A frame with a column of every type, with nulls, NaN and integers beyond 2^53."""

    def __init__(self) -> None:
        at = datetime(2026, 11, 23, 10, 1, 20, 123456, tzinfo=UTC)
        frame = pl.DataFrame(
            {
                "f": [1.5, float("nan"), None],
                "f4": pl.Series([0.5, None, 2.0], dtype=pl.Float32),
                "i1": pl.Series([-128, None, 127], dtype=pl.Int8),
                "u4": pl.Series([2**32 - 1, 0, None], dtype=pl.UInt32),
                "i8": [2**53 + 1, -5, None],
                "yes": [True, None, False],
                "text": ["ü", None, ""],
                "cat": pl.Series(["a", None, "b"], dtype=pl.Categorical),
                "us": [at, None, at],
                "naive": [at.replace(tzinfo=None), None, None],
                "day": [at.date(), None, at.date()],
                "span": [timedelta(milliseconds=1500), None, None],
                "tod": [at.time(), None, None],
                "list": [[1, 2], None, []],
                "struct": [{"a": 1}, {"a": None}, {"a": 3}],
                "raw": [b"a\xff", None, b""],
            }
        )
        super().__init__(dict(frame.schema), name="odd")
        self.push(frame)
