"""How a live source reads for a group: its mode, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlab import positions
from streamlab.clocks import Clock
from streamlab.errors import ModeError, UsageError
from streamlab.frames.feedspec import Mode, Sharing, Start
from streamlab.frames.memo import Past
from streamlab.live.waiting import grouped
from streamlab.records import (
    Committed,
    Earliest,
    Latest,
    Offset,
    Partition,
    Resolved,
    offset_rank,
)
from streamlab.topics.desk import Desk

MODES = ("real-time", "resumable", "load-balanced")


def mode_of(group: Any, mode: Any) -> Mode | None:
    """The mode, from what a user gave; None is real time.

    Raises:
        UsageError: there is no such mode, or it does not fit the group.
    """
    if mode not in (None, *MODES):
        raise UsageError(f"mode={mode!r}: there are {', '.join(MODES)}.")
    if group is None:
        if mode in (None, "real-time"):
            return None
        raise UsageError(
            f'mode="{mode}" commits for a group. Name one: group="g". Without a group '
            "nothing is joined and nothing committed."
        )
    if not isinstance(group, str) or not group:
        raise UsageError(f"group={group!r}: a group's name is text.")
    if mode == "real-time":
        raise UsageError(
            f'group={group!r}, mode="real-time": what is read in real time joins no group. '
            'Leave group out, or take mode="resumable" (it alone) or "load-balanced" (shared).'
        )
    return "resumable" if mode == "resumable" else "load-balanced"


async def shared(
    desk: Desk,
    start: Any,
    until: Any,
    clock: Clock,
    *,
    group: str,
    mode: Mode,
    member: str | None,
) -> tuple[Start, Sharing]:
    """Where a source of a group begins, and how it commits.

    A committed position beats `start`. A partition without one, where others of its topic have
    one, came to be while nobody read, and is read from its first record. A position beyond the
    end, on a server that was restored from an older copy, would be waited for: what comes from
    here on is read.

    Raises:
        ModeError: an end, or given offsets, where the group shares the topic.
    """
    position = positions.parse(start, what="start", clock=clock)
    if mode == "load-balanced":
        if until is not None:
            raise ModeError(
                f"until={until!r}: group {group!r} shares the topic, and no member can tell "
                'when all of it is read. Alone it can: mode="resumable", or without a group.'
            )
        begin = await desk.begin(Latest(), clock)
        empty = Start(
            {}, from_start=False, empty=frozenset(), newest_ms=begin.newest_ms
        )
        return empty, Sharing(group, mode, position, member)
    found = await committed(desk, group)
    begin = await desk.begin(position, clock)
    if not found:
        return begin, Sharing(group, mode, position, member)
    first = await desk.resolve(Earliest(), "start", clock)
    known = {p.topic for p in found}
    found, gone = _within(found, await desk.resolve("latest", "start", clock))
    at = {
        p: found[p].next if p in found else first[p] if p.topic in known else offset
        for p, offset in begin.at.items()
    }
    past = Past({p: each for p, each in found.items() if p in at})
    note = "resumed at " + _places(past.committed)
    if not isinstance(position, Latest):
        note += f" (start={start!r} not used)"
    if gone:
        note += ": the group had committed what is not there any more"
    resumed = Start(
        at,
        from_start=all(offset_rank(at[p]) <= offset_rank(first[p]) for p in at),
        empty=begin.empty,
        newest_ms=begin.newest_ms,
    )
    return resumed, Sharing(group, mode, position, member, past, note, gone)


def _within(
    found: Mapping[Partition, Committed], end: Resolved
) -> tuple[dict[Partition, Committed], dict[Partition, int]]:
    """Commits that are not beyond the end, and how many records are lost where they were."""
    there, gone = dict(found), dict[Partition, int]()
    for partition, each in found.items():
        last = end.get(partition, each.next)
        if offset_rank(each.next) > offset_rank(last):
            counted = isinstance(each.next, int) and isinstance(last, int)
            gone[partition] = int(each.next) - int(last) if counted else 1
            # Without its memory: what was read is not what is there now.
            there[partition] = Committed(last)
    return there, gone


async def committed(desk: Desk, group: str) -> dict[Partition, Committed]:
    """What a group has committed of the desk's topics."""
    found: dict[Partition, Committed] = {}
    for name in await desk.current_names():
        found |= await desk.within(desk.connection.committed(group, name))
    return found


def _places(found: Mapping[Partition, Committed]) -> str:
    """Committed positions in a few words."""
    if len(found) == 1:
        (only,) = found.values()
        return _digits(only.next)
    shown = [f"p{p.number} {_digits(found[p].next)}" for p in sorted(found)[:4]]
    return ", ".join(shown) + (" …" if len(found) > 4 else "")


def _digits(offset: Offset) -> str:
    return grouped(offset) if isinstance(offset, int) else offset
