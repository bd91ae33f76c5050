"""Which topics are meant: by name, or by a pattern such as "sensor-*"."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from streamlab.backends.base import Connection
from streamlab.errors import TopicNotFoundError
from streamlab.records import Earliest, Offset, Partition, Resolved

# A file's reader finds new streams by itself, and one is read from its first record anyway.
_NOTICE_BY_THEMSELVES = ("file",)


class Names:
    """Topics of one broker, as asked for; on the I/O loop."""

    def __init__(
        self, connection: Connection, names: Iterable[str], *, patterns: bool
    ) -> None:
        """Keep what was asked for.

        Args:
            connection: to the broker.
            names: of topics.
            patterns: whether "*" in a name stands for any characters, or for itself.
        """
        self._connection = connection
        self.given = tuple(names)
        self.patterns = tuple(n for n in self.given if patterns and "*" in n)

    @property
    def one(self) -> str | None:
        """The topic, if there is just one and always will be."""
        return self.given[0] if len(self.given) == 1 and not self.patterns else None

    async def current(self) -> tuple[str, ...]:
        """The topics there are now; those asked for by name whether they are there or not.

        Raises:
            TopicNotFoundError: nothing matches a pattern.
        """
        if not self.patterns:
            return self.given
        there = await self._connection.topics()
        found: dict[str, None] = {}
        for name in self.given:
            matching = [name] if name not in self.patterns else matches(name, there)
            if not matching:
                raise TopicNotFoundError.among(name, self._connection.place, there)
            found |= dict.fromkeys(matching)
        return tuple(found)

    async def grown(self, known: Collection[Partition]) -> Resolved:
        """Where partitions begin that are not among `known`; new topics' too."""
        if self._connection.live_source in _NOTICE_BY_THEMSELVES:
            return {}
        found: dict[Partition, Offset] = {}
        for name in await self.current():
            new = await self._connection.partitions(name) - frozenset(known)
            if new:
                start = await self._connection.resolve(name, Earliest())
                found |= {p: at for p, at in start.items() if p in new}
        return found


def matches(pattern: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that a pattern stands for; "*" is any number of characters."""
    parts = (re.escape(part) for part in pattern.split("*"))
    form = re.compile(".*".join(parts), re.DOTALL)
    return [name for name in names if form.fullmatch(name)]
