"""Where the state of each session stands: by key, and in the order in which they end."""

from __future__ import annotations

import heapq
import sys
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamlab.engine.keys import grown, restored, sized
from streamlab.engine.watermark import Int64s

_SMALLEST = 64
_ENTRY_BYTES = 112  # as in `keys`
_SESSION_BYTES = 200  # its list, its place in the heap, its start's count


class Joined(NamedTuple):
    """What a batch's rows did to the sessions.

    Attributes:
        slots: where each group of rows went.
        new: slots that are new.
        into, absorbed: pairs of slots: the second's session is now part of the first's.
        moved: slots whose session had begun later, and slots absorbed: their old keys are gone.
        old: the old starts of these.
        ends: their old ends.
    """

    slots: Int64s
    new: Int64s
    into: Int64s
    absorbed: Int64s
    moved: Int64s
    old: Int64s
    ends: Int64s


@dataclass(slots=True)
class _Before:
    """Sessions there were before a batch that have another start now, or none."""

    start: dict[int, int] = field(default_factory=dict)
    end: dict[int, int] = field(default_factory=dict)
    new: set[int] = field(default_factory=set)

    def note(self, slot: int, start: int, end: int) -> None:
        if slot not in self.new:
            self.start.setdefault(slot, start)
            self.end.setdefault(slot, end)


