"""The accounts of a live frame: every record is counted where something happens to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SourceStats:
    """received = decoded + rejected.

    Attributes:
        received: records handed over since the source began.
        decoded: those that became rows.
        rejected: those that could not be decoded; they are in `.errors`.
        lost: records the broker no longer had when they were due.
        rebalances: how often partitions came from or went to other members of the group.
        missing: per column, how many rows lack the field (it is null there).
        extra: per field outside the schema, how often it came and where first.
    """

    received: int
    decoded: int
    rejected: int
    lost: int
    rebalances: int
    missing: Mapping[str, int]
    extra: Mapping[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class OperatorStats:
    """received = passed + filtered + rejected + late + expired, in rows of the source.

    Attributes:
        received: rows that reached the frame's steps.
        passed: those that went through all of them.
        filtered: those that a filter held back.
        rejected: those without an event time, or dated too far ahead.
        late: those that came after all their windows had closed.
        expired: those whose state had outlived its time to live, or that came again after a
            resumed reading's commit and whose windows had been closed with them.
        state_bytes: what the steps hold beside the frame.
        evicted: open windows, or keys, given up to stay inside `keep`.
        tombstones: records without a value that a compacted view took as "this key is gone".
            They are rejected by the source, as they can't become rows, and counted in none of
            the above.
        state: bytes by step ("window 10s by symbol"); their sum is `state_bytes`.
    """

    received: int = 0
    passed: int = 0
    filtered: int = 0
    rejected: int = 0
    late: int = 0
    expired: int = 0
    state_bytes: int = 0
    evicted: int = 0
    tombstones: int = 0
    state: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoreStats:
    """put = kept + forgotten + replaced + removed, in rows of this frame."""

    put: int = 0
    kept: int = 0
    forgotten: int = 0
    replaced: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """All three accounts; the commonest numbers are here as well."""

    source: SourceStats
    operator: OperatorStats
    store: StoreStats

    @property
    def received(self) -> int:
        """Records handed over since the source began."""
        return self.source.received

    @property
    def decoded(self) -> int:
        """Those that became rows."""
        return self.source.decoded

    @property
    def rejected(self) -> int:
        """Those that could not be decoded."""
        return self.source.rejected

    @property
    def lost(self) -> int:
        """Records the broker no longer had."""
        return self.source.lost

    @property
    def rebalances(self) -> int:
        """How often partitions came from or went to other members of the group."""
        return self.source.rebalances

    @property
    def late(self) -> int:
        """Rows that came after their window had closed."""
        return self.operator.late

    @property
    def missing(self) -> Mapping[str, int]:
        """Per column, rows that lack the field."""
        return self.source.missing

    @property
    def extra(self) -> Mapping[str, tuple[int, str]]:
        """Fields outside the schema."""
        return self.source.extra

    @property
    def kept(self) -> int:
        """Rows this frame holds."""
        return self.store.kept
