"""Partial states merged in plain Python: what `Split` promises, as slowly as possible."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from streamlab.plans.aggregates import Partial, Split


def merged(split: Split, pieces: Sequence[pl.DataFrame], key: str) -> pl.DataFrame:
    """Key and final result, one row per key in order; each piece is evaluated alone."""
    keys = sorted({value for piece in pieces for value in piece[key].to_list()})
    columns = [
        pl.Series(
            p.name, [_result(p, _taken(p, pieces, key, k)) for k in keys], strict=True
        )
        .cast(p.result)
        .to_frame()
        for p in split.partials
    ]
    states = pl.concat(columns, how="horizontal")
    return pl.DataFrame({key: keys}).hstack(states.select(split.final))


def _taken(
    partial: Partial, pieces: Sequence[pl.DataFrame], key: str, value: object
) -> list[list[Any]]:
    """Per piece the values that take part."""
    where = pl.lit(value=True) if partial.where is None else partial.where
    found = []
    for piece in pieces:
        rows = piece.select(
            pl.col(key).alias("k"), partial.value.alias("v"), where.alias("w")
        )
        rows = rows.filter(pl.col("w") & (pl.col("k") == value))
        found.append(rows["v"].to_physical().to_list())
    return found


def _result(partial: Partial, pieces: list[list[Any]]) -> object:
    every = [value for piece in pieces for value in piece]
    numbers = [value for value in every if value is not None]
    results: dict[str, Callable[[], object]] = {
        "len": lambda: len(every),
        "count": lambda: len(numbers),
        "any": lambda: any(numbers),
        "all": lambda: all(numbers),
        "min": lambda: _extreme(min, numbers),
        "max": lambda: _extreme(max, numbers),
        "sum": lambda: _wrapped(sum(numbers), partial.result),
        "mean": lambda: sum(map(float, numbers)) / len(numbers) if numbers else None,
    }
    return results.get(partial.kind, lambda: _deviation(partial, pieces))()


def _extreme(best: Callable[[list[Any]], object], numbers: list[Any]) -> object:
    real = [n for n in numbers if not (isinstance(n, float) and math.isnan(n))]
    if real:
        return best(real)
    return numbers[0] if numbers else None


def _wrapped(total: float, dtype: pl.DataType) -> float:
    """As polars' integers do when they overflow."""
    if not dtype.is_integer():
        return float(total)
    bits = int(re.sub(r"\D", "", str(dtype)))
    low = -(2 ** (bits - 1)) if dtype.is_signed_integer() else 0
    size: int = 2**bits
    return (int(total) - low) % size + low


def _deviation(partial: Partial, pieces: list[list[Any]]) -> float | None:
    """Variance or its root, by merging (count, mean, squares) piece by piece."""
    count, mean, squares = 0, 0.0, 0.0
    for piece in pieces:
        some = [float(value) for value in piece if value is not None]
        if not some:
            continue
        middle = sum(some) / len(some)
        away = middle - mean
        total = count + len(some)
        squares += sum((x - middle) ** 2 for x in some)
        squares += away * away * count * len(some) / total
        mean += away * len(some) / total
        count = total
    if count <= partial.ddof:
        return None
    variance = squares / (count - partial.ddof)
    return variance if partial.kind == "var" else math.sqrt(variance)
