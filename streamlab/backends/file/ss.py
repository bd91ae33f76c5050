"""Reading `.ss` files, SeaStreamer's recordings. Pure: bytes in, columns out; `ss_encoder.py`
goes the other way.

A file is a header of 128 bytes and frames one after the other, cut by a beacon at every offset
that is a multiple of the interval, even in the middle of a frame. All numbers are big endian.
Only payloads are protected, each by a checksum; of a beacon the markers are advice.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamlab.backends.file import crc16

HEADER_SIZE = 128
INTERVAL = 1 << 20
INTERNAL = "SEA_STREAMER_INTERNAL"
EOS = b"EOS"
END = 0x0D
FRAME = struct.Struct(">QQQI")
MARKER = struct.Struct(">QQQH")
BEACON = struct.Struct(">BIB")
_KEY = re.compile(rb"[A-Za-z0-9._-]{1,249}")
# Offsets are signed 64-bit in a frame, times are shown as dates.
_LARGEST = 2**63 - 1
_LATEST_MS = 253_402_300_799_999  # the year 9999
# The end mark's last fields: payload length, payload, checksum, end.
_MARK_END = b"\0\0\0\x03EOS" + crc16.checksum(EOS).to_bytes(2, "big") + b"\x0d"
_MARK_SIZE = 56


class Header(NamedTuple):
    """The first 128 bytes: the file's own name, when it was made, how far beacons are apart."""

    file_name: str
    created_ms: int
    interval: int


class Damage(NamedTuple):
    """Where a file stops making sense, and how."""

    byte: int
    reason: str


class Block(NamedTuple):
    """Messages of one stream, in the order of the file."""

    key: str
    shard: int
    sequences: list[int]
    timestamps_ms: list[int]
    values: list[bytes]


class Piece(NamedTuple):
    """What a piece of a file holds.

    Attributes:
        blocks: whole and good messages, one block per stream.
        next: the file offset behind the last of them, where the next frame begins (the end
            mark counts as one to come: appending to the file writes over it).
        ended: an end mark was met; nothing behind it was looked at.
        damage: why reading can't go on, or None.
        rest: bytes from `next` on that are not yet a whole frame.
        old_mark: the rest is what an overwritten end mark left, not half a frame.
    """

    blocks: list[Block]
    next: int
    ended: bool
    damage: Damage | None
    rest: int
    old_mark: bool


def read_header(data: bytes) -> Header | Damage:
    """Read the first HEADER_SIZE bytes."""
    if data[:2] != b"Ss":
        return Damage(0, f"it begins with {bytes(data[:2])!r}, not with b'Ss'")
    if data[2] != 1:
        return Damage(2, f"its version is {data[2]}; only version 1 is known")
    size = data[3]
    if size > HEADER_SIZE - 17:
        return Damage(3, f"its header holds a name of {size} bytes")
    created, interval = struct.unpack_from(">QI", data, 4 + size)
    if interval < HEADER_SIZE:
        return Damage(12 + size, f"its beacons are {interval} bytes apart")
    name = data[4 : 4 + size].decode(errors="replace")
    return Header(name, created, interval)


class Decoder:
    """Reads a file piece by piece; knows how far each stream's sequence has risen."""

    def __init__(self, interval: int) -> None:
        """Read a file whose beacons are `interval` bytes apart."""
        self._interval = interval
        self._last: dict[tuple[str, int], int] = {}

    def decode(self, data: bytes, at: int) -> Piece:
        """Read the frames of the next piece.

        Args:
            data: the file's bytes from `at` on, any number of them.
            at: where a frame begins: HEADER_SIZE or the last `Piece.next`.
        """
        joined = _without_beacons(data, at, self._interval)
        frames = _frames(joined.data)
        good, damage = _good(joined, frames, self._last)
        piece = _piece(joined, frames, (good, damage), at, at + len(data))
        for block in piece.blocks:
            self._last[block.key, block.shard] = block.sequences[-1]
        return piece


