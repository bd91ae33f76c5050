"""FRAME: an append frame's rows, in pieces that are merged at one end and dropped at the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from streamlab.changes import STAMP, TIME, Change
from streamlab.frames.store import (
    Budget,
    Counts,
    Held,
    Keep,
    back,
    bytes_held,
    copied_out,
    own,
)

RUN = 8  # so many new pieces wait before they become one: a merge costs as much as a batch
MERGE_ROWS = 262_144  # beyond it a merge costs more than it saves
MAX_AHEAD_MS = (
    3_600_000  # a record dated further ahead of its broker must not age the rest
)


@dataclass(slots=True)
class _Piece:
    """Consecutive rows; `held` counts the buffers behind them, dropped rows included."""

    rows: pl.DataFrame
    held: int
    first: int = 0  # rows before this one are forgotten

    @property
    def left(self) -> int:
        return self.rows.height - self.first


@dataclass(slots=True)
class RowStore:
    """An append frame: pieces merged geometrically, dropped at the old end.

    Appending and taking `held` cost the same whatever the store holds.
    """

    empty: pl.DataFrame
    keep: Keep
    budget: Budget
    _pieces: list[_Piece] = field(default_factory=list)
    _put: int = 0
    _forgotten: int = 0
    # Event time of the newest credible row that ever came, kept or not: measured against the
    # kept rows alone, what `age` forgets would depend on how the stream was cut.
    _newest: Any = None
    _fresh: int = 0
    version: int = 0

    def put(self, change: Change) -> Change:
        """Append and forget; returns the change with what retention dropped."""
        added = change.added
        forgotten = 0
        if added.height:
            self._put += added.height
            self._append(_Piece(*own(added)))
            if self.keep.age is not None:
                self._grow_older(added)
            forgotten = self._forget()
        self.version = max(self.version + 1, change.version)
        self._account()
        return change._replace(forgotten=forgotten, version=self.version)

    def replace(self, rows: pl.DataFrame) -> Change:
        """Put `rows` in the place of all that is there."""
        dropped = self.height
        self._pieces.clear()
        self.empty = rows.clear()
        self._put += rows.height
        self._forgotten += dropped
        if rows.height:
            self._append(_Piece(rows, bytes_held(rows)))
        self.version += 1
        self._account()
        return Change(rows, self.empty, dropped, self.version, None)

    def clear(self) -> Change:
        """Forget everything, what was counted included; as at the beginning."""
        dropped = self.height
        self._pieces.clear()
        self._put = self._forgotten = 0
        self._newest = None
        self.version += 1
        self._account()
        return Change(self.empty, self.empty, dropped, self.version, None)

    def shrink(self) -> int:
        """Drop the oldest piece, for the budget's sake; returns the rows dropped."""
        if not self._pieces:
            return 0
        dropped = self._pieces.pop(0).left
        self._forgotten += dropped
        self.version += 1
        self._account()
        return dropped

    @property
    def height(self) -> int:
        """Rows kept."""
        return sum(piece.left for piece in self._pieces)

    @property
    def bytes(self) -> int:
        """Bytes really held."""
        return sum(piece.held for piece in self._pieces)

    def held(self) -> Held:
        """The store as an immutable value."""
        pieces = [
            p.rows if not p.first else p.rows.slice(p.first) for p in self._pieces
        ]
        return Held(pieces or [self.empty], self.version)

    def counts(self) -> Counts:
        """What happened to every row that was put."""
        return Counts(self._put, self.height, self._forgotten)

    def _account(self) -> None:
        self.budget.hold(self, self.bytes)

    def _append(self, piece: _Piece) -> None:
        fresh = self._pieces[-self._fresh :] if self._fresh else []
        rows = piece.left + sum(each.left for each in fresh)
        held = piece.held + sum(each.held for each in fresh)
        if fresh and (rows > MERGE_ROWS or held > self._largest):
            self._compact()  # large ones wait for each other, so that none is copied twice
        self._pieces.append(piece)
        self._fresh += 1
        if self._fresh >= RUN:
            self._compact()

    @property
    def _largest(self) -> int:
        """Bytes that a piece may grow to by merging."""
        return max(1, (self.keep.bytes or self.budget.limit) // 16)

    def _compact(self) -> None:
        """Make the newest pieces one, as far back as they are not much larger than that."""
        self._fresh = 0
        limit = self._largest
        count = rows = held = 0
        for piece in reversed(self._pieces):
            both = rows + piece.left
            if count and (
                piece.left > 4 * rows or both > MERGE_ROWS or held + piece.held > limit
            ):
                break
            count, rows, held = count + 1, both, held + piece.held
        if count > 1:
            self._pieces[-count:] = [_merged(self._pieces[-count:])]

    def _forget(self) -> int:
        before = self.height
        if self.keep.rows is not None:
            self._drop(self.height - self.keep.rows)
        if self.keep.age is not None and self._newest is not None:
            self._forget_before(back(self._newest, self.keep.age))
        limit = self.keep.bytes
        while limit is not None and self.bytes > limit and len(self._pieces) > 1:
            self._drop(self._pieces[0].left)
        dropped = before - self.height
        self._forgotten += dropped
        return dropped

    def _grow_older(self, added: pl.DataFrame) -> None:
        newest = _newest(added)
        if newest is not None and (self._newest is None or newest > self._newest):
            self._newest = newest

    def _forget_before(self, oldest: Any) -> None:
        """Drop rows from the old end up to the first that is not older than `oldest`."""
        while self._pieces:
            front = self._pieces[0]
            young = front.rows[TIME].slice(front.first) >= oldest
            stop = young.fill_null(value=False).arg_max() if young.any() else None
            self._drop(front.left if stop is None else stop)
            if stop is not None:
                return

    def _drop(self, count: int) -> None:
        """Forget the oldest `count` rows."""
        while count > 0 and self._pieces:
            front = self._pieces[0]
            if front.left <= count:
                count -= front.left
                self._pieces.pop(0)
            else:
                front.first += count
                count = 0


def _merged(pieces: Sequence[_Piece]) -> _Piece:
    """Neighbouring pieces as one; what was dropped of the oldest is let go with it."""
    both = pl.concat(
        [
            piece.rows.slice(piece.first) if piece.first else piece.rows
            for piece in pieces
        ],
        rechunk=True,
    )
    if any(piece.first for piece in pieces):
        return _Piece(*copied_out(both))
    return _Piece(both, sum(piece.held for piece in pieces))


def _newest(rows: pl.DataFrame) -> Any:
    """Newest event time among rows that are not dated far ahead of their broker."""
    if TIME not in rows.columns:
        return None
    ahead = pl.col(TIME).dt.epoch("ms") - pl.col(STAMP) > MAX_AHEAD_MS
    return rows.select(pl.col(TIME).filter(~ahead.fill_null(value=False)).max()).item()
