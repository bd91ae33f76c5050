"""Streams for trying things out: `demo://trades?rate=100&late=0.1`, no broker needed.

Kinds and their payloads (JSON; `time` in ms since 1970):

    trades    time, symbol, price, size, side        3 partitions, by symbol
    quotes    time, symbol, bid, ask                 3 partitions, by symbol
    sensors   time, sensor, temperature, humidity    2 partitions, by sensor

A stream begins when the first reader wants what is still to come, sends `count` records at
`rate` per second and is silent then. URLs with the same settings are the same stream everywhere
in the process, until `reset`.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping
from typing import TypeGuard

import polars as pl

from streamlab import uri
from streamlab.backends.base import Connection
from streamlab.backends.demo.generators import KINDS, Block, Generator, Settings
from streamlab.backends.inprocess.connection import LogConnection
from streamlab.backends.inprocess.log import LogTopic
from streamlab.backends.readonly import ReadOnly
from streamlab.clocks import SYSTEM, Clock
from streamlab.durations import fixed_span
from streamlab.errors import TopicNotFoundError, UnknownNameError, UrlError, UsageError
from streamlab.records import Outgoing
from streamlab.uri import StreamUrl

# Waking up more often than this costs more than the records are worth.
_SHORTEST_WAIT = 0.002
_PARAMETERS = ("rate", "late", "delay", "duplicate", "poison", "count", "seed")

SCHEMAS: Mapping[str, Mapping[str, pl.DataType]] = {
    name: {**kind.schema, "time": pl.Int64()} for name, kind in KINDS.items()
}


class DemoTopic(LogTopic):
    """One stream: records come to be when they are due."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Wait for the first reader."""
        super().__init__(settings.kind, KINDS[settings.kind].partitions, clock=clock)
        self._settings = settings
        self._generator: Generator | None = None
        self._start_ms = 0
        self._start = 0.0
        self._block: Block | None = None
        self._sent = 0
        self._sent_of_block = 0
        self._truths: list[pl.DataFrame] = []

    def begin(self) -> None:
        with self.lock:
            if self._generator is None:
                self._start_ms, self._start = self.clock.now_ms(), self.clock.running()
                self._generator = Generator(self._settings, self._start_ms)

    def refresh(self, *, hungry: bool) -> float | None:
        if self._generator is None or self._sent == self._settings.count:
            return None
        rate = self._settings.rate
        if rate == 0:
            if hungry:
                self._send_block(self._generator, None)
            return None
        elapsed = self.clock.running() - self._start
        while self._sent < min(self._settings.count, int(elapsed * rate) + 1):
            if not self._send_block(self._generator, int(elapsed * 1000)):
                break
        if self._sent == self._settings.count:
            return None
        return max(_SHORTEST_WAIT, self._sent / rate - elapsed)

    def truth(self) -> pl.DataFrame:
        """The good records sent so far, sorted by time, each once."""
        with self.lock:
            frames = list(self._truths)
            if self._block is not None:
                sent = pl.col("_n") < self._sent_of_block
                frames.append(self._block.truth.filter(sent))
        schema = {"_n": pl.UInt32(), **KINDS[self._settings.kind].schema}
        frames.append(pl.DataFrame(schema=schema))
        return pl.concat(frames).drop("_n").sort("time", maintain_order=True)

    def _send_block(self, generator: Generator, until_ms: int | None) -> bool:
        """Send what of the block in hand is due by `until_ms`; whether that was any."""
        if self._block is None:
            self._block, self._sent_of_block = generator.next(), 0
        block, first = self._block, self._sent_of_block
        last = (
            len(block.values)
            if until_ms is None
            else bisect_right(block.due_ms, until_ms, lo=first)
        )
        for number, log in enumerate(self.logs):
            mine = [i for i in range(first, last) if block.partitions[i] == number]
            rows = Outgoing(
                [block.values[i] for i in mine],
                [block.keys[i] for i in mine],
                [self._start_ms + block.due_ms[i] for i in mine],
            )
            log.append(rows, self._start_ms)
        self._sent += last - first
        self._sent_of_block = last
        if last == len(block.values):
            self._truths.append(block.truth)
            self._block = None
        return last > first


class _Shelf:
    """The kinds there are, each as the settings of one URL want it."""

    def __init__(self, params: Mapping[str, str], place: str, clock: Clock) -> None:
        self._params, self._place, self._clock = params, place, clock

    def names(self) -> list[str]:
        return sorted(KINDS)

    def find(self, name: str) -> LogTopic:
        if name not in KINDS:
            raise TopicNotFoundError.among(name, "demo://", KINDS)
        return _stream(_settings(name, self._params), self._clock)

    make = find

    def to_write(self, name: str, partitions: int | None = None) -> LogTopic:
        del partitions
        raise UsageError(
            f"{self._place}: a demo makes its own records. Send {name!r} to a memory:// topic."
        )


