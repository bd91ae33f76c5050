"""Who reads which partitions: shares as even as can be, moving as little as can be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from streamlab.records import Partition


def shares(
    topics: Mapping[str, Iterable[str]],
    counts: Mapping[str, int],
    before: Mapping[Partition, str],
) -> dict[Partition, str]:
    """A member for each partition.

    Args:
        topics: member → the topics it reads.
        counts: topic → how many partitions it has.
        before: who had which.

    Returns:
        Partition → member. Members of the same topics get equally many, give or take one;
        each keeps what it had, up to its share, the lowest numbers first.
    """
    readers: dict[str, list[str]] = defaultdict(list)
    for member in sorted(topics):
        for topic in topics[member]:
            readers[topic].append(member)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for topic, members in readers.items():
        alike[tuple(members)].append(topic)
    found: dict[Partition, str] = {}
    for same, shared in alike.items():
        parts = sorted(Partition(t, n) for t in set(shared) for n in range(counts[t]))
        found |= _even(same, parts, before)
    return found


def moves(before: Mapping[Partition, str], after: Mapping[Partition, str]) -> str:
    """What changed hands, in a clause: "partitions 2 3 → a, partition 0 → b"."""
    taken: dict[str, list[Partition]] = defaultdict(list)
    for partition, member in sorted(after.items()):
        if before.get(partition) != member:
            taken[member].append(partition)
    several = len({p.topic for p in after}) > 1
    return ", ".join(
        f"partition{'s' * (len(parts) > 1)} "
        f"{' '.join(_named(p, several=several) for p in parts)} → {member}"
        for member, parts in sorted(taken.items())
    )


def _even(
    members: tuple[str, ...], parts: list[Partition], before: Mapping[Partition, str]
) -> dict[Partition, str]:
    had: dict[str, list[Partition]] = {member: [] for member in members}
    for partition in parts:
        if (owner := before.get(partition)) in had:
            had[owner].append(partition)
    base, extra = divmod(len(parts), len(members))
    # Who has most may have one more: nothing moves without need.
    order = sorted(members, key=lambda member: (-len(had[member]), member))
    room = {member: base + (at < extra) for at, member in enumerate(order)}
    found = {p: m for m in members for p in had[m][: room[m]]}
    free = iter([p for p in parts if p not in found])
    for member in sorted(members):
        kept = min(room[member], len(had[member]))
        found |= {next(free): member for _ in range(room[member] - kept)}
    return found


def _named(partition: Partition, *, several: bool) -> str:
    return (
        f"{partition.topic} p{partition.number}" if several else str(partition.number)
    )
