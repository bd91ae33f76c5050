"""FRAME: what all stores have in common: what to keep, how many bytes, one version as a value.

`rowstore.RowStore` holds an append frame, `keystore.KeyStore` a keyed one. One worker thread
owns a store and calls `put`; `held` is an immutable value that any thread may read.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from streamlab.durations import Span


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
    """The bytes that a source and all derived from it may hold; counts buffers really held."""

    def __init__(self, limit: int) -> None:
        """Start empty, with `limit` bytes."""
        self.limit = limit
        self._held: dict[int, int] = {}

    def hold(self, owner: object, count: int) -> None:
        """Say how many bytes `owner` holds now."""
        self._held[id(owner)] = count

    def release(self, owner: object) -> None:
        """`owner` holds nothing any more."""
        self._held.pop(id(owner), None)

    @property
    def held(self) -> int:
        """Bytes held by all owners."""
        return sum(self._held.values())

    @property
    def over(self) -> int:
        """Bytes beyond the limit, or 0."""
        return max(0, self.held - self.limit)

    def largest(self) -> int:
        """The `id` of the owner that holds most."""
        return max(self._held, key=self._held.__getitem__, default=0)


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
    def height(self) -> int:
        """How many rows there are."""
        return sum(piece.height for piece in self._pieces)


def _joined(pieces: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pieces[0] if len(pieces) == 1 else pl.concat(pieces, rechunk=False)


def copied_out(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """A copy with buffers of its own, and their size: only a way through Arrow IPC lets go
    of the batch that string views point into (`rechunk`, `filter`, `concat` do not).
    """
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer, compat_level=pl.CompatLevel.newest())
    size = buffer.tell()
    buffer.seek(0)
    return pl.read_ipc_stream(buffer), size


def back(moment: Any, age: Span) -> Any:
    """The moment `age` before."""
    return pl.select(pl.lit(moment).dt.offset_by(f"-{age.text}")).item()