def _piece(
    joined: _Joined,
    frames: _Frames,
    verdict: tuple[int, Damage | None],
    at: int,
    end: int,
) -> Piece:
    good, damage = verdict
    blocks, ended, used = _blocks(joined.data, frames, good)
    next_ = joined.file_end(used) if used else at
    # A whole beacon behind the last frame is no rest, though it is read again with the next.
    rest = end - next_ if used < len(joined.data) else joined.cut
    if ended:
        return Piece(blocks, next_, ended=True, damage=None, rest=rest, old_mark=False)
    if damage is None:
        damage = joined.damage or _impossible(joined, used)
    old = _is_old_mark(joined.data[used:] if used < len(joined.data) else b"")
    return Piece(
        blocks,
        next_,
        ended=False,
        damage=None if old else damage,
        rest=rest,
        old_mark=old,
    )


class _Joined(NamedTuple):
    """The bytes of the frames alone, and how to find them in the file again."""

    data: bytes
    here: list[int]  # where each stretch begins in `data` …
    there: list[int]  # … and in the file
    remaining: list[
        tuple[int, int]
    ]  # per beacon: its place in `data`, bytes of the frame left
    cut: int  # bytes of a beacon that is not whole
    damage: Damage | None

    def file_end(self, place: int) -> int:
        """File offset behind the byte before `place`: a beacon may begin there."""
        stretch = max(0, bisect_left(self.here, place) - 1)
        return self.there[stretch] + place - self.here[stretch]

    def file_start(self, place: int) -> int:
        """File offset of the byte at `place`."""
        stretch = max(0, bisect_right(self.here, place) - 1)
        return self.there[stretch] + place - self.here[stretch]


class _Frames(NamedTuple):
    """Columns of whole frames as they stand in joined bytes; nothing is checked yet."""

    starts: list[int]
    sequences: list[int]
    timestamps: list[int]
    payloads: list[int]
    sizes: list[int]
    streams: dict[tuple[bytes, int], list[int]]  # (key, shard) → numbers of its frames


def _without_beacons(data: bytes, at: int, interval: int) -> _Joined:
    parts: list[memoryview] = []
    joined = _Joined(b"", [], [], [], 0, None)
    view, place, pos = memoryview(data), 0, 0
    while pos < len(data):
        if (at + pos) % interval == 0:
            size, remaining = _beacon(data, pos)
            if size <= 0:
                damage = Damage(at + pos, "a beacon is damaged") if size < 0 else None
                joined = joined._replace(cut=len(data) - pos, damage=damage)
                break
            joined.remaining.append((place, remaining))
            pos += size
        until = min(len(data), pos + interval - (at + pos) % interval)
        joined.here.append(place)
        joined.there.append(at + pos)
        parts.append(view[pos:until])
        place += until - pos
        pos = until
    if not parts:
        return joined._replace(here=[0], there=[at])
    whole = data if len(parts) == 1 and len(parts[0]) == len(data) else b"".join(parts)
    return joined._replace(data=whole)


def _beacon(data: bytes, pos: int) -> tuple[int, int]:
    """Size of the beacon at `pos` and its `remaining`; size 0 if cut off, -1 if damaged."""
    if pos + BEACON.size > len(data):
        return 0, 0
    first, remaining, markers = BEACON.unpack_from(data, pos)
    end = pos + BEACON.size
    for _ in range(markers):
        if end >= len(data):
            return 0, 0
        end += 1 + data[end] + MARKER.size
    if end >= len(data):
        return 0, 0
    good = first == END and data[end] == END
    return (end + 1 - pos if good else -1), remaining


def _frames(data: bytes) -> _Frames:
    found = _Frames([], [], [], [], [], {})
    starts, sequences, timestamps, payloads, sizes, streams = found
    unpack, head = FRAME.unpack_from, FRAME.size
    pos, end = 0, len(data)
    while pos < end:
        fields = pos + 1 + data[pos]
        payload = fields + head
        if payload > end:
            break
        shard, sequence, timestamp, size = unpack(data, fields)
        behind = payload + size + 3
        if behind > end:
            break
        stream = (data[pos + 1 : fields], shard)
        members = streams.get(stream)
        if members is None:
            members = streams[stream] = []
        members.append(len(starts))
        starts.append(pos)
        sequences.append(sequence)
        timestamps.append(timestamp)
        payloads.append(payload)
        sizes.append(size)
        pos = behind
    return found


