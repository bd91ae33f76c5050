"""FRAME: tombstones among the rows that a source keeps, for compacted views that begin later."""

from __future__ import annotations

import sys

import polars as pl

from streamlab.changes import ROW
from streamlab.frames.store import Budget
from streamlab.records import KEY

_ENTRY_BYTES = 136  # a dictionary's entry and its number
_SMALLEST = 1_000


class Deletions:
    """The newest tombstone of each key, and how many rows came before it.

    One that came before all rows that are still kept has nothing to delete, and is let go.
    """

    def __init__(self, budget: Budget) -> None:
        """None yet; `budget` is the source's."""
        self._budget = budget
        self._places: dict[str, int] = {}
        self._bytes = 0
        self._room = _SMALLEST

    def add(self, tombstones: pl.DataFrame, before: int, forgotten: int) -> None:
        """Remember those of a batch.

        Args:
            tombstones: as `Batch.tombstones`.
            before: rows that had come before the batch.
            forgotten: of all rows that came, the oldest ones that are not kept any more.
        """
        for key, place in tombstones.select(KEY, ROW).iter_rows():
            if key not in self._places:
                self._bytes += sys.getsizeof(key) + _ENTRY_BYTES
            self._places[key] = before + place
        if len(self._places) > self._room:
            self._prune(forgotten)
        self._budget.hold(self, self._bytes)

    def among(self, forgotten: int) -> pl.DataFrame | None:
        """Those that a batch of all kept rows would have; None for none."""
        self._prune(forgotten)
        if not self._places:
            return None
        rows = {KEY: list(self._places), ROW: list(self._places.values())}
        found = pl.DataFrame(rows, {KEY: pl.String, ROW: pl.Int64})
        return found.with_columns(pl.col(ROW) - forgotten).sort(ROW)

    def clear(self) -> None:
        """As before the first record."""
        self._places.clear()
        self._bytes, self._room = 0, _SMALLEST
        self._budget.release(self)

    def _prune(self, forgotten: int) -> None:
        self._places = {k: at for k, at in self._places.items() if at > forgotten}
        self._bytes = sum(sys.getsizeof(k) + _ENTRY_BYTES for k in self._places)
        self._room = max(_SMALLEST, 2 * len(self._places))
