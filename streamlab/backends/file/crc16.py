"""CRC-16/CDMA2000 of many payloads at once: width 16, polynomial C867, initial FFFF, nothing
reflected, no final xor.

The sums of all payloads go forward together, two bytes a step, so the loop in Python is as long
as the longest piece and not as all the bytes. Long payloads are cut into pieces whose sums are
joined afterwards: a CRC is linear, and zeros in front change nothing.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.uint16]
Places = npt.NDArray[np.int64]

POLYNOMIAL = 0xC867
START = 0xFFFF
PIECE = 256


def checksum(payload: bytes, start: int = START) -> int:
    """The CRC of one payload, or its continuation from `start`."""
    table, crc = _plain_table(), start
    for byte in payload:
        crc = (crc << 8 & 0xFFFF) ^ table[crc >> 8 ^ byte]
    return crc


def checksums(data: npt.NDArray[np.uint8], starts: Places, lengths: Places) -> Sums:
    """The CRC of each data[start : start + length].

    Args:
        data: all payloads in one buffer, uint8.
        starts: where each payload begins, int64.
        lengths: how long each is, int64.
    """
    pieces = np.maximum(1, -(-lengths // PIECE))
    owner_first = np.cumsum(pieces) - pieces
    count = int(pieces.sum())
    # All pieces of a payload are full but the first, which takes the rest.
    head = lengths - (pieces - 1) * PIECE
    piece_length = np.full(count, PIECE, np.int64)
    piece_length[owner_first] = head
    rank = np.arange(count) - np.repeat(owner_first, pieces)
    piece_start = np.repeat(starts + head - PIECE, pieces) + rank * PIECE
    piece_start[owner_first] = starts
    seeds = np.zeros(count, np.uint16)
    seeds[owner_first] = START
    sums = _columns(data, piece_start, piece_length, seeds)
    return _joined(sums, owner_first, pieces)


def _columns(
    data: npt.NDArray[np.uint8], starts: Places, lengths: Places, seeds: Sums
) -> Sums:
    """CRCs of pieces of at most PIECE bytes, from a start value each."""
    order = np.argsort(-lengths, kind="stable")
    at, left, crc = starts[order], -lengths[order], seeds[order]
    one, two = _one_byte(), _two_bytes()
    pairs = data[:-1].astype(np.uint16) << 8
    pairs |= data[1:]
    for step in range(0, PIECE, 2):
        whole = int(np.searchsorted(left, -(step + 2), side="right"))
        some = int(np.searchsorted(left, -(step + 1), side="right"))
        if not some:
            break
        odd = crc[whole:some]
        last = data[at[whole:some] + step]
        crc[whole:some] = (odd << 8) ^ one[(odd >> 8) ^ last]
        crc[:whole] = two[crc[:whole] ^ pairs[at[:whole] + step]]
    sums = np.empty_like(crc)
    sums[order] = crc
    return sums


def _joined(sums: Sums, first: Places, pieces: Places) -> Sums:
    """Sums of whole payloads from those of their pieces."""
    crc = sums[first]
    over = np.flatnonzero(pieces > 1)
    step = 1
    while len(over):
        crc[over] = _shifted()[crc[over]] ^ sums[first[over] + step]
        step += 1
        over = over[pieces[over] > step]
    return crc


@cache
def _one_byte() -> Sums:
    """The CRC of each byte, from 0."""
    crc = np.arange(256, dtype=np.uint16) << np.uint16(8)
    for _ in range(8):
        turned = np.uint16(POLYNOMIAL) * (crc >> np.uint16(15))
        crc = (crc << np.uint16(1)) ^ turned
    return crc


@cache
def _plain_table() -> list[int]:
    return [int(crc) for crc in _one_byte()]


@cache
def _two_bytes() -> Sums:
    """The CRC of each pair of bytes, from 0."""
    one = _one_byte()
    pair = np.arange(65536, dtype=np.uint16)
    first = one[pair >> 8]
    crc: Sums = (first << 8) ^ one[(first >> 8) ^ (pair & 0xFF)]
    return crc


@cache
def _shifted() -> Sums:
    """What becomes of each CRC when PIECE zero bytes follow."""
    crc = np.arange(65536, dtype=np.uint16)
    for _ in range(PIECE // 2):
        crc = _two_bytes()[crc]
    return crc