def _good(
    joined: _Joined, frames: _Frames, last: Mapping[tuple[str, int], int]
) -> tuple[int, Damage | None]:
    """How many frames are good, and what is wrong with the one after them."""
    count = len(frames.starts)
    if not count:
        return 0, None
    data = np.frombuffer(joined.data, np.uint8)
    starts = np.array(frames.payloads, np.int64)
    sizes = np.array(frames.sizes, np.int64)
    ends = starts + sizes
    stored = data[ends].astype(np.uint16) << 8 | data[ends + 1]
    wrong = {
        "the head of a record is damaged": ~_sound_heads(frames, last),
        "the checksum of a record is wrong": stored
        != crc16.checksums(data, starts, sizes),
        "a record has no end": data[ends + 2] != END,
    }
    bad = np.flatnonzero(np.logical_or.reduce([*wrong.values()]))
    if not len(bad):
        return count, None
    first = int(bad[0])
    reason = next(text for text, where in wrong.items() if where[first])
    return first, Damage(joined.file_start(frames.starts[first]), reason)


def _sound_heads(
    frames: _Frames, last: Mapping[tuple[str, int], int]
) -> npt.NDArray[np.bool_]:
    """Which frames can be what a writer wrote: nothing protects their heads."""
    times = np.array(frames.timestamps, np.uint64)
    sequences = np.array(frames.sequences, np.uint64)
    sound = (times <= _LATEST_MS) & (sequences <= _LARGEST)
    for (key, shard), members in frames.streams.items():
        if _KEY.fullmatch(key) is None or shard > _LARGEST:
            sound[members] = False
            continue
        own = sequences[members]
        sound[members[1:]] &= own[1:] > own[:-1]
        before = last.get((key.decode(), shard))
        sound[members[0]] &= before is None or bool(own[0] > before)
    return sound


def _blocks(data: bytes, frames: _Frames, good: int) -> tuple[list[Block], bool, int]:
    """The good frames by stream, whether the end mark is among them, and where they end."""
    _, sequences, times, payloads, sizes, streams = frames
    ended = False
    for (key, _), members in streams.items():
        if key.decode(errors="replace") != INTERNAL:
            continue
        for i in members:
            if i < good and data[payloads[i] : payloads[i] + sizes[i]] == EOS:
                good, ended = i, True
    used = payloads[good - 1] + sizes[good - 1] + 3 if good else 0
    blocks = []
    for (key, shard), members in streams.items():
        mine = members[: bisect_left(members, good)]
        name = key.decode(errors="replace")
        if not mine or name == INTERNAL:
            continue
        blocks.append(
            Block(
                name,
                shard,
                [sequences[i] for i in mine],
                [times[i] for i in mine],
                [data[payloads[i] : payloads[i] + sizes[i]] for i in mine],
            )
        )
    return blocks, ended, used


def _impossible(joined: _Joined, start: int) -> Damage | None:
    """Whether the unfinished frame at `start` claims a length that a beacon in it denies.

    Without this a damaged length would have a reader wait for bytes that never come.
    """
    data = joined.data
    if start >= len(data):
        return None
    fields = start + 1 + data[start]
    damage = Damage(joined.file_start(start), "the head of a record is damaged")
    key = data[start + 1 : fields]
    if data[start] == 0 or (key and not _KEY.fullmatch(key)):
        return damage
    if fields + FRAME.size > len(data):
        return None
    end = fields + FRAME.size + FRAME.unpack_from(data, fields)[3] + 3
    denied = any(
        place + left != end for place, left in joined.remaining if place > start
    )
    return damage if denied else None


def _is_old_mark(rest: bytes) -> bool:
    """Whether these last bytes of a file are what is left of an overwritten end mark.

    Appending writes over the mark and does not cut the file behind it.
    """
    known = _MARK_END[-len(rest) :]
    return 0 < len(rest) < _MARK_SIZE and rest.endswith(known)
