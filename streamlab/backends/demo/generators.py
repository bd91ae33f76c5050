"""What the demo streams are made of: trades, quotes and sensors, with faults to order.

The n-th record depends on the settings, the moment of the start and n alone: records are made in
blocks of a fixed size, one after the other, each from its own seed. Only `Generator.random` is
used; numpy promises nothing about the values of its other distributions from release to release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

BLOCK = 1_000
# The pace of a stream that comes as fast as it is read: its times must be something.
NOMINAL_RATE = 100.0
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Settings:
    """One demo stream.

    Attributes:
        kind: "trades", "quotes" or "sensors".
        rate: records per second; 0 = as fast as they are read.
        late: share of records whose event time trails.
        delay_ms: how far at most, behind the newest of the same partition.
        duplicate: share of records that repeat the last good one of their partition.
        poison: share of records that can't be decoded.
        count: records in all, faults included.
        seed: another one gives another stream.
    """

    kind: str
    rate: float = 100.0
    late: float = 0.0
    delay_ms: int = 5_000
    duplicate: float = 0.0
    poison: float = 0.0
    count: int = 100_000
    seed: int = 0


class Block(NamedTuple):
    """Up to BLOCK records in the order they are sent, and the truth about them.

    Attributes:
        partitions, due_ms, keys, values: one per record; `due_ms` after the start.
        truth: the good ones, each once, with a column `_n` (its place in the block).
    """

    partitions: list[int]
    due_ms: list[int]
    keys: list[bytes]
    values: list[bytes]
    truth: pl.DataFrame


class _Kind(NamedTuple):
    number: int  # its streams are seeded with it; quotes are of the trades' own market
    partitions: int
    field: str
    names: tuple[str, ...]
    schema: dict[str, pl.DataType]


_TIME = pl.Datetime("us", "UTC")
_SYMBOLS = ("AAPL", "AMZN", "GOOG", "MSFT", "NVDA", "TSLA")
KINDS = {
    "trades": _Kind(
        1,
        3,
        "symbol",
        _SYMBOLS,
        {
            "time": _TIME,
            "symbol": pl.String(),
            "price": pl.Float64(),
            "size": pl.Int64(),
            "side": pl.String(),
        },
    ),
    "quotes": _Kind(
        1,
        3,
        "symbol",
        _SYMBOLS,
        {
            "time": _TIME,
            "symbol": pl.String(),
            "bid": pl.Float64(),
            "ask": pl.Float64(),
        },
    ),
    "sensors": _Kind(
        0,
        2,
        "sensor",
        ("cellar", "garden", "kitchen", "roof"),
        {
            "time": _TIME,
            "sensor": pl.String(),
            "temperature": pl.Float64(),
            "humidity": pl.Float64(),
        },
    ),
}
_BASE_PRICES = np.array([100.0, 250.0, 200.0, 150.0, 300.0, 220.0])
_BASE_DEGREES = np.array([12.0, 16.0, 21.0, 24.0])
_BASE_HUMIDITY = np.array([70.0, 60.0, 45.0, 50.0])
_BROKEN = (b"upstream timed out", b"\xff\xfe\x00\x00", b"[]")


class Generator:
    """Makes one stream block by block; owned by its topic, under that one's lock."""

    def __init__(self, settings: Settings, start_ms: int) -> None:
        """Begin a stream whose first record is due at `start_ms`."""
        self._settings = settings
        self._kind = KINDS[settings.kind]
        self._start_ms = start_ms
        self._made = 0
        # What goes over from block to block: where each name's two walks stand, and per
        # partition the newest event time and the last good record.
        self._walks = np.zeros((2, len(self._kind.names)))
        self._newest = np.full(self._kind.partitions, -1, np.int64)
        self._last: list[tuple[bytes, bytes] | None] = [None] * self._kind.partitions

    def next(self) -> Block:
        """The next block; empty once `count` records were made."""
        settings = self._settings
        first = self._made
        count = min(BLOCK, settings.count - first)
        self._made += count
        # A whole block is drawn always: another count must not change the records before it.
        seed = [settings.seed, self._kind.number, first // BLOCK]
        chance = np.random.default_rng(seed).random((8, BLOCK))[:, :count]
        names = (chance[1] * len(self._kind.names)).astype(np.int64)
        partitions = names % self._kind.partitions
        due = _due_ms(settings, first, count)
        late, repeated, poison = self._faults(chance[0], partitions)
        fresh = ~(repeated | poison)
        events = self._event_times(due, partitions, fresh, late, chance[5])
        rows = self._rows(names, events, chance)
        keys = [self._kind.names[name].encode() for name in names.tolist()]
        values = _payloads(rows)
        for place in np.flatnonzero(poison).tolist():
            values[place] = _broken(values[place], chance[6, place])
        self._repeat(partitions, repeated, fresh, keys, values)
        truth = rows.with_columns(
            pl.from_epoch("time", "ms").dt.replace_time_zone("UTC").cast(_TIME)
        )
        return Block(
            partitions.tolist(),
            due.tolist(),
            keys,
            values,
            truth.with_row_index("_n").filter(pl.Series(fresh)),
        )

    def _faults(
        self, chance: Floats, partitions: Ints
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which records are late, repeated, broken: at most one of them each."""
        share = self._settings
        poison = chance < share.poison
        repeated = ~poison & (chance < share.poison + share.duplicate)
        late = ~(poison | repeated) & (
            chance < share.poison + share.duplicate + share.late
        )
        for number, last in enumerate(self._last):
            # The first of a partition has nothing to trail or to repeat.
            mine = np.flatnonzero(partitions == number)
            if last is None and len(mine):
                late[mine[0]] = repeated[mine[0]] = poison[mine[0]] = False
        return late, repeated, poison

    def _event_times(
        self,
        due: Ints,
        partitions: Ints,
        fresh: npt.NDArray[np.bool_],
        late: npt.NDArray[np.bool_],
        chance: Floats,
    ) -> Ints:
        """Event times in ms since 1970; late ones trail the newest of their partition."""
        events = due + self._start_ms
        behind = 1 + (chance * self._settings.delay_ms).astype(np.int64)
        for number in range(self._kind.partitions):
            mine = np.flatnonzero(partitions == number)
            on_time = np.where(fresh[mine] & ~late[mine], events[mine], -1)
            newest = np.maximum.accumulate(np.append(self._newest[number], on_time))
            self._newest[number] = newest[-1]
            trailing = mine[late[mine]]
            events[trailing] = newest[:-1][late[mine]] - np.minimum(
                behind[trailing], self._settings.delay_ms
            )
        return events

    def _rows(self, names: Ints, events: Ints, chance: Floats) -> pl.DataFrame:
        """What the payloads say, as columns; `time` in ms."""
        one, two = (self._walk(which, names, chance[2 + which]) for which in (0, 1))
        columns = {
            "time": events,
            self._kind.field: np.array(self._kind.names)[names],
        }
        if self._settings.kind == "trades":
            columns["price"] = np.rint(_BASE_PRICES[names] * (100 + 10 * one)) / 100
            columns["size"] = 1 + (chance[3] ** 2 * 500).astype(np.int64)
            columns["side"] = np.where(chance[4] < 0.5, "buy", "sell")
        elif self._settings.kind == "quotes":
            near = _BASE_PRICES[names] * (100 + 10 * one) + 20 * (chance[4] - 0.5)
            middle = np.rint(near)
            half = 1 + (chance[3] ** 2 * 20).astype(np.int64)
            columns["bid"], columns["ask"] = (
                (middle - half) / 100,
                (middle + half) / 100,
            )
        else:
            columns["temperature"] = np.rint(_BASE_DEGREES[names] * 10 + 50 * one) / 10
            columns["humidity"] = np.rint(_BASE_HUMIDITY[names] * 10 + 150 * two) / 10
        return pl.DataFrame(columns)

    def _walk(self, which: int, names: Ints, chance: Floats) -> Floats:
        """A random walk per name, folded back into -1 … 1."""
        steps = (chance - 0.5) / 20
        at = np.empty(len(names))
        for name in range(len(self._kind.names)):
            mine = np.flatnonzero(names == name)
            path = self._walks[which, name] + np.cumsum(steps[mine])
            at[mine] = path
            if len(mine):
                self._walks[which, name] = path[-1]
        folded: Floats = np.abs((at + 1) % 4 - 2) - 1
        return folded

    def _repeat(
        self,
        partitions: Ints,
        repeated: npt.NDArray[np.bool_],
        fresh: npt.NDArray[np.bool_],
        keys: list[bytes],
        values: list[bytes],
    ) -> None:
        """Put the last good record of the partition where one is to be repeated."""
        rows = zip(partitions.tolist(), repeated.tolist(), fresh.tolist(), strict=True)
        for place, (number, again, good) in enumerate(rows):
            last = self._last[number]
            if good:
                self._last[number] = keys[place], values[place]
            elif again and last is not None:
                keys[place], values[place] = last


def _due_ms(settings: Settings, first: int, count: int) -> Ints:
    """When each record is due, in ms after the start.

    A stream as fast as it is read was "recorded" before: its last record is due at the start,
    so that nothing carries a time still to come.
    """
    numbers = np.arange(first, first + count)
    if settings.rate == 0:
        numbers = numbers - settings.count
    due: Ints = np.floor(numbers * 1000 / (settings.rate or NOMINAL_RATE)).astype(
        np.int64
    )
    return due


def _payloads(rows: pl.DataFrame) -> list[bytes]:
    text = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    return text.cast(pl.Binary).to_list()


def _broken(payload: bytes, chance: float) -> bytes:
    """A payload that no schema makes sense of; each shape is as likely."""
    which = int(chance * (len(_BROKEN) + 1))
    return payload[: len(payload) * 2 // 3] if which == len(_BROKEN) else _BROKEN[which]
