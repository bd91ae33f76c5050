"""FRAME: which partitions hold the watermark back, by the time of a replay.

A replay behaves as the day itself did: a partition is silent from its last record that was
handed over until its next one, whatever was read ahead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streamlab.frames.idleness import Idleness
from streamlab.records import Partition


class Silence(Idleness):
    """Counts silence in a replay clock's time (ms)."""

    def __init__(
        self,
        partitions: Collection[Partition],
        *,
        empty: Collection[Partition],
        after: float | None,
    ) -> None:
        """Nobody has been silent yet; the arguments are `Idleness`'s."""
        super().__init__(partitions, empty=empty, after=after)
        self._span = None if after is None else round(after * 1000)
        self._heard: dict[Partition, int | None] = dict.fromkeys(partitions)
        self._moment: int | None = None

    def begin(self, moment: int) -> None:
        """The clock stands at `moment` and has not moved yet."""
        if self._moment is None:
            self._moment = moment
            for partition, heard in self._heard.items():
                self._heard[partition] = moment if heard is None else heard

    def hear(self, partition: Partition, moment: int) -> None:
        """A record of it was due at `moment`."""
        self._never.discard(partition)
        self._heard[partition] = moment

    def come_to(self, moment: int) -> None:
        """The clock has come to `moment`."""
        self._moment = moment if self._moment is None else max(self._moment, moment)

    def turn(self, heads: Mapping[Partition, int | None]) -> int | None:
        """The next moment after which another set of partitions holds; None if none is known.

        Args:
            heads: when the next record of each is due, as far as known.
        """
        now = self._moment
        if now is None:
            return None
        turns: list[int] = []
        idle = self.idle()
        for partition, heard in self._heard.items():
            if partition not in idle:
                if self._span is not None and heard is not None:
                    turns.append(heard + self._span)
            elif (head := heads.get(partition)) is not None:
                turns.append(head - 1)
        return min((turn for turn in turns if turn > now), default=None)

    def idle(self) -> frozenset[Partition]:
        now, span = self._moment, self._span
        silent = {
            partition
            for partition, heard in self._heard.items()
            if None not in (now, span, heard) and now - heard >= span  # type: ignore[operator]  # none is None
        }
        return frozenset(silent | self._never)

    def holding(self) -> frozenset[Partition]:
        return frozenset(self._heard) - self.idle()
