"""What a server says of a group of readers on one stream.

Besides its readers a group may hold consumers of ours that read nothing: a marker, whose name
is what was committed by position, and the one to which members leave what they had not done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from streamlab.backends.redis import ids
from streamlab.backends.redis.ids import Id

OURS = b"streamlab:"
LEFT = OURS + b"left"
_MARKER = OURS + b"at:"


class Reader(NamedTuple):
    """One consumer of a group, as XINFO CONSUMERS has it.

    Attributes:
        name: what it calls itself.
        pending: entries it was given and has not acknowledged.
        idle_ms: since it last asked for something.
    """

    name: bytes
    pending: int
    idle_ms: int

    @property
    def is_ours(self) -> bool:
        """It reads nothing: it is a note of ours."""
        return self.name.startswith(OURS)


class Group(NamedTuple):
    """One group on one stream.

    Attributes:
        name: of the group.
        last: the last entry delivered.
        pending: entries delivered and not acknowledged, of all readers.
        readers: those it has, notes of ours among them.
    """

    name: bytes
    last: Id
    pending: int
    readers: Sequence[Reader] = ()

    @property
    def members(self) -> list[Reader]:
        """Those that read."""
        return [reader for reader in self.readers if not reader.is_ours]

    @property
    def markers(self) -> list[bytes]:
        """Names of the notes about what was committed; there should be one at most."""
        return [r.name for r in self.readers if r.name.startswith(_MARKER)]

    @property
    def memory(self) -> str | None:
        """What was committed beside the position; None if somebody has moved it since."""
        for name in self.markers:
            at, _, said = name.removeprefix(_MARKER).partition(b":")
            if at == ids.wire(self.last):
                return unquote(said.decode())
        return None


def marker(last: Id, memory: str) -> bytes:
    """The name of a note that the group stands behind `last` because we committed it."""
    return b"%b%b:%b" % (
        _MARKER,
        ids.wire(last),
        quote(memory, safe=" {}[],:").encode(),
    )


def groups(reply: Sequence[Any]) -> list[Group]:
    """The answer of XINFO GROUPS."""
    found = []
    for each in reply:
        said = dict(zip(each[::2], each[1::2], strict=True))
        last = ids.pair(said[b"last-delivered-id"])
        found.append(Group(said[b"name"], last, said[b"pending"]))
    return found


def readers(reply: Sequence[Any]) -> list[Reader]:
    """The answer of XINFO CONSUMERS."""
    found = []
    for each in reply:
        said = dict(zip(each[::2], each[1::2], strict=True))
        found.append(Reader(said[b"name"], said[b"pending"], said[b"idle"]))
    return found
