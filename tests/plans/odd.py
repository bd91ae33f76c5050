"""One frame with the odd values of every type, and names for its columns."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

i, j, f, g, b, c = (pl.col(name) for name in "ijfgbc")
s, text, d, at, az = (pl.col(name) for name in ("s", "text", "d", "at", "az"))
span, clock, money, raw = (pl.col(name) for name in ("span", "clock", "money", "raw"))
ls, lw, lb, ar, ab, st = (pl.col(name) for name in ("ls", "lw", "lb", "ar", "ab", "st"))

WORDS = ["a", "b,c", "Ünï", "42", " 7 ", "x1y2", "", "0x1f", "aa bb", "-3", "{}", "e\n"]
YES_NO = (True, False)
SCHEMA = pl.Schema(
    {
        "i": pl.Int64(),
        "j": pl.Int64(),
        "f": pl.Float64(),
        "g": pl.Float64(),
        "b": pl.Boolean(),
        "c": pl.Boolean(),
        "s": pl.String(),
        "text": pl.String(),
        "d": pl.Date(),
        "at": pl.Datetime("us"),
        "az": pl.Datetime("us", "UTC"),
        "span": pl.Duration("us"),
        "clock": pl.Time(),
        "money": pl.Decimal(12, 2),
        "raw": pl.Binary(),
        "ls": pl.List(pl.Int64()),
        "lw": pl.List(pl.String()),
        "lb": pl.List(pl.Boolean()),
        "ar": pl.Array(pl.Int64(), 3),
        "ab": pl.Array(pl.Boolean(), 2),
        "st": pl.Struct({"x": pl.Int64(), "y": pl.String()}),
    }
)


def odd_frame(rows: int = 60, seed: int = 7) -> pl.DataFrame:
    """Every column's type with its odd values; no two runs of rows look alike."""
    rng = random.Random(seed)  # noqa: S311

    def some(*values: object) -> object:
        return rng.choice([None, *values, *values])

    def number() -> int:
        return rng.randint(-9, 9)

    def row() -> dict[str, object]:
        when = datetime(2026, 1, 1) + timedelta(  # noqa: DTZ001
            hours=rng.randint(0, 9000), microseconds=rng.randint(0, 10**6)
        )
        return {
            "i": some(number(), 2**62, -(2**40)),
            "j": rng.randint(1, 9),
            "f": some(rng.uniform(-9, 9), float("nan"), float("inf"), -0.0, 1e300),
            "g": rng.uniform(0.1, 0.9),
            "b": some(*YES_NO),
            "c": rng.random() < 0.5,
            "s": some(*WORDS),
            "text": rng.choice(["2026-01-02 03:04:05", "2025-12-31 23:59:59"]),
            "d": some(when.date(), date(1969, 12, 31)),
            "at": some(when),
            "az": some(when.replace(tzinfo=UTC)),
            "span": some(timedelta(seconds=number(), microseconds=7)),
            "clock": some(time(rng.randint(0, 23), 5, 6, 7)),
            "money": some(Decimal(number()) / 4),
            "raw": some(b"", b"\xff\x00abcde", b"12345678"),
            "ls": some([], [number(), None, number()], [number()] * 2),
            "lw": some([], ["a", "b"], ["b", None, "z"]),
            "lb": some([], [True, None], [False, True]),
            "ar": some([number(), None, number()], [3, 1, 2]),
            "ab": some([True, None], [False, True]),
            "st": some({"x": number(), "y": rng.choice(WORDS)}),
        }

    return pl.DataFrame([row() for _ in range(rows)], schema=SCHEMA)
