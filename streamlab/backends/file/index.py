"""A `.ss` file read forwards piece by piece, and an index of what it holds.

Nothing here is async: file I/O blocks, so callers run it in a thread.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from streamlab.backends.file.ss import (
    HEADER_SIZE,
    Damage,
    Decoder,
    Header,
    Piece,
    read_header,
)
from streamlab.errors import (
    BrokerError,
    ConnectError,
    DamagedFileError,
    PermissionDeniedError,
    nearest,
)

# Large enough that a frame is seldom cut, small enough to decode in about 20 ms.
PIECE = 4 << 20
CUT = "it ends in the middle of a record"


@dataclass(frozen=True, slots=True)
class Stream:
    """One (key, shard): what the positions are found by.

    Attributes:
        sequences, timestamps_ms: one per message.
        sizes: payload bytes in all, as a one-element array.
    """

    sequences: array[int]
    timestamps_ms: array[int]
    sizes: array[int]

    @property
    def next(self) -> int:
        """The first sequence that is not there."""
        return self.sequences[-1] + 1

    def between(self, first: int, last: int | None) -> int:
        """Messages from sequence `first` up to and without `last`."""
        end = len(self.sequences) if last is None else bisect_left(self.sequences, last)
        return max(0, end - bisect_left(self.sequences, first))


class Pieces:
    """Reads one file from a place on; what is half written is read again.

    Attributes:
        at: where the next frame begins.
        at_end: the last reading met the end of the file.
        changed_ms: when the file was last written, as seen then.
    """

    def __init__(self, path: Path, at: int = HEADER_SIZE) -> None:
        """Begin at `at`, where a frame begins."""
        self.path = path
        self.at = at
        self.at_end = False
        self.changed_ms = 0
        self._identity: tuple[int, int] | None = None
        self._header: Header | None = None
        self._decoder = Decoder(HEADER_SIZE)
        self._size = PIECE

    def read(self) -> Piece | None:
        """The next messages; None if there is nothing new.

        Raises:
            ConnectError: there is no such file.
            PermissionDeniedError: it may not be read.
            DamagedFileError: it is no `.ss` file at all.
            BrokerError: it was removed, replaced or cut while being read.
        """
        try:
            with self.path.open("rb") as file:
                self._check(os.fstat(file.fileno()))
                if not self._begin(file.read(HEADER_SIZE)):
                    self.at_end = True
                    return None
                while True:
                    file.seek(self.at)
                    data = file.read(self._size)
                    self.at_end = len(data) < self._size
                    piece = self._decode(data)
                    if piece is not None or self.at_end:
                        return piece
        except FileNotFoundError as error:
            raise self._missing() from error
        except PermissionError as error:
            raise PermissionDeniedError(
                f"{self.path} may not be read by you."
            ) from error
        except IsADirectoryError as error:
            raise ConnectError(f"{self.path} is a folder, not a file.") from error

    def _decode(self, data: bytes) -> Piece | None:
        """What `data` holds; None if nothing, or if more of it is needed to tell."""
        if not data:
            return None
        piece = self._decoder.decode(data, self.at)
        if piece.blocks or piece.ended or piece.damage or self.at_end:
            self.at, self._size = piece.next, PIECE
            return piece
        self._size *= 2  # a message longer than the piece
        return None

    def _begin(self, head: bytes) -> bool:
        """Whether the header is there."""
        if self._header is None:
            if len(head) < HEADER_SIZE and head[:2] in {b"", b"S", b"Ss"}:
                return False
            header = read_header(head)
            if isinstance(header, Damage):
                raise damaged(self.path, header)
            self._header, self._decoder = header, Decoder(header.interval)
        return True

    def _check(self, stat: os.stat_result) -> None:
        self.changed_ms = stat.st_mtime_ns // 1_000_000
        identity = (stat.st_dev, stat.st_ino)
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            raise BrokerError(
                f"{self.path} was replaced by another file while it was read."
            )
        if self._header is not None and stat.st_size < self.at:
            raise BrokerError(
                f"{self.path} was cut to {stat.st_size} bytes while it was read."
            )

    def _missing(self) -> BrokerError:
        if self._identity is not None:
            return BrokerError(f"{self.path} was removed while it was read.")
        folder = self.path.parent
        if not folder.is_dir():
            return ConnectError(f"no file {self.path}: there is no folder {folder}.")
        there = sorted(p.name for p in folder.glob("*.ss"))
        near = nearest(self.path.name, there) or there[:5]
        hint = (
            f" Nearest: {', '.join(map(repr, near))}."
            if near
            else " It has no .ss files."
        )
        return ConnectError(f"no file {self.path.name!r} in {folder.resolve()}.{hint}")


class FileIndex:
    """All that the positions need to know of a file; grows with it."""

    def __init__(self, path: Path) -> None:
        """Know nothing yet."""
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._pieces = Pieces(self.path)
        self._began = [(HEADER_SIZE, dict[tuple[str, int], int]())]
        self.streams: dict[tuple[str, int], Stream] = {}
        self.ended = False
        self.fault: Damage | None = None

    def refresh(self) -> None:
        """Read what is new.

        Raises:
            BrokerError: as `Pieces.read`.
        """
        try:
            self._read_on()
        except (ConnectError, PermissionDeniedError):
            raise
        except BrokerError:  # another file of that name by now
            self._forget()
            self._read_on()

    def begin(self, wanted: dict[tuple[str, int], int]) -> int:
        """The last known place in the file before all of the wanted sequences."""
        for at, before in reversed(self._began):
            if all(before.get(s, 0) <= first for s, first in wanted.items()):
                return at
        return HEADER_SIZE

    def _read_on(self) -> None:
        self.fault, piece = None, self._pieces.read()
        while piece is not None:
            self._take(piece)
            if self._pieces.at_end or piece.ended or piece.damage:
                break
            piece = self._pieces.read()
        if piece is not None:
            self.ended, self.fault = piece.ended, piece.damage
            if (
                self.fault is None
                and piece.rest
                and not (piece.ended or piece.old_mark)
            ):
                self.fault = Damage(piece.next, CUT)

    def _take(self, piece: Piece) -> None:
        for block in piece.blocks:
            stream = self.streams.setdefault(
                (block.key, block.shard),
                Stream(array("q"), array("q"), array("q", [0])),
            )
            stream.sequences.extend(block.sequences)
            stream.timestamps_ms.extend(block.timestamps_ms)
            stream.sizes[0] += sum(map(len, block.values))
        if piece.blocks:
            here = {key: stream.next for key, stream in self.streams.items()}
            self._began.append((piece.next, here))


def damaged(path: Path, damage: Damage) -> DamagedFileError:
    """The error for a file that stops making sense."""
    return DamagedFileError(
        f"{path} is damaged at byte {damage.byte}: {damage.reason}. "
        "All records before it are good and were delivered."
        if damage.byte
        else f"{path} is not a SeaStreamer file: {damage.reason}.",
        byte=damage.byte,
    )
