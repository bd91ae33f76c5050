"""What recordings and demos refuse: they have no groups, and nobody writes to them or trims them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamlab.backends.base import GroupConsumer, GroupInfo, Revoked, Transactions
from streamlab.errors import UsageError
from streamlab.records import Committed, Partition, Position, Resolved


class ReadOnly:
    """Part of a connection to something that is only read.

    Attributes:
        place: as shown to people.
        what: the kind of place in a word, with its article ("a file").
    """

    place: str
    what: str

    async def groups(self) -> list[GroupInfo]:
        return []

    async def committed(self, group: str, topic: str) -> Mapping[Partition, Committed]:
        del topic
        raise self._no_groups(group)

    async def commit(self, group: str, done: Mapping[Partition, Committed]) -> None:
        del done
        raise self._no_groups(group)

    async def group_consumer(
        self,
        topics: Sequence[str],
        *,
        group: str,
        start: Position,
        revoked: Revoked,
        name: str | None = None,
    ) -> GroupConsumer:
        del topics, start, revoked, name
        raise self._no_groups(group)

    async def transactions(self, name: str) -> Transactions:
        raise UsageError(
            f"transactional_id={name!r}: {self.place} is {self.what}, which nobody writes to."
        )

    async def trim(
        self, topic: str, *, keep: int | None = None, before: Resolved | None = None
    ) -> int:
        del keep, before
        raise UsageError(
            f"trim: {self.place} is {self.what}; nothing can be taken away from {topic!r}."
        )

    def _no_groups(self, group: str) -> UsageError:
        return UsageError(
            f"group={group!r}: {self.place} is {self.what}, and {self.what} has no groups. "
            'Leave the group out and say where to start: start="earliest", a time, '
            "{partition: offset}. With groups, and no broker to install: memory://lab/topic."
        )
