"""What a member of a group was given and has not committed, in the order it was given.

Members take over what a dead one left, so entry ids do not come in order: a commit counts
records, and the ledger says which entries those were. No I/O; nothing stands for one record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from streamlab.backends.redis import ids
from streamlab.backends.redis.ids import Id
from streamlab.records import Partition


class Ledger:
    """One member's book. Entries are noted by stream; commits speak of partitions."""

    def __init__(self) -> None:
        """Nothing was given yet."""
        self._given: dict[Partition, deque[tuple[bytes, Sequence[bytes]]]] = {}
        self._settled: dict[Partition, int] = {}
        self._useless: dict[bytes, list[bytes]] = {}

    def give(self, partition: Partition, key: bytes, entries: Sequence[bytes]) -> None:
        """These entries of a stream were given."""
        self._given.setdefault(partition, deque()).append((key, entries))

    def pass_over(self, key: bytes, entries: Sequence[bytes]) -> None:
        """These entries hold nothing for anybody."""
        self._useless.setdefault(key, []).extend(entries)

    def outstanding(self, key: bytes) -> set[bytes]:
        """Entries of a stream given, or passed over, and not acknowledged."""
        given = {entry for entries in self._of(key) for entry in entries}
        return given.union(self._useless.get(key, ()))

    def count(self, key: bytes) -> int:
        """How many those are at most."""
        given = sum(len(entries) for entries in self._of(key))
        return given + len(self._useless.get(key, ()))

    def lowest(self, key: bytes) -> Id | None:
        """The lowest of those; None without any."""
        return min((ids.pair(e) for part in self._of(key) for e in part), default=None)

    def due(self, partition: Partition, count: int) -> list[tuple[bytes, list[bytes]]]:
        """Entries by stream that make up the first `count` records of a partition, without
        those settled before.
        """
        left = count - self._settled.get(partition, 0)
        found: dict[bytes, list[bytes]] = {}
        for key, entries in self._given.get(partition, ()):
            if left <= 0:
                break
            found.setdefault(key, []).extend(entries[:left])
            left -= len(entries)
        return [*found.items()]

    def settle(self, partition: Partition, count: int) -> None:
        """The first `count` records of a partition are acknowledged."""
        left = count - self._settled.get(partition, 0)
        given = self._given.get(partition, deque())
        while left > 0 and given:
            key, entries = given.popleft()
            if len(entries) > left:
                given.appendleft((key, entries[left:]))
            taken = min(left, len(entries))
            self._settled[partition] = self._settled.get(partition, 0) + taken
            left -= taken

    def useless(self) -> dict[bytes, list[bytes]]:
        """Entries passed over, by stream; they are the caller's to acknowledge now."""
        found, self._useless = self._useless, {}
        return found

    def _of(self, key: bytes) -> Iterator[Sequence[bytes]]:
        return (
            entries
            for given in self._given.values()
            for stream, entries in given
            if stream == key
        )
