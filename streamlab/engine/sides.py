"""The two sides of a join or a merge: rows in order that wait, and how far each side is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from streamlab.changes import TIME
from streamlab.engine.outcome import Batch
from streamlab.engine.rawrows import own_buffers
from streamlab.engine.watermark import FOREVER, NONE, Int64s

_LARGEST_MERGE = 131_072


def times_of(rows: pl.DataFrame) -> Int64s:
    """Event times, µs since 1970; rows in order have one each."""
    return rows.get_column(TIME).to_physical().to_numpy()


@dataclass(slots=True)
class Front:
    """How far a side is.

    Attributes:
        at: no row earlier than this (µs) will follow.
        newest: event time of its newest row.
    """

    at: int = NONE
    newest: int = NONE

    def follow(self, batch: Batch, times: Int64s) -> None:
        """Take in a batch of the side, with the event times of its rows."""
        if len(times):
            self.newest = max(self.newest, int(times[-1]))
        at = FOREVER if batch.final else batch.frontier
        # Rows in order tell by themselves how far they are.
        self.at = max(self.at, self.newest if at is None else at)


@dataclass(slots=True)
class _Piece:
    rows: pl.DataFrame
    times: Int64s
    held: int


@dataclass(slots=True)
class Queue:
    """Rows in order, in pieces; they come at one end and leave at the other.

    Attributes:
        bytes: held.
    """

    bytes: int = 0
    _pieces: deque[_Piece] = field(default_factory=deque)

    @property
    def oldest(self) -> int:
        """Event time of the first row; `FOREVER` if there is none."""
        return int(self._pieces[0].times[0]) if self._pieces else FOREVER

    def add(self, rows: pl.DataFrame, times: Int64s) -> None:
        """Rows that come after all that are there."""
        if rows.height:
            self._put(rows, times)

    def through(
        self, rows: pl.DataFrame, times: Int64s, limit: int
    ) -> list[pl.DataFrame]:
        """`add`, then `take`, without keeping what leaves at once."""
        if self._pieces or not rows.height:
            self.add(rows, times)
            return self.take(limit)
        count = int(np.searchsorted(times, limit, "left"))
        self.add(rows.slice(count), times[count:])
        return [rows.head(count)] if count else []

    def take(self, limit: int) -> list[pl.DataFrame]:
        """The rows earlier than `limit`, which leave."""
        found = []
        while self._pieces and self._pieces[0].times[0] < limit:
            first = self._pieces.popleft()
            self.bytes -= first.held
            count = int(np.searchsorted(first.times, limit, "left"))
            found.append(first.rows.head(count))
            if count < first.rows.height:
                rest = first.rows.slice(count)
                held = first.held * rest.height // first.rows.height
                self._pieces.appendleft(_Piece(rest, first.times[count:], held))
                self.bytes += held
        return found

    def _put(self, rows: pl.DataFrame, times: Int64s) -> None:
        # Small neighbours become one, so that a slow trickle does not end in a thousand pieces.
        while self._pieces:
            last = self._pieces[-1]
            small, large = rows.height, last.rows.height
            if large > 2 * small or small + large > _LARGEST_MERGE:
                break
            self._pieces.pop()
            self.bytes -= last.held
            rows = pl.concat([last.rows, rows])
            times = np.concatenate([last.times, times])
        own, held = own_buffers(rows.rechunk())
        held += times.nbytes
        self._pieces.append(_Piece(own, times, held))
        self.bytes += held