class SessionSlots:
    """Open sessions `[start, end)`, several a key and none touching another; freed slots are
    used again. Of closed ones it remembers when they were, as long as a row may still touch them.
    """

    def __init__(self, dtypes: Sequence[pl.DataType]) -> None:
        """`dtypes`: types of the key columns."""
        self._dtypes = list(dtypes)
        self._open: dict[Hashable, list[int]] = {}  # slots by start
        self._begun: dict[int, int] = {}  # start → how many open sessions have it
        self._order: list[
            tuple[int, int, int]
        ] = []  # a heap of (end once, serial, slot)
        self._over: dict[Hashable, tuple[int, int]] = {}  # key → the newest closed one
        self._past: deque[tuple[int, int, Hashable]] = deque()  # (end, serial, key)
        self._key_bytes = 0
        self._serial = 0
        self.used = 0
        self._clear()

    def _clear(self) -> None:
        self._free = array("q")
        self._next = 0
        self._order = []
        self.starts: Int64s = np.zeros(_SMALLEST, np.int64)
        self.ends: Int64s = np.zeros(_SMALLEST, np.int64)
        self.serials: Int64s = np.zeros(_SMALLEST, np.int64)
        self._keys: NDArray[Any] = np.empty(_SMALLEST, object)

    def __contains__(self, start: int) -> bool:
        """Whether a session that starts then is open."""
        return start in self._begun

    @property
    def capacity(self) -> int:
        """Slots there is room for."""
        return len(self.starts)

    @property
    def bytes(self) -> int:
        """Bytes held, dictionaries and keys included."""
        columns = (self.starts, self.ends, self.serials, self._keys)
        lists = self._free.itemsize * len(self._free) + sys.getsizeof(self._order)
        held = self.used * (_ENTRY_BYTES + _SESSION_BYTES)
        held += (len(self._over) + len(self._past)) * _ENTRY_BYTES
        return sum(each.nbytes for each in columns) + lists + held + self._key_bytes

    def of(self, key: Hashable) -> list[tuple[int, int]]:
        """Sessions of a key, open or remembered, by start."""
        slots = self._open.get(key, [])
        found = [(int(self.starts[each]), int(self.ends[each])) for each in slots]
        over = self._over.get(key)
        return sorted([*found, over]) if over is not None else found

    def join(self, firsts: Int64s, ends: Int64s, keys: Sequence[Hashable]) -> Joined:
        """Take groups of rows less than a gap apart, those of a key more than that.

        Args:
            firsts: first event time of each group.
            ends: last event time and the gap.
            keys: of each, made by `plain`.
        """
        slots = np.empty(len(keys), np.int64)
        pairs: list[tuple[int, int]] = []
        before = _Before()
        for at in np.argsort(firsts, kind="stable").tolist():
            key, first, end = keys[at], int(firsts[at]), int(ends[at])
            mine = self._open.setdefault(key, [])
            low = bisect_right(mine, first, key=lambda slot: int(self.ends[slot]))
            high = low
            while high < len(mine) and self.starts[mine[high]] < end:
                high += 1
            if low == high:
                slot = self._begin(key, first, end)
                before.new.add(slot)
                mine.insert(low, slot)
            else:
                slot, *others = mine[low:high]
                pairs += [(slot, each) for each in others]
                self._extend(slot, others, first, end, before)
                del mine[low + 1 : high]
            slots[at] = slot
        into, absorbed = np.array(pairs, np.int64).reshape(-1, 2).T
        gone = set(absorbed.tolist())
        moved = [
            slot
            for slot, start in before.start.items()
            if slot in gone or self.starts[slot] != start
        ]
        return Joined(
            slots,
            np.array(sorted(before.new), np.int64),
            into,
            absorbed,
            np.array(moved, np.int64),
            np.array([before.start[slot] for slot in moved], np.int64),
            np.array([before.end[slot] for slot in moved], np.int64),
        )

    def pop_until(self, end: int) -> Int64s:
        """Close all sessions that end at or before `end`; their slots, which stay readable until
        they are given to `release`.
        """
        gone: list[int] = []
        while (top := self._top()) is not None and top[0] <= end:
            gone.append(self._pop())
        return np.array(gone, np.int64)

    def pop_oldest(self, most: int) -> tuple[Int64s, int | None]:
        """Close those that end first until at most `most` slots are used, but of the newest
        never; their slots and the latest end among them.
        """
        gone: list[int] = []
        latest = None
        while self.used - len(gone) > most and (top := self._top()) is not None:
            if len(self._order) == 1:
                break
            latest = top[0]
            gone.append(self._pop())
        if latest is None:
            return np.array(gone, np.int64), None
        return np.concatenate([gone, self.pop_until(latest)]).astype(np.int64), latest

    def release(self, slots: Int64s) -> None:
        """Give slots back: of popped sessions, or of absorbed ones."""
        for key in self._keys[slots].tolist():
            self._key_bytes -= sized(key)
        self._keys[slots] = None
        self._free.extend(slots.tolist())
        if len(self._free) == self._next:
            self._clear()

    def forget(self, end: int) -> Int64s:
        """Closed sessions that ended by then can't be touched any more; their serial numbers."""
        gone: list[int] = []
        while self._past and self._past[0][0] <= end:
            over, serial, key = self._past.popleft()
            gone.append(serial)
            if key in self._over and self._over[key][1] == over:
                del self._over[key]
                self._key_bytes -= sized(key)
        return np.array(gone, np.int64)

    def all(self) -> Int64s:
        """Slots of all open sessions."""
        each = (slot for mine in self._open.values() for slot in mine)
        return np.fromiter(each, np.int64)

    def keys(self, slots: Int64s, names: Sequence[str]) -> pl.DataFrame:
        """The key columns of `slots`."""
        return restored(self._keys[slots].tolist(), names, self._dtypes)

    def _begin(self, key: Hashable, start: int, end: int) -> int:
        slot = self._take()
        self._serial += 1
        self.used += 1
        self.starts[slot], self.ends[slot] = start, end
        self.serials[slot], self._keys[slot] = self._serial, key
        self._key_bytes += sized(key)
        self._begun[start] = self._begun.get(start, 0) + 1
        heapq.heappush(self._order, (end, self._serial, slot))
        return slot

    def _extend(
        self, slot: int, others: list[int], first: int, end: int, before: _Before
    ) -> None:
        """A group of rows, and sessions that it bridges, become part of a session."""
        for each in (slot, *others):
            before.note(each, int(self.starts[each]), int(self.ends[each]))
        last = others[-1] if others else slot
        start, end = min(first, int(self.starts[slot])), max(end, int(self.ends[last]))
        for each in (slot, *others):
            self._left(int(self.starts[each]))
        self._begun[start] = self._begun.get(start, 0) + 1
        self.starts[slot], self.ends[slot] = start, end
        for each in others:
            self.serials[each] = -self.serials[each]  # not in the heap any more
            self.used -= 1

    def _left(self, start: int) -> None:
        """One session less begins then."""
        self._begun[start] -= 1
        if not self._begun[start]:
            del self._begun[start]

    def _top(self) -> tuple[int, int, int] | None:
        """The session that ends first: entries in the heap may say an earlier end."""
        while self._order:
            end, serial, slot = self._order[0]
            if self.serials[slot] != serial:
                heapq.heappop(self._order)
            elif self.ends[slot] != end:
                heapq.heapreplace(self._order, (int(self.ends[slot]), serial, slot))
            else:
                return self._order[0]
        return None

    def _pop(self) -> int:
        end, serial, slot = heapq.heappop(self._order)
        key = self._keys[slot]
        start = int(self.starts[slot])
        mine = self._open[key]
        mine.remove(slot)
        if not mine:
            del self._open[key]
        self._left(start)
        self.used -= 1
        if key not in self._over:
            self._key_bytes += sized(key)
        self._over[key] = start, end
        self._past.append((end, serial, key))
        return slot

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self._next += 1
        if self._next > self.capacity:
            room = 2 * self.capacity
            for name in ("starts", "ends", "serials", "_keys"):
                setattr(self, name, grown(getattr(self, name), room))
        return self._next - 1
