"""FRAME: what a resumable reading writes beside its commits, for the one that goes on after it.

The text is short JSON: `{"v":1,"at":<offset>,"plans":{<fingerprint>:[<over>,<whole from>]}}`. `at`
is how far the reading had come, which is further than the commit itself while windows are open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streamlab.engine.needs import Bounds, Memory
from streamlab.records import Committed, Offset, Partition, offset_rank

_VERSION = 1
_MOST_PLANS = 40  # some brokers keep 4,096 bytes beside a commit


class Past(NamedTuple):
    """What earlier readings of the group have committed; empty at the very first one."""

    committed: Mapping[Partition, Committed]

    def memory(self, number: Callable[[Partition], int]) -> Memory | None:
        """It as the engine needs it; None where nothing was written beside the commits.

        Args:
            number: of a partition among the source's.
        """
        plans: dict[str, Bounds] = {}
        before: dict[int, tuple[int | None, int]] = {}
        for partition, each in self.committed.items():
            found = _read(each.memory)
            if found is None:
                # Somebody moved this partition: what was read of it is not known any more.
                return None
            at, mine = found
            rank = offset_rank(at)
            place = (None, rank[0]) if len(rank) == 1 else (rank[0], rank[1])
            before[number(partition)] = place
            # Partitions may have been committed one after the other, and the later one counts:
            # its windows had been delivered.
            for name, bounds in mine.items():
                plans[name] = max(bounds, plans.get(name, bounds), key=_over)
        return Memory(plans, before) if plans else None


NOTHING = Past({})


def written(at: Offset, plans: Mapping[str, Bounds]) -> str:
    """The text for one partition.

    Args:
        at: the first offset not handed over.
        plans: a plan's fingerprint → where its windows stand.
    """
    some = dict(list(plans.items())[:_MOST_PLANS])
    return json.dumps({"v": _VERSION, "at": at, "plans": some}, separators=(",", ":"))


def _over(bounds: Bounds) -> int:
    return bounds.over


def _read(text: str) -> tuple[Offset, dict[str, Bounds]] | None:
    """The text's content; None if it isn't ours."""
    try:
        found = json.loads(text)
        if found["v"] != _VERSION:
            return None
        at = found["at"]
        plans = {
            str(name): Bounds(int(over), None if first is None else int(first))
            for name, (over, first) in found["plans"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return (at, plans) if isinstance(at, int | str) else None
