"""FRAME: what all stores have in common: what to keep, how many bytes, one version as a value.

`rowstore.RowStore` holds an append frame, `keystore.KeyStore` a keyed one. One worker thread
owns a store and calls `put`; `held` is an immutable value that any thread may read.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from streamlab.durations import Span

SMALL = 4_096  # bytes not worth a copy
_VIEWS = (pl.String, pl.Binary)
_LAYOUT = pl.CompatLevel.newest()


@dataclass(frozen=True, slots=True)
class Keep:
    """What a frame retains; the smallest limit wins. None = no such limit."""

    rows: int | None = None
    age: Span | None = None
    bytes: int | None = None


class Counts(NamedTuple):
    """put = kept + forgotten + replaced + removed, each counted where it happens."""

    put: int = 0
    kept: int = 0
    forgotten: int = 0
    replaced: int = 0
    removed: int = 0


class Budget:
    """The bytes that a source and all derived from it may hold; counts buffers really held.

    One worker changes it; any thread may read `held`.
    """

    def __init__(self, limit: int) -> None:
        """Start empty, with `limit` bytes."""
        self.limit = limit
        self.held = 0
        self._by_owner: dict[int, int] = {}

    def hold(self, owner: object, count: int) -> None:
        """Say how many bytes `owner` holds now."""
        self.held += count - self._by_owner.get(id(owner), 0)
        self._by_owner[id(owner)] = count

    def release(self, owner: object) -> None:
        """`owner` holds nothing any more."""
        self.held -= self._by_owner.pop(id(owner), 0)

    @property
    def over(self) -> int:
        """Bytes beyond the limit, or 0."""
        return max(0, self.held - self.limit)


class Held:
    """A frame at one version: immutable, put together when first read."""

    def __init__(self, pieces: Sequence[pl.DataFrame], version: int) -> None:
        """Keep `pieces` (at least one, for the schema) in order."""
        self._pieces = pieces
        self._lock = threading.Lock()
        self._whole: pl.DataFrame | None = None
        self.version = version

    def frame(self) -> pl.DataFrame:
        """All rows, hidden columns included."""
        with self._lock:
            if self._whole is None:
                self._whole = self._assemble()
            return self._whole

    def _assemble(self) -> pl.DataFrame:
        return _joined(self._pieces)

    @property
    def width(self) -> int:
        """How many columns, hidden ones included; 0 before they are known."""
        return self._pieces[0].width

    @property
    def height(self) -> int:
        """How many rows there are."""
        return sum(piece.height for piece in self._pieces)


def _joined(pieces: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pieces[0] if len(pieces) == 1 else pl.concat(pieces, rechunk=False)


def bytes_held(rows: pl.DataFrame) -> int:
    """Bytes of the buffers behind `rows`.

    String views point into the batch they were cut from and hold all of it, which
    `estimated_size` does not tell: 5 MB of rows held 500 MB.
    """
    return sum(_column_bytes(column) for column in rows.iter_columns())


def _column_bytes(column: pl.Series) -> int:
    plain = not (column.dtype.is_nested() or column.dtype in _VIEWS)
    if plain:
        return int(column.estimated_size())
    whole = column.to_arrow(
        compat_level=_LAYOUT
    )  # hands over the buffers, copies nothing
    pieces = whole.chunks if isinstance(whole, pa.ChunkedArray) else [whole]
    sizes = {
        buffer.address: buffer.size
        for piece in pieces
        for buffer in piece.buffers()
        if buffer is not None
    }
    return sum(sizes.values())


def own(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """`rows` such that they hold at most about twice themselves, and what they hold."""
    held = bytes_held(rows)
    if held > 2 * rows.estimated_size() + SMALL:
        return copied_out(rows)
    return rows, held


def copied_out(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """A copy with buffers of its own, and their size.

    Only a way through Arrow IPC lets go of the batch that string views point into; `rechunk`,
    `filter` and `concat` do not.
    """
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer, compat_level=_LAYOUT)
    buffer.seek(0)
    copy = pl.read_ipc_stream(buffer)
    return copy, bytes_held(copy)


def back(moment: Any, age: Span) -> Any:
    """The moment `age` before."""
    return moment - timedelta(microseconds=age.us)
