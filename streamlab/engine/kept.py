"""The newest rows of an output, for frames that are made after they came."""

from __future__ import annotations

from collections import deque

import polars as pl

from streamlab.engine.rawrows import own_buffers

_PIECE = 1_000  # rows up to which the last piece is copied together with what comes


class Kept:
    """At least the newest `most` rows, in pieces with buffers of their own.

    The oldest piece goes as soon as the others hold that many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: deque[tuple[pl.DataFrame, int]] = deque()
        self._rows = 0
        self.bytes = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Keep `rows`, less the oldest if they alone are too many."""
        if not rows.height:
            return
        rows = rows.tail(self._most)
        if self._pieces and self._pieces[-1][0].height < _PIECE:
            last, held = self._pieces.pop()
            self._rows -= last.height
            self.bytes -= held
            rows = pl.concat([last, rows])
        own, held = own_buffers(rows.rechunk())
        self._pieces.append((own, held))
        self._rows += own.height
        self.bytes += held
        while self._rows - self._pieces[0][0].height >= self._most:
            gone, held = self._pieces.popleft()
            self._rows -= gone.height
            self.bytes -= held

    def frame(self, blank: pl.DataFrame) -> pl.DataFrame:
        """The newest rows; `blank` has their columns."""
        return pl.concat([blank, *(rows for rows, _ in self._pieces)]).tail(self._most)
