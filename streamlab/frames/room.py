"""FRAME: which rows of a keyed frame must go, told without settling what waits beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.frames.store import Keep, back


class Room:
    """What a settled frame and the changes that wait beside it hold, against the limits.

    Adding costs as much as what is added, whatever the frame holds. What is not sure is said
    to take settling.
    """

    def __init__(self, key: tuple[str, ...], keep: Keep, base: pl.DataFrame) -> None:
        """Nothing waits.

        Args:
            key: columns.
            keep: the limits.
            base: the settled frame, sorted by key.
        """
        self._key, self._keep, self._base = key, keep, base
        self._rows, self._bytes = base.height, base.estimated_size()
        dtype = base.schema[key[0]] if key else pl.Null()
        self._ordered = dtype.is_temporal() or dtype.is_integer()
        self._timed = keep.age is not None and dtype.is_temporal()
        # Of the first key column: the least and greatest value that waits.
        self._least: Any = None
        self._newest: Any = self._first(base.height - 1) if base.height else None
        self._cut: Any = None  # the greatest that `cut` dropped
        self._unsure = bool(base.height) and self._first(0) is None
        self._waiting: list[pl.DataFrame] = []
        self._known: NDArray[np.uint64] | None = None
        self._beyond: set[int] = set()

    def add(self, rows: pl.DataFrame) -> None:
        """These wait too."""
        if not rows.height:
            return
        self._rows += rows.height
        self._bytes += rows.estimated_size()
        if self._ordered:
            self._date(rows.get_column(self._key[0]))
        if self._known is None:
            self._waiting.append(rows)
        else:
            self._look_up(rows, self._known)

    def excess(self) -> int | None:
        """How many rows must go, all of them the first of the settled frame; None if it takes
        settling to tell.
        """
        limit = self._keep
        # A mask of nulls may come on top when frames are put together.
        if limit.bytes is not None and self._bytes * 1.25 > limit.bytes:
            return None
        gone = 0
        if limit.rows is not None and self._rows > limit.rows:
            gone = max(0, self._distinct() - limit.rows)
        if self._timed and limit.age is not None and self._newest is not None:
            oldest = back(self._newest, limit.age)
            if self._unsure or (self._least is not None and self._least < oldest):
                return None
            first = self._base.get_column(self._key[0])
            gone = max(gone, int(first.search_sorted(oldest)))
        return gone if not gone or self._leads(gone) else None

    def cut(self, count: int) -> None:
        """The first rows of the settled frame have gone."""
        self._cut = self._first(count - 1)
        self._base = self._base.slice(count)
        self._rows -= count

    def _leads(self, count: int) -> bool:
        """Whether so many rows of the settled frame come before everything that waits."""
        if self._unsure or not self._ordered or count > self._base.height:
            return False
        return self._least is None or bool(self._first(count - 1) < self._least)

    def _first(self, place: int) -> Any:
        return self._base.get_column(self._key[0])[place] if self._key else None

    def _date(self, first: pl.Series) -> None:
        least: Any = first.min()
        newest: Any = first.max()
        if first.has_nulls() or (self._cut is not None and least <= self._cut):
            self._unsure = True  # it may be one of those that went
            return
        self._least = least if self._least is None else min(self._least, least)
        self._newest = newest if self._newest is None else max(self._newest, newest)

    def _distinct(self) -> int:
        """How many keys there are.

        By their hashes: two of a million keys share one in one frame of 10⁷, and then it is
        told a little later that a row was forgotten.
        """
        if self._known is None:
            self._known = np.sort(self._hashes(self._base))
            for rows in self._waiting:
                self._look_up(rows, self._known)
            self._waiting = []
        return self._base.height + len(self._beyond)

    def _look_up(self, rows: pl.DataFrame, known: NDArray[np.uint64]) -> None:
        hashes = self._hashes(rows)
        if len(known):
            places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            hashes = hashes[known[places] != hashes]
        self._beyond.update(hashes.tolist())

    def _hashes(self, rows: pl.DataFrame) -> NDArray[np.uint64]:
        if not self._key:  # all rows have the same key, the empty one
            return np.zeros(min(1, rows.height), np.uint64)
        return rows.select(self._key).hash_rows().to_numpy()
