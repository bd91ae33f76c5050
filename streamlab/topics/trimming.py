"""Throws the oldest records of a topic away."""

from __future__ import annotations

from typing import Any

from streamlab.errors import UsageError
from streamlab.topics.desk import Desk


async def trim(desk: Desk, keep: int | None, before: Any) -> int:
    """How many records are gone, over all of the desk's topics.

    Raises:
        UsageError: neither `keep` nor `before`, or both, or no number.
    """
    if (keep is None) == (before is None):
        raise UsageError(
            'trim: say one of keep=10_000 (records of each partition) or before="7d" '
            "(a position, as for read)."
        )
    if keep is not None and (isinstance(keep, bool) or keep < 0):
        raise UsageError(f"trim(keep={keep!r}): a number of records from 0 up.")
    places = None if before is None else await desk.resolve(before, "before")
    gone = 0
    for name in await desk.current_names():
        mine = None
        if places is not None:
            mine = {p: at for p, at in places.items() if p.topic == name}
        gone += await desk.within(desk.connection.trim(name, keep=keep, before=mine))
    return gone
