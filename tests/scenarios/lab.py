"""Topics in memory and rows for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

import streamlab as sl
from streamlab.backends.memory import broker as memory
from streamlab.backends.memory.broker import MemoryBroker
from streamlab.records import Outgoing

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH_MS = int(EPOCH.timestamp() * 1000)
BROKER = "memory://lab"


def moment(second: float) -> datetime:
    return EPOCH + timedelta(seconds=second)


def row(second: float, price: Any = 1.0, symbol: str = "A") -> dict[str, Any]:
    return {
        "time": EPOCH_MS + round(second * 1000),
        "symbol": symbol,
        "price": price,
    }


SEVERAL = [row(second, float(second), "AB"[second % 2]) for second in range(100)]
TYPES = {"time": pl.Int64, "symbol": pl.String, "price": pl.Float64}


def topic(name: str, partitions: int = 1, **options: Any) -> sl.Topic:
    """A topic in memory, made at once, with event time in `time`."""
    memory.broker("lab").make(name, partitions)
    return sl.connect(BROKER).topic(name, **({"time": "time"} | options))


def put(
    name: str, partition: int, payloads: list[bytes], ms: list[int] | None = None
) -> None:
    """Records for one partition, at these broker times (default: those of `row`)."""
    memory.broker("lab").make(name).append(
        Outgoing(
            payloads,
            timestamps_ms=ms or [EPOCH_MS] * len(payloads),
            partitions=[partition] * len(payloads),
        )
    )


def broker() -> MemoryBroker:
    return memory.broker("lab")