class DemoConnection(ReadOnly, LogConnection):
    """Streams that make their own records."""

    what = "a demo"


# What makes the same URL the same stream everywhere in the process.
_STREAMS: dict[Settings, DemoTopic] = {}
_LOCK = threading.Lock()


def connect(url: StreamUrl, options: Mapping[str, object]) -> Connection:
    """Open a demo by URL.

    Args:
        url: with the parameters of `demo_url`.
        options: `clock`, by which records become due; the first to open a stream decides.

    Raises:
        UrlError: a parameter that can't be.
        UnknownNameError: there is no such kind.
        UsageError: another option.
    """
    if unknown := sorted({*options} - {"clock"}):
        raise UsageError(f"a demo takes no option {unknown[0]!r}. There is: clock.")
    for kind in url.topics or ("trades",):
        _settings(kind, url.params)
    clock = options.get("clock", SYSTEM)
    if not _is_clock(clock):
        raise UsageError(f"clock={clock!r} is not a clock.")
    shelf = _Shelf(url.params, url.place, clock)
    return DemoConnection(shelf, place=url.place, live_source="demo")


def reset() -> None:
    """Forget all streams: the same URLs begin anew."""
    with _LOCK:
        _STREAMS.clear()


def truth(url: str) -> pl.DataFrame:
    """What a demo has really sent so far: no faults, sorted by time, each record once.

    Late records are in it, at their event time; `time` is a datetime in UTC.

    Raises:
        UsageError: it is not the URL of one demo.
    """
    parsed = uri.parse(url)
    if parsed.scheme != "demo" or len(parsed.topics) != 1:
        raise UsageError(f"{parsed}: only a demo knows the truth, as in demo://trades.")
    settings = _settings(parsed.topics[0], parsed.params)
    return _stream(settings, SYSTEM).truth()


def demo_url(
    kind: str,
    *,
    rate: float | str = 100,
    late: float = 0.0,
    delay: object = "5s",
    duplicate: float = 0.0,
    poison: float = 0.0,
    count: int = 100_000,
    seed: int = 0,
) -> str:
    """The URL of a demo stream.

    Args:
        kind: "trades", "quotes" or "sensors".
        rate: records per second; "max" = as fast as they are read.
        late: share of records, 0 … 1, whose event time trails the newest of their partition.
        delay: how far they trail at most, a span.
        duplicate: share of records that repeat the last good one of their partition.
        poison: share of records that can't be decoded.
        count: records in all, faults included.
        seed: another number gives another stream.

    Raises:
        UrlError: a value that can't be.
        UnknownNameError: there is no such kind.
    """
    span = fixed_span(delay, "delay").text
    values = (rate, late, span, duplicate, poison, count, seed)
    params = {name: f"{value}" for name, value in zip(_PARAMETERS, values, strict=True)}
    _settings(kind, params)
    return f"demo://{kind}?" + "&".join(
        f"{name}={text}" for name, text in params.items()
    )


def _stream(settings: Settings, clock: Clock) -> DemoTopic:
    with _LOCK:
        if settings not in _STREAMS:
            _STREAMS[settings] = DemoTopic(settings, clock)
        return _STREAMS[settings]


def _settings(kind: str, params: Mapping[str, str]) -> Settings:
    if kind not in KINDS:
        raise UnknownNameError.among("demo", kind, KINDS)
    if unknown := sorted({*params} - {*_PARAMETERS}):
        raise UrlError(
            f"demo://{kind}: no parameter {unknown[0]!r}. There are: {', '.join(_PARAMETERS)}."
        )
    late, duplicate, poison = shares = [
        _number(params, name, 0, "a share from 0 to 1", 1)
        for name in ("late", "duplicate", "poison")
    ]
    if sum(shares) > 1:
        raise UrlError(
            f"demo://{kind}: late, duplicate and poison are over 1 together."
        )
    paced = {**params, "rate": "0"} if params.get("rate") == "max" else params
    return Settings(
        kind,
        rate=_number(paced, "rate", 100, 'records per second, or "max"', 1e7),
        late=late,
        delay_ms=fixed_span(params.get("delay", "5s"), "delay").us // 1000,
        duplicate=duplicate,
        poison=poison,
        count=_whole(params, "count", 100_000),
        seed=_whole(params, "seed", 0),
    )


def _number(
    params: Mapping[str, str], name: str, default: float, form: str, most: float
) -> float:
    text = params.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise UrlError(f"demo: {name}={text} must be {form}.")
    return value


def _whole(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UrlError(f"demo: {name}={text} must be a whole number from 0 up.")
    return int(text)


def _is_clock(value: object) -> TypeGuard[Clock]:
    parts = ("now_ms", "running", "sleep")
    return all(callable(getattr(value, part, None)) for part in parts)
