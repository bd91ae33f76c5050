"""Which records are still needed: for a commit, and for going on after one.

A reader that commits must not pass the oldest record of an open window, or the window could not
be rebuilt after a crash. And a reader that goes on there is given records again that belong to
windows it had closed and delivered: those must not come out a second time with a part of their
rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamlab.engine.watermark import Int64s

# A record's place in its partition: the broker's timestamp and the sequence number (STAMP, SEQ).
Place = tuple[int, int]


class Needed(Protocol):
    """Account of the records that an operator still needs."""

    def oldest(self) -> dict[int, Place]:
        """Per partition the oldest of them; absent where there is none."""
        ...


class Needs:
    """The first record, per partition, that went into each open window.

    Records of a partition come in the order of their offsets, so the first is the oldest.
    """

    def __init__(self) -> None:
        """No window is open."""
        # By window and partition, when the record came, and its place: places alone tell no
        # order, as a producer's timestamps may go back.
        self._first: dict[int, dict[int, tuple[int, Place]]] = {}
        self._came = 0

    def add(
        self, starts: Int64s, parts: NDArray[Any], stamps: Int64s, seqs: Int64s
    ) -> None:
        """Rows that went into windows; all columns by row."""
        for part in np.unique(parts).tolist():
            mine = np.flatnonzero(parts == part)
            distinct, places = np.unique(starts[mine], return_index=True)
            for start, at in zip(distinct.tolist(), places.tolist(), strict=True):
                row = int(mine[at])
                window = self._first.setdefault(start, {})
                place = int(stamps[row]), int(seqs[row])
                window.setdefault(part, (self._came + row, place))
        self._came += len(parts)

    def absorb(self, one: int, other: int) -> None:
        """A window has become part of another one."""
        _keep_first(self._first.setdefault(one, {}), self._first.pop(other, {}))

    def forget(self, starts: Int64s) -> None:
        """These windows are over."""
        for start in np.unique(starts).tolist():
            self._first.pop(start, None)

    def oldest(self) -> dict[int, Place]:
        """Per partition the oldest record that an open window needs."""
        found: dict[int, tuple[int, Place]] = {}
        for window in self._first.values():
            _keep_first(found, window)
        return {part: place for part, (_, place) in found.items()}


def _keep_first(
    found: dict[int, tuple[int, Place]], more: Mapping[int, tuple[int, Place]]
) -> None:
    for part, each in more.items():
        found[part] = min(each, found.get(part, each))


class Bounds(NamedTuple):
    """Between which windows an operator stands, in the unit of the window.

    Attributes:
        over: windows that end by then are over, closed and delivered or given up; of
            `unique(within=)` how far time had come.
        whole_from: windows that start before are partial: reading began within them. None if
            none is.
    """

    over: int
    whole_from: int | None


class Past(NamedTuple):
    """What an operator knows of an earlier reading that it goes on with.

    Attributes:
        bounds: where the earlier reading's operator stood.
        before: partition number → the first place that the earlier reading had not reached;
            None as its first half where offsets are numbers.
    """

    bounds: Bounds
    before: Mapping[int, tuple[int | None, int]]

    def was_read(
        self, parts: NDArray[Any], stamps: Int64s, seqs: Int64s
    ) -> NDArray[np.bool_]:
        """Which rows the earlier reading had handed over."""
        read = np.zeros(len(parts), np.bool_)
        for part, (stamp, seq) in self.before.items():
            mine = parts == part
            if stamp is None:
                read |= mine & (seqs < seq)
            else:
                earlier = (stamps < stamp) | ((stamps == stamp) & (seqs < seq))
                read |= mine & earlier
        return read


class Memory(NamedTuple):
    """What a reading leaves for the one that goes on after it.

    Attributes:
        plans: a plan's fingerprint → where its windows stood.
        before: as in `Past`.
    """

    plans: Mapping[str, Bounds]
    before: Mapping[int, tuple[int | None, int]]


class Low(NamedTuple):
    """How far a reading could be committed, as far as the plans are concerned.

    Attributes:
        oldest: partition number → the oldest record still needed; absent where none is.
        plans: a plan's fingerprint → where its windows stand.
        missing: fingerprints of the earlier reading whose plans have not been made again.
        numbered: see `keep_oldest`.
    """

    oldest: Mapping[int, Place]
    plans: Mapping[str, Bounds]
    missing: frozenset[str] = frozenset()
    numbered: bool = True


def needed_by_both(before: Low | None, now: Low | None) -> Low | None:
    """What was needed at an earlier moment, and by plans that have come since.

    Windows of a plan stand where they stood at the earlier moment: what has closed since may
    not be delivered.
    """
    if before is None or now is None:
        return before or now
    oldest = dict(before.oldest)
    keep_oldest(oldest, now.oldest, numbered=now.numbered)
    plans = {**now.plans, **before.plans}
    return Low(oldest, plans, now.missing, now.numbered)


def keep_oldest(
    found: dict[int, Place], more: Mapping[int, Place], *, numbered: bool
) -> None:
    """Put the older of both into `found`.

    Args:
        found: per partition the oldest record so far.
        more: those of another operator.
        numbered: offsets are numbers, which alone tell the order: a producer's timestamps may
            go back.
    """

    def rank(place: Place) -> Place:
        return (0, place[1]) if numbered else place

    for part, place in more.items():
        found[part] = min(place, found.get(part, place), key=rank)
