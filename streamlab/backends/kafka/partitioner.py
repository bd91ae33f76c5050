"""Which partition a row goes to: as wanted, by its key as Java clients do, or in turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamlab.errors import UsageError
from streamlab.records import Outgoing

Numbers = NDArray[np.int64]
_SEED, _M = 0x9747B28C, np.uint32(0x5BD1E995)
# Keys come again; a dictionary's answer costs a tenth of the hash.
_REMEMBERED = 100_000


class Partitioner:
    """Chooses for one topic; owned by the task that writes there."""

    def __init__(self, topic: str) -> None:
        """Begin with partition 0."""
        self._topic = topic
        self._turn = 0
        self._hashes: dict[bytes, int] = {}

    def choose(self, rows: Outgoing, partitions: int) -> Numbers:
        """The partition of each row.

        Args:
            rows: on their way.
            partitions: how many the topic has.

        Raises:
            UsageError: a row wants a partition that is not there.
        """
        if rows.partitions is not None:
            return self._wanted(rows.partitions, partitions)
        if rows.keys is None or not any(key is not None for key in rows.keys):
            return self._in_turn(len(rows.values), partitions)
        return self._by_key(rows.keys, partitions)

    def _wanted(self, wanted: Sequence[int], partitions: int) -> Numbers:
        numbers = np.asarray(wanted, dtype=np.int64)
        wrong = np.flatnonzero((numbers < 0) | (numbers >= partitions))
        if wrong.size:
            row = int(wrong[0])
            raise UsageError(
                f"row {row} is for partition {numbers[row]} of {self._topic!r}, which has "
                f"{partitions}: 0 to {partitions - 1}. Nothing was sent."
            )
        return numbers

    def _in_turn(self, count: int, partitions: int) -> Numbers:
        numbers = (np.arange(count, dtype=np.int64) + self._turn) % partitions
        self._turn = (self._turn + count) % partitions
        return numbers

    def _by_key(self, keys: Sequence[bytes | None], partitions: int) -> Numbers:
        """Rows without a key among those with one go in turn."""
        known = self._hashes
        new = [
            key for key in dict.fromkeys(keys) if key is not None and key not in known
        ]
        if new:
            if len(known) + len(new) > _REMEMBERED:
                known.clear()
                new = [key for key in dict.fromkeys(keys) if key is not None]
            known.update(zip(new, murmur2(new).tolist(), strict=True))
        known_or_none = [-1 if key is None else known[key] for key in keys]
        hashes = np.asarray(known_or_none, dtype=np.int64)
        numbers = (hashes & 0x7FFFFFFF) % partitions
        without = np.flatnonzero(hashes < 0)
        numbers[without] = self._in_turn(without.size, partitions)
        return numbers


def murmur2(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """Kafka's hash of each key (MurmurHash2, seed 0x9747b28c): keys of one length at a time."""
    hashes = np.empty(len(keys), dtype=np.uint32)
    lengths = np.fromiter(map(len, keys), dtype=np.int64, count=len(keys))
    for length in np.unique(lengths).tolist():
        places = np.flatnonzero(lengths == length)
        joined = b"".join([keys[place] for place in places.tolist()])
        data = np.frombuffer(joined, dtype=np.uint8).reshape(places.size, length)
        hashes[places] = _murmur2(data)
    return hashes


def _murmur2(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Of keys as rows of bytes; arithmetic of arrays wraps around at 32 bits, as it must."""
    count, length = data.shape
    whole = length - length % 4
    hashes = np.full(count, _SEED ^ length, dtype=np.uint32)
    words = np.ascontiguousarray(data[:, :whole]).view("<u4").astype(np.uint32)
    for column in range(whole // 4):
        word = words[:, column] * _M
        word ^= word >> np.uint32(24)
        hashes = (hashes * _M) ^ (word * _M)
    tail = data[:, whole:].astype(np.uint32)
    for place in reversed(range(length % 4)):
        hashes ^= tail[:, place] << np.uint32(8 * place)
    if length % 4:
        hashes *= _M
    hashes ^= hashes >> np.uint32(13)
    hashes *= _M
    hashes ^= hashes >> np.uint32(15)
    return hashes
