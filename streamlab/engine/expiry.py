"""Which keys have had no row for so long that they go: found without looking at all of them."""

from __future__ import annotations

import heapq

import numpy as np

from streamlab.engine.keys import grown
from streamlab.engine.watermark import Int64s

_FREE = int(np.iinfo(np.int64).max)
_PARTS = 32  # a key that is in use all the time is looked at once in the time to live
_SMALLEST = 64


class Expiry:
    """The newest event time of each slot, filed by buckets of time.

    A slot lies in the bucket of a time it had, or an earlier one; when that comes due, the slot
    either goes or is filed anew. So a batch costs what it touches and what is due.
    """

    def __init__(self, ttl: int) -> None:
        """`ttl`: the time to live, in µs."""
        self._width = max(1, ttl // _PARTS)
        self._newest: Int64s = np.full(_SMALLEST, _FREE)
        self._bucket: Int64s = np.full(_SMALLEST, _FREE)
        self._filed: dict[int, list[Int64s]] = {}
        self._order: list[int] = []  # a heap of the buckets
        self._entries = 0

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self._newest.nbytes + self._bucket.nbytes + 8 * self._entries

    def newest(self, slots: Int64s) -> Int64s:
        """Newest event time of `slots`."""
        return self._newest[slots]

    def touch(self, slots: Int64s, times: Int64s, room: int) -> None:
        """Rows came for `slots`, the newest at `times`; there are `room` slots."""
        if room > len(self._newest):
            before = len(self._newest)
            self._newest = grown(self._newest, room)
            self._bucket = grown(self._bucket, room)
            self._newest[before:] = self._bucket[before:] = _FREE
        held = self._newest[slots]
        self._newest[slots] = np.where(held == _FREE, times, np.maximum(held, times))
        self._file(slots)

    def discard(self, slots: Int64s) -> None:
        """These are free, or begin anew."""
        self._newest[slots] = _FREE

    def due(self, limit: int) -> Int64s:
        """The slots whose newest row is at or before `limit`; they stay until discarded."""
        gone, rest = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        while self._order and self._order[0] * self._width <= limit:
            bucket = heapq.heappop(self._order)
            pieces = self._filed.pop(bucket)
            self._entries -= sum(map(len, pieces))
            slots = np.unique(np.concatenate(pieces))
            slots = slots[self._bucket[slots] == bucket]
            self._bucket[slots] = _FREE
            newest = self._newest[slots]
            gone.append(slots[newest <= limit])
            rest.append(slots[(newest > limit) & (newest != _FREE)])
        self._file(np.concatenate(rest))
        return np.concatenate(gone)

    def _file(self, slots: Int64s) -> None:
        """Put slots where they will be looked at in time, if they are not there already."""
        buckets = self._newest[slots] // self._width
        slots, buckets = (
            each[buckets < self._bucket[slots]] for each in (slots, buckets)
        )
        if not len(slots):
            return
        self._bucket[slots] = buckets
        self._entries += len(slots)
        order = np.argsort(buckets, kind="stable")
        distinct, first = np.unique(buckets[order], return_index=True)
        pieces = np.split(slots[order], first[1:])
        for bucket, piece in zip(distinct.tolist(), pieces, strict=True):
            if bucket not in self._filed:
                heapq.heappush(self._order, bucket)
            self._filed.setdefault(bucket, []).append(piece)
