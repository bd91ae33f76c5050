"""FRAME: what a resumable reading writes beside its commits, for the one that goes on after it.

The text is short JSON: `{"v":1,"at":<offset>,"over":{<fingerprint>:<window end>}}`. `at` is how
far the reading had come, which is further than the commit itself while windows are open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streamlab.engine.needs import Memory
from streamlab.records import Committed, Offset, Partition, offset_rank

_VERSION = 1
_MOST_PLANS = 64  # some brokers keep 4,096 bytes beside a commit


class Past(NamedTuple):
    """What earlier readings of the group have committed; empty at the very first one."""

    committed: Mapping[Partition, Committed]

    def memory(self, number: Callable[[Partition], int]) -> Memory | None:
        """It as the engine needs it; None where nothing was written beside the commits.

        Args:
            number: of a partition among the source's.
        """
        over: dict[str, int] = {}
        before: dict[int, tuple[int | None, int]] = {}
        for partition, each in self.committed.items():
            found = _read(each.memory)
            if found is None:
                # Somebody moved this partition: what was read of it is not known any more.
                return None
            at, plans = found
            rank = offset_rank(at)
            place = (None, rank[0]) if len(rank) == 1 else (rank[0], rank[1])
            before[number(partition)] = place
            # Partitions may have been committed one after the other, and the later one counts:
            # its windows had been delivered.
            over = {
                name: max(end, over.get(name, end)) for name, end in plans.items()
            } | {name: end for name, end in over.items() if name not in plans}
        return Memory(over, before) if over else None


NOTHING = Past({})


def written(at: Offset, over: Mapping[str, int]) -> str:
    """The text for one partition.

    Args:
        at: the first offset not handed over.
        over: a plan's fingerprint → windows that end by then are over.
    """
    some = dict(list(over.items())[:_MOST_PLANS])
    return json.dumps({"v": _VERSION, "at": at, "over": some}, separators=(",", ":"))


def _read(text: str) -> tuple[Offset, dict[str, int]] | None:
    """The text's content; None if it isn't ours."""
    try:
        found = json.loads(text)
        if found["v"] != _VERSION:
            return None
        at = found["at"]
        over = {str(name): int(end) for name, end in found["over"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return (at, over) if isinstance(at, int | str) else None
