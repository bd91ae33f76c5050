"""FRAME: whether a keyed frame has room for what waits beside it, told without settling."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.frames.store import Keep, back


class Room:
    """How much room a frame and what waits beside it leave; an upper limit, without settling.

    Adding costs as much as what is added, whatever the frame holds.
    """

    def __init__(self, key: tuple[str, ...], keep: Keep, base: pl.DataFrame) -> None:
        """Nothing waits.

        Args:
            key: columns.
            keep: the limits.
            base: the settled frame.
        """
        self._key, self._keep, self._base = key, keep, base
        self._rows, self._bytes = base.height, base.estimated_size()
        self._oldest: Any = None
        self._newest: Any = None
        self._undated = False
        self._waiting: list[pl.DataFrame] = []
        self._known: NDArray[np.uint64] | None = None
        self._beyond: set[int] = set()
        self._date(base)

    def add(self, rows: pl.DataFrame) -> None:
        """These wait too."""
        self._rows += rows.height
        self._bytes += rows.estimated_size()
        self._date(rows)
        if self._known is None:
            self._waiting.append(rows)
        else:
            self._look_up(rows, self._known)

    @property
    def is_short(self) -> bool:
        """Whether some row may have to go."""
        keep = self._keep
        rows = keep.rows
        if rows is not None and self._rows > rows and self._distinct() > rows:
            return True
        # A mask of nulls may come on top when frames are put together.
        if keep.bytes is not None and self._bytes * 1.25 > keep.bytes:
            return True
        if keep.age is None or self._newest is None:
            return False
        return self._undated or self._oldest < back(self._newest, keep.age)

    def _date(self, rows: pl.DataFrame) -> None:
        if self._keep.age is None or not self._key or not rows.height:
            return
        first = rows.get_column(self._key[0])
        if not first.dtype.is_temporal():
            return
        self._undated = self._undated or first.has_nulls()
        least, most = first.min(), first.max()
        if least is not None:
            old, new = self._oldest, self._newest
            self._oldest = least if old is None else min(old, least)
            self._newest = most if new is None else max(new, most)

    def _distinct(self) -> int:
        """How many keys there are.

        By their hashes: two of a million keys share one once in 10⁷ frames, and then that a
        row was forgotten is told a little later.
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
