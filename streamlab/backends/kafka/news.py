"""What changed hands in a group, in words: "b left: partitions 2 3 → a"."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping

from streamlab.backends.base import GroupMember
from streamlab.backends.kafka.admin import Described
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError
from streamlab.records import Partition

_TRIES, _PAUSE_S = 50, 0.2
Owners = Mapping[Partition, str]


class News:
    """Asks, after each rebalance and in the background, who reads what.

    Attributes:
        text: the last thing that happened; "" at first.
    """

    def __init__(self, describe: Callable[[], Awaitable[Described]], name: str) -> None:
        """Nothing has happened yet.

        Args:
            describe: asks for the group's members.
            name: our own.
        """
        self._describe = describe
        self._name = name
        self._before: Mapping[str, GroupMember] | None = None
        self._looking: asyncio.Task[None] | None = None
        self.text = ""

    def look(self) -> None:
        """Find out; what is being found out already is dropped."""
        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.create_task(self._look(), name="kafka group news")

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _look(self) -> None:
        for _ in range(_TRIES):
            try:
                state, members = await self._describe()
            except BrokerError:
                state, members = "", {}
            # Before that the others' shares are not known yet.
            if state == "Stable":
                self._tell(members)
                return
            await SYSTEM.sleep(_PAUSE_S)

    def _tell(self, members: Mapping[str, GroupMember]) -> None:
        before = self._before
        if before is None:
            # Of what was before we came we know this much: it was not ours.
            before = {i: m for i, m in members.items() if m.name != self._name}
        self.text = told(before, members) or self.text
        self._before = members


def told(before: Mapping[str, GroupMember], after: Mapping[str, GroupMember]) -> str:
    """What happened between two looks at a group's members, by their ids; "" for nothing."""
    had, has = _owners(before), _owners(after)
    causes = [*_came_and_went(before, after), *_grown(had, has)]
    moved = _moves(had, has)
    if not causes:
        return moved
    return ", ".join(causes) + (f": {moved}" if moved else "")


def _came_and_went(
    before: Mapping[str, GroupMember], after: Mapping[str, GroupMember]
) -> list[str]:
    # Who rejoins gets another id; that is neither coming nor going.
    old = Counter(member.name for member in before.values())
    new = Counter(member.name for member in after.values())
    return [
        *(f"{name} left" for name in sorted((old - new).elements())),
        *(f"{name} joined" for name in sorted((new - old).elements())),
    ]


def _grown(had: Owners, has: Owners) -> list[str]:
    old, new = (Counter(p.topic for p in owners) for owners in (had, has))
    return [
        f"{topic} has {count} partition{'s' * (count > 1)} now"
        for topic, count in sorted(new.items())
        if 0 < old[topic] < count and not _was_free(topic, had, has)
    ]


def _was_free(topic: str, had: Owners, has: Owners) -> bool:
    """Whether a partition is new to us and not to the topic: numbers only grow at the end."""
    most = max(p.number for p in had if p.topic == topic)
    return any(p not in had and p.number < most for p in has if p.topic == topic)


def _moves(had: Owners, has: Owners) -> str:
    taken: dict[str, list[Partition]] = defaultdict(list)
    for partition, owner in sorted(has.items()):
        if had.get(partition) != owner:
            taken[owner].append(partition)
    several = len({p.topic for p in has}) > 1
    return ", ".join(
        f"partition{'s' * (len(parts) > 1)} "
        + " ".join(
            f"{p.topic} p{p.number}" if several else f"{p.number}" for p in parts
        )
        + f" → {owner}"
        for owner, parts in sorted(taken.items())
    )


def _owners(members: Mapping[str, GroupMember]) -> Owners:
    return {p: member.name for member in members.values() for p in member.partitions}
