"""The batch answer to a live frame, and whether the two are equal.

No code of `engine/` or `formats/` takes part: payloads are read by Python's own `json`, and a plan is
evaluated once, in plain polars, over all the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from streamlab.plans.nodes import Node


class Difference(NamedTuple):
    """The first row that is not the same; prints as a sentence for the user."""

    row: str
    column: str
    live: object
    expected: object


class Expected(NamedTuple):
    """The batch answer.

    Attributes:
        frame: shown columns (a window's without `_closed` and `_partial`).
        scale: per row, Σ|x| of the numbers that went in: what 1e-9 is a share of. None for
            frames whose floats are not summed.
    """

    frame: pl.DataFrame
    scale: pl.Series | None


def decode_reference(
    values: Sequence[bytes | None],
    schema: pl.Schema,
    format: str,  # noqa: A002
) -> tuple[pl.DataFrame, list[int]]:
    """Decode payloads one by one; the frame of those kept, and the places of those rejected."""
    raise NotImplementedError


def evaluate(
    node: Node, rows: pl.DataFrame, *, late: pl.DataFrame | None = None
) -> Expected:
    """Run a plan once over all rows.

    Args:
        node: the plan.
        rows: what the source handed over, in that order: shown columns and `changes.HIDDEN`.
        late: (record, window) pairs left out: `__part`, `__stamp`, `__seq`, `window_start`.
    """
    raise NotImplementedError


def compare(
    live: pl.DataFrame, expected: Expected, key: Sequence[str] = ()
) -> Difference | None:
    """The first difference between a live frame and the batch answer, or None.

    Args:
        live: the live frame's shown rows; columns that begin with `_closed` or `_partial` are
            not compared.
        expected: of `evaluate`.
        key: of a keyed frame, whose rows may stand in any order; () compares row by row.
    """
    raise NotImplementedError
