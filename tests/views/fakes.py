"""A frame, an I/O thread and a page, in memory, for tests of views without a kernel."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from streamlab.changes import Change
from streamlab.clocks import HandClock
from streamlab.observed import Failure, Snapshot, Status
from streamlab.views.altair_data import AltairData

IDLE = Status("live", "", 0.0, None, 0, None, 0, 256_000_000, 0, 0, 0)


class FakeFrame(AltairData):
    """An observed frame whose rows the test pushes."""

    def __init__(
        self,
        schema: dict[str, Any] | None,
        *,
        key: tuple[str, ...] = (),
        time: str | None = None,
        name: str = "vwap",
    ) -> None:
        self.name = name
        self.steps = "5 of trades → window 10s by symbol"
        self.schema = None if schema is None else pl.Schema(schema)
        self.key = key
        self.time_column = time
        self.df = pl.DataFrame(schema=self.schema or {})
        self.version = 0
        self.now = IDLE
        self.error: Failure | None = None
        self.listeners: list[Callable[[Change], None]] = []
        self.stops = 0
        self.snapshots = 0

    def snapshot(self) -> Snapshot:
        self.snapshots += 1
        return Snapshot(self.df, self.version)

    def status(self) -> Status:
        return replace(self.now, kept_rows=self.df.height, version=self.version)

    def failure(self) -> Failure | None:
        return self.error

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def stop_source(self) -> None:
        self.stops += 1
        self.now = replace(self.now, state="stopped")
        self.tell()

    def siblings(self) -> int:
        return 3

    def push(self, rows: pl.DataFrame, *, forget: int = 0) -> None:
        """Append rows, or replace them by key; forget the oldest."""
        if self.schema is None:
            self.schema = rows.schema
            self.df = pl.DataFrame(schema=rows.schema)
        if self.key:
            self.df = self.df.join(rows, on=self.key, how="anti", nulls_equal=True)
        self.df = pl.concat([self.df, rows])
        if self.key:
            self.df = self.df.sort(self.key)
        self.df = self.df.slice(forget)
        self.tell(rows, forget=forget)

    def remove(self, keys: pl.DataFrame) -> None:
        """Take the rows of these keys away."""
        self.df = self.df.join(keys, on=self.key, how="anti", nulls_equal=True)
        self.tell(removed=keys)

    def tell(
        self,
        rows: pl.DataFrame | None = None,
        *,
        removed: pl.DataFrame | None = None,
        forget: int = 0,
    ) -> None:
        self.version += 1
        change = Change(
            self.df.clear() if rows is None else rows,
            pl.DataFrame() if removed is None else removed,
            forget,
            self.version,
            None,
        )
        for listener in list(self.listeners):
            listener(change)


class HandPost:
    """An I/O thread that runs what was posted when the test lets its clock go on."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.blocked = False
        self.adopted = 0
        self._calls: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def post(self, call: Callable[[], object], delay: float = 0.0) -> None:
        due = self.clock.running() + delay
        heapq.heappush(self._calls, (due, next(self._order), call))

    def busy(self) -> bool:
        return self.blocked

    def adopt(self, widget: object) -> None:
        self.adopted += 1

    def go_on(self, seconds: float = 1.0) -> None:
        """Let `seconds` pass, running everything that falls due."""
        end = self.clock.running() + seconds
        while self._calls and self._calls[0][0] <= end:
            due, _, call = heapq.heappop(self._calls)
            self.clock.advance(max(0.0, due - self.clock.running()))
            call()
        self.clock.advance(end - self.clock.running())


class Wire:
    """Stands for a widget's channel: keeps every message, and hands it to the pages."""

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self.messages: list[tuple[dict[str, Any], list[bytes]]] = []
        self.pages: list[FakePage] = []
        widget.send = self.send

    def send(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        parts = [bytes(part) for part in buffers or []]
        self.messages.append((content, parts))
        for page in self.pages:
            page.receive(content, list(parts))

    def say(self, message: dict[str, Any]) -> None:
        self.widget._handle_custom_msg(message, [])

    def page(self, name: str = "p1") -> FakePage:
        page = FakePage(self, name)
        self.pages.append(page)
        return page


class FakePage:
    """What chart.js does with messages, in Python: the model of the tests."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.wire, self.name = wire, name
        self.rows: dict[str, dict[int, dict[str, Any]]] = {}
        self.spec: dict[str, Any] | None = None
        self.caption = ""
        self.watching = False
        self.stuck = False
        self.inbox: list[tuple[dict[str, Any], list[bytes]]] = []
        self.frames = 0

    def hello(self) -> None:
        self.rows, self.inbox, self.watching = {}, [], True
        self.wire.say({"t": "hello", "page": self.name})

    def bye(self) -> None:
        self.watching, self.inbox = False, []
        self.wire.say({"t": "bye", "page": self.name})

    def receive(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        if content["t"] == "d" and self.watching:
            self.inbox.append((content, buffers))
            if not self.stuck:
                self.paint()
        elif content["t"] == "broken":
            self.caption = content["text"]

    def paint(self) -> None:
        """Apply what has arrived, and answer if that was asked for."""
        inbox, self.inbox = self.inbox, []
        for content, buffers in inbox:
            self._take(content, buffers)
        self.frames += len(inbox)
        if any(content["ack"] for content, _ in inbox):
            self.wire.say({"t": "ack", "page": self.name, "seq": inbox[-1][0]["seq"]})

    def _take(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        self.spec = self.spec or content.get("spec")
        self.caption = content.get("caption", self.caption)
        for part in content["parts"]:
            ids = np.frombuffer(buffers.pop(0), "<u4").tolist()
            gone = np.frombuffer(buffers.pop(0), "<u4").tolist()
            rows = decode(part, buffers)
            here = self.name in part.get("to", [self.name])
            if not here or self.name in part.get("but", []):
                continue
            if part["reset"]:
                self.rows[part["name"]] = {}
            if (known := self.rows.get(part["name"])) is None:
                continue
            for number in gone:
                known.pop(number, None)
            known.update(zip(ids, rows, strict=True))

    def table(self, name: str = "live_0") -> list[dict[str, Any]]:
        return [self.rows[name][number] for number in sorted(self.rows[name])]


def decode(part: dict[str, Any], buffers: list[bytes]) -> list[dict[str, Any]]:
    """Rows from their buffers, by the words of encode.py."""
    rows: list[dict[str, Any]] = [{} for _ in range(part["n"])]
    for column in part["columns"]:
        values = np.frombuffer(buffers.pop(0), f"<{column['dt']}").tolist()
        if "dict" in column:
            words = [*column["dict"], None]
            values = [words[value] for value in values]
        if column.get("valid"):
            packed = np.frombuffer(buffers.pop(0), np.uint8)
            bits = np.unpackbits(packed, bitorder="little")
            values = [v if bits[at] else None for at, v in enumerate(values)]
        for at, text in zip(*column.get("big", ([], [])), strict=True):
            values[at] = text
        for row, value in zip(rows, values, strict=True):
            row[column["name"]] = value
    return rows
