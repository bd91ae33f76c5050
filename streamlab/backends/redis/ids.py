"""Entry ids, "milliseconds-number": how they follow each other.

An offset is an entry id as text and inclusive; XREAD wants the id *before* the first entry
delivered. Ids are pairs of 64-bit numbers, so every one has an exact neighbour.
"""

from __future__ import annotations

import re

from streamlab.errors import PositionError
from streamlab.records import Offset

Id = tuple[int, int]
NONE: Id = (0, 0)  # before every entry: Redis gives out nothing below 0-1
_TOP = 2**64 - 1
LAST: Id = (_TOP, _TOP)
_TEXT = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?")


def pair(entry: bytes | str) -> Id:
    """The two numbers of an id that came from the broker; they sort as the entries do."""
    ms, _, number = (entry.decode() if isinstance(entry, bytes) else entry).partition(
        "-"
    )
    return int(ms), int(number)


def text(entry: Id) -> str:
    """The id as the broker writes it."""
    return f"{entry[0]}-{entry[1]}"


def wire(entry: Id) -> bytes:
    """The id as it goes over the wire."""
    return b"%d-%d" % entry


def after(entry: Id) -> Id:
    """The next id there can be."""
    ms, number = entry
    return (ms, number + 1) if number < _TOP else (ms + 1, 0)


def before(entry: Id) -> Id:
    """The last id before; of 0-0 that is 0-0 itself, which no entry has."""
    ms, number = entry
    if number:
        return ms, number - 1
    return (ms - 1, _TOP) if ms else NONE


def given(offset: Offset) -> Id:
    """An offset as users write it: "1767225600000-3", or only the milliseconds.

    Raises:
        PositionError: it is no entry id.
    """
    found = _TEXT.fullmatch(offset) if isinstance(offset, str) else None
    if found is None or any(int(half or 0) > _TOP for half in found.groups()):
        raise PositionError(
            f"{offset!r} is no Redis entry id. "
            'Write it as text, as in {0: "1767225600000-3"}.'
        )
    return int(found[1]), int(found[2] or 0)
