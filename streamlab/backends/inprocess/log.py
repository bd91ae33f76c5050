"""Logs kept in this process: what `memory` and `demo` write to and read from.

A `LogTopic` may be written by any thread while consumers read it on any loop: its lock guards
the columns, and whoever appends wakes the waiting consumers on their own loops.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol
from zlib import crc32

from streamlab.clocks import SYSTEM, Clock
from streamlab.errors import UsageError
from streamlab.records import Headers, Outgoing, Partition, Records, Sent


class Log:
    """One partition: columns of equal length, offsets rising but with gaps where records were
    deleted. Guarded by its topic's lock.

    Attributes:
        low: offsets below it were trimmed away.
        next: the offset of the next record.
    """

    def __init__(self) -> None:
        """Begin empty, at offset 0."""
        self.low = self.next = 0
        self.offsets: list[int] = []
        self.times: list[int] = []
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.headers: list[Headers] = []
        self.bytes = 0

    def append(self, rows: Outgoing, now_ms: int) -> int:
        """Add rows at the end and return the first one's offset; `rows.partitions` is not
        looked at.
        """
        first, count = self.next, len(rows.values)
        self.offsets += range(self.next, self.next + count)
        self.times += (
            [now_ms] * count if rows.timestamps_ms is None else rows.timestamps_ms
        )
        self.values += rows.values
        self.keys += [None] * count if rows.keys is None else rows.keys
        self.headers += [()] * count if rows.headers is None else rows.headers
        self.bytes += sum(map(len, filter(None, rows.values)))
        self.next += count
        return first

    def cut(self, first: int, last: int) -> None:
        """Take the rows at places first … last-1 out."""
        self.bytes -= sum(map(len, filter(None, self.values[first:last])))
        columns: tuple[list[int] | list[bytes | None] | list[Headers], ...] = (
            self.offsets,
            self.times,
            self.values,
            self.keys,
            self.headers,
        )
        for column in columns:
            del column[first:last]

    def place(self, offset: int) -> int:
        """Where the first row at or after `offset` stands."""
        return bisect_left(self.offsets, offset)

    def holds_from(self, offset: int) -> bool:
        """Whether there is a row at or after `offset`."""
        return bool(self.offsets) and self.offsets[-1] >= offset

    def block(self, partition: Partition, first: int, last: int) -> Records:
        """The rows at places first … last-1."""
        keys, headers = self.keys[first:last], self.headers[first:last]
        return Records(
            partition,
            self.offsets[first:last],
            self.times[first:last],
            self.values[first:last],
            None if keys.count(None) == len(keys) else keys,
            headers if any(headers) else None,
        )


class Listener(Protocol):
    """Waits for more of a topic."""

    def wake(self) -> None:
        """Look again; from any thread."""
        ...


class LogTopic:
    """A topic of some partitions, and the consumers that wait for more of it.

    Attributes:
        logs: one per partition; take `lock` to look at them.
        trouble: why nothing can be read or written just now, or None.
        clock: by which records get their time, and become due where they come by themselves.
    """

    def __init__(
        self, name: str, partitions: int = 1, *, clock: Clock = SYSTEM
    ) -> None:
        """Make an empty topic."""
        self.name = name
        self.clock = clock
        self.logs = [Log() for _ in range(partitions)]
        self.lock = threading.RLock()
        self.trouble: str | None = None
        self._turn = 0
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()

    def begin(self) -> None:
        """Somebody wants to read what is still to come."""

    def refresh(self, *, hungry: bool) -> float | None:  # noqa: ARG002
        """Bring in what is due by now; called with the lock, before anybody looks.

        Args:
            hungry: a consumer has read everything there is.

        Returns:
            Seconds until more will be due; None if nobody knows.
        """
        return None

    def append(self, rows: Outgoing) -> Sent:
        """Write rows, all or none, and wake who waits for them."""
        now = self.clock.now_ms()
        with self.lock:
            wanted = self.choose(rows)
            offsets = [0] * len(wanted)
            for number in sorted(set(wanted)):
                places = [i for i, p in enumerate(wanted) if p == number]
                first = self.logs[number].append(_pick(rows, places), now)
                for offset, place in enumerate(places, start=first):
                    offsets[place] = offset
        self.wake()
        return Sent(wanted, offsets, rows.timestamps_ms or [now] * len(wanted))

    def grow(self, partitions: int) -> None:
        """Add partitions until there are so many; whoever reads must ask for the new ones."""
        with self.lock:
            for _ in range(partitions - len(self.logs)):
                self.logs.append(Log())
        self.wake()

    def delete(self, partition: int, offset: int) -> None:
        """Take one record away, leaving a gap."""
        with self.lock:
            log = self.logs[partition]
            place = log.place(offset)
            log.cut(place, log.place(offset + 1))

    def trim(
        self, partition: int, *, keep: int | None = None, before: int | None = None
    ) -> int:
        """Throw all but the newest `keep` records of a partition away, or those before an
        offset; they count as lost. Returns how many.
        """
        with self.lock:
            log = self.logs[partition]
            most = 0 if keep is None else max(0, len(log.offsets) - keep)
            gone = most if before is None else max(most, log.place(before))
            log.cut(0, gone)
            if gone:
                log.low = log.offsets[0] if log.offsets else log.next
            return gone

    def fail(self, why: str | None) -> None:
        """Cut the topic off, or mend it again with None."""
        self.trouble = why
        self.wake()

    def listen(self, listener: Listener) -> None:
        """Wake this consumer from now on."""
        with self.lock:
            self._listeners.add(listener)

    def wake(self) -> None:
        """Tell the waiting consumers to look again; from any thread."""
        with self.lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()

    def choose(self, rows: Outgoing) -> Sequence[int]:
        """A partition per row: as wished, by the key's checksum, or in turn."""
        count = len(self.logs)
        if rows.partitions is not None:
            if wrong := {p for p in rows.partitions if not 0 <= p < count}:
                raise UsageError(
                    f"{self.name} has no partition {min(wrong)}; "
                    f"it has {count}, numbered from 0."
                )
            return rows.partitions
        chosen = []
        for key in rows.keys or [None] * len(rows.values):
            chosen.append((self._turn if key is None else crc32(key)) % count)
            self._turn += key is None
        return chosen


def _pick(rows: Outgoing, places: Sequence[int]) -> Outgoing:
    """The rows at some places."""
    if len(places) == len(rows.values):
        return rows
    return Outgoing(
        [rows.values[i] for i in places],
        rows.keys and [rows.keys[i] for i in places],
        rows.timestamps_ms and [rows.timestamps_ms[i] for i in places],
        rows.headers and [rows.headers[i] for i in places],
    )
