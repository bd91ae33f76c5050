"""FRAME: an append frame's rows, in pieces that are merged at one end and dropped at the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from streamlab.changes import STAMP, TIME, Change
from streamlab.durations import Span
from streamlab.frame import Budget, Counts, Held, Keep, back, copied_out

MERGE_ROWS = (
    131_072  # pieces are merged up to here; beyond it a merge costs more than it saves
)
MAX_AHEAD_MS = (
    3_600_000  # a record dated further ahead of its broker must not age the rest
)


@dataclass(slots=True)
class _Piece:
    """Consecutive rows; `held` counts the buffers behind them, dropped rows included."""

    rows: pl.DataFrame
    held: int
    newest: Any  # event time of the newest credible row; None without one
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
    version: int = 0

    def put(self, change: Change, batch_rows: int) -> Change:
        """Append and forget; returns the change with what retention dropped.

        Args:
            change: an append frame's change.
            batch_rows: rows of the batch that `added` was cut from. polars' string views pin
                the whole batch, so a smaller piece is copied out.
        """
        added = change.added
        forgotten = 0
        if added.height:
            self._put += added.height
            self._append(_own(added, batch_rows))
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
            self._append(_Piece(rows, int(rows.estimated_size()), None))
        self.version += 1
        self._account()
        return Change(rows, self.empty, dropped, self.version, None)

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
        pieces = self._pieces
        pieces.append(piece)
        limit = max(1, (self.keep.bytes or self.budget.limit) // 16)
        while len(pieces) > 1:
            old, new = pieces[-2], pieces[-1]
            if old.left > 2 * new.left or old.left + new.left > MERGE_ROWS:
                break
            if old.held + new.held > limit:
                break
            pieces[-2:] = [_merged(old, new)]

    def _forget(self) -> int:
        before = self.height
        if self.keep.rows is not None:
            self._drop(self.height - self.keep.rows)
        if self.keep.age is not None:
            self._forget_by_age(self.keep.age)
        limit = self.keep.bytes
        while limit is not None and self.bytes > limit and len(self._pieces) > 1:
            self._drop(self._pieces[0].left)
        dropped = before - self.height
        self._forgotten += dropped
        return dropped

    def _forget_by_age(self, age: Span) -> None:
        newest = max(
            (p.newest for p in self._pieces if p.newest is not None), default=None
        )
        if newest is None:
            return
        oldest = back(newest, age)
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


def _merged(old: _Piece, new: _Piece) -> _Piece:
    rows = old.rows.slice(old.first) if old.first else old.rows
    both = pl.concat([rows, new.rows], rechunk=True)
    held = old.held + new.held
    if old.first:  # the dropped rows' strings are let go with the old piece
        both, held = copied_out(both)
    times = [t for t in (old.newest, new.newest) if t is not None]
    return _Piece(both, held, max(times, default=None))


def _own(rows: pl.DataFrame, batch_rows: int) -> _Piece:
    """`rows` as a piece that holds no more than about twice itself."""
    if rows.height * 2 < batch_rows:
        rows, held = copied_out(rows)
    else:
        held = int(rows.estimated_size())
    return _Piece(rows, held, _newest(rows))


def _newest(rows: pl.DataFrame) -> Any:
    """Newest event time among rows that are not dated far ahead of their broker."""
    if TIME not in rows.columns:
        return None
    ahead = pl.col(TIME).dt.epoch("ms") - pl.col(STAMP) > MAX_AHEAD_MS
    return rows.select(pl.col(TIME).filter(~ahead.fill_null(value=False)).max()).item()
