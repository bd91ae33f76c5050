"""The rows of open windows, for aggregations that partial states can't give."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.engine.watermark import Int64s

SLOT = "__slot"  # of the row's (window, key); the last of the columns kept
# Blocks are put together while they are small: fewer slices to join, and copying stays a
# logarithmic share of the work.
_LARGEST_MERGE = 131_072


class _Slice(NamedTuple):
    block: int
    offset: int
    length: int


@dataclass(slots=True)
class _Block:
    """Rows of one or more batches, those of a window side by side."""

    rows: pl.DataFrame
    held: int
    live: int
    windows: set[int] = field(default_factory=set)


class RawRows:
    """Rows by window, in order of arrival, with buffers of their own.

    A block whose rows are mostly gone is copied out, so that one late row does not keep a
    whole batch.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._slices: dict[int, list[_Slice]] = {}
        self._number = 0

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return sum(block.held for block in self._blocks.values())

    def add(self, rows: pl.DataFrame, starts: Int64s) -> None:
        """Keep `rows`; `starts` is each one's window."""
        if not rows.height:
            return
        self._number += 1
        self._store(self._number, rows, starts, {})
        while len(self._blocks) > 1:
            older, newer = list(self._blocks)[-2:]
            small, large = self._blocks[newer].live, self._blocks[older].live
            if large > 2 * small or large + small > _LARGEST_MERGE:
                return
            self._rewrite((older, newer))

    def drop(self, start: int) -> None:
        """Forget the rows of a window."""
        thin: list[int] = []
        for piece in self._slices.pop(start, []):
            block = self._blocks[piece.block]
            block.live -= piece.length
            block.windows.discard(start)
            if block.live * 2 < block.rows.height:
                thin.append(piece.block)
        for number in dict.fromkeys(thin):
            self._rewrite((number,))

    def of(self, starts: Iterable[int]) -> pl.DataFrame | None:
        """The rows of these windows, those of a window in order of arrival; None if none."""
        pieces = [
            self._blocks[piece.block].rows.slice(piece.offset, piece.length)
            for start in starts
            for piece in self._slices.get(start, ())
        ]
        return pl.concat(pieces) if pieces else None

    def _rewrite(self, numbers: Sequence[int]) -> None:
        """Copy what is still wanted of some blocks, neighbours in age, into one."""
        windows = set().union(*(self._blocks[number].windows for number in numbers))
        pieces, starts = [], []
        places: dict[int, int] = {}
        for start in windows:
            mine = [each for each in self._slices[start] if each.block in numbers]
            places[start] = self._slices[start].index(mine[0])
            self._slices[start] = [
                each for each in self._slices[start] if each.block not in numbers
            ]
            for each in mine:
                rows = self._blocks[each.block].rows
                pieces.append(rows.slice(each.offset, each.length))
                starts.append(np.full(each.length, start, np.int64))
        for number in numbers[1:] if pieces else numbers:
            del self._blocks[number]
        if pieces:  # in the place of the oldest: blocks stay in order of arrival
            rows = pl.concat(pieces)
            self._store(numbers[0], rows, np.concatenate(starts), places)

    def _store(
        self, number: int, rows: pl.DataFrame, starts: Int64s, places: dict[int, int]
    ) -> None:
        """Make a block; a window's slice goes to its place in the window's list, or last."""
        order = np.argsort(starts, kind="stable")
        own, held = own_buffers(rows[order])
        distinct, offsets = np.unique(starts[order], return_index=True)
        lengths = np.diff(np.append(offsets, len(starts)))
        self._blocks[number] = _Block(own, held, own.height, set(distinct.tolist()))
        found = zip(distinct.tolist(), offsets.tolist(), lengths.tolist(), strict=True)
        for start, offset, length in found:
            pieces = self._slices.setdefault(start, [])
            place = places.get(start, len(pieces))
            pieces.insert(place, _Slice(number, offset, length))


def own_buffers(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """`rows` in buffers that hold nothing else, and their size in bytes.

    polars' views into strings and lists pin the batch they were cut from; only a way through
    Arrow IPC lets go of it (`filter`, `concat`, `rechunk` do not), and for strings inside lists
    and structs only in the format without views.
    """
    if not any(dtype.is_nested() or _has_views(dtype) for dtype in rows.dtypes):
        return rows, int(rows.estimated_size())
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
    size = buffer.tell()
    buffer.seek(0)
    own = pl.read_ipc_stream(buffer)
    return own, max(size, int(own.estimated_size()))


def _has_views(dtype: pl.DataType) -> bool:
    return dtype in {pl.String, pl.Binary} or isinstance(dtype, pl.Categorical)
