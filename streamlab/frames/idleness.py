"""Which partitions hold the watermark back, and which have been silent for too long."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streamlab.records import Offset, Partition, PartitionState


class Idleness:
    """Counts, per partition, how long the broker has answered "nothing more".

    Only time spent listening counts: not time paused, held back, disconnected, or behind.

    Args:
        partitions: all that are read.
        empty: those without any record at the start; they never hold before their first one.
        after: seconds of silence after which a partition no longer holds; None is never.
    """

    def __init__(
        self,
        partitions: Collection[Partition],
        *,
        empty: Collection[Partition],
        after: float | None,
    ) -> None:
        """Nobody has been silent yet."""
        self._after = after
        self._silent = dict.fromkeys(partitions, 0.0)
        self._never = set(empty)
        self._next: dict[Partition, Offset] = {}
        self._seen: float | None = None

    def observe(
        self, states: Mapping[Partition, PartitionState], now: float, *, listening: bool
    ) -> None:
        """Take in the consumer's state after an answer (or after time that doesn't count)."""
        elapsed = 0.0 if self._seen is None else now - self._seen
        self._seen = now
        if self._next:  # partitions that a group took away hold nothing back
            self._silent = {p: s for p, s in self._silent.items() if p in states}
        for partition, state in states.items():
            self._silent.setdefault(partition, 0.0)
            moved = self._next.get(partition, state.next) != state.next
            self._next[partition] = state.next
            if moved:
                self._never.discard(partition)
            if moved or not state.caught_up:
                self._silent[partition] = 0.0
            elif listening:
                self._silent[partition] += elapsed

    def idle(self) -> frozenset[Partition]:
        """Partitions that do not hold the watermark back."""
        after = self._after
        silent = (
            {p for p, seconds in self._silent.items() if seconds >= after}
            if after is not None
            else set()
        )
        return frozenset(silent | self._never)

    def holding(self) -> frozenset[Partition]:
        """Partitions that hold the watermark back."""
        return frozenset(self._silent) - self.idle()
