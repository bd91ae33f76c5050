"""FRAME: one live frame as its pipeline sees it: a plan node, its store, its listeners."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import polars as pl

from streamlab.changes import Change, shown
from streamlab.engine.outcome import Counts, Outcome
from streamlab.frames.keystore import KeyRules, KeyStore
from streamlab.frames.rowstore import RowStore
from streamlab.frames.store import Budget, Held, Keep
from streamlab.intake import Taken
from streamlab.observed import Failure
from streamlab.plans.nodes import (
    Errors,
    GroupBy,
    Node,
    OuterJoin,
    Recompute,
    is_keyed,
    reviser_of,
)
from streamlab.records import Offset, Partition

log = logging.getLogger("streamlab")
Store = RowStore | KeyStore
Listener = Callable[[Change], None]
KEYED_ROWS = 100_000  # what a window or group frame keeps unless told otherwise


@dataclass(slots=True)
class OperatorCounts:
    """in = passed + filtered + rejected + late + expired, each counted at its own place."""

    passed: int = 0
    filtered: int = 0
    rejected: int = 0
    late: int = 0
    expired: int = 0
    received: int = 0

    def add(self, its: Counts) -> None:
        """Add those of one batch."""
        self.received += its.received
        self.passed += its.passed
        self.filtered += its.filtered
        self.rejected += its.rejected
        self.late += its.late
        self.expired += its.expired


def _beside(node: Node) -> int:
    """Rows that are no record's: those of a table that wait for a match."""
    reviser = reviser_of(node)
    return reviser.table.height if isinstance(reviser, OuterJoin) else 0


def appended(rows: pl.DataFrame) -> Change:
    """Rows that have come to an append frame."""
    return Change(rows, rows.clear(), 0, 0, None)


class Member:
    """One frame of a pipeline. The worker thread owns it; `held` may be read from anywhere.

    Attributes:
        node: what it is.
        handle: its number in the graph; None for frames the graph does not produce (the
            source itself, errors, recomputed frames).
        key: key columns; () for an append frame.
        began: event time its first rows are from; None means from the first record on.
        since: per partition the first offset it had a chance to see; None is from the
            source's own start on.
        parent: what a recomputed frame reads.
        gone: whether it was stopped by itself.
        failure: why it failed, or None.
        watermark: as of the last change.
        evicted: open windows, or keys, given up for the sake of `keep`.
        tombstones: records without a value that deleted a key of it, or found none.
        state_bytes: what its operator holds beside the store.
    """

    def __init__(self, node: Node, keep: Keep, budget: Budget) -> None:
        """A frame without rows; its store comes with its schema."""
        self.node = node
        self.key = is_keyed(node)
        if self.key and keep == Keep():
            keep = Keep(rows=KEYED_ROWS + _beside(node))
        self.keep = keep
        self.handle: int | None = None
        self.failure: Failure | None = None
        self.error: BaseException | None = None
        self.watermark: datetime | None = None
        self.began: datetime | None = None
        self.since: Mapping[Partition, Offset] | None = None
        self.parent: Member | None = None
        self.gone = False
        self.evicted = self.tombstones = 0
        self.basis = 0  # records that a recomputed frame has seen
        self.state_bytes = 0
        self.counts = OperatorCounts()
        self.hidden_key: tuple[str, ...] = ()
        self._budget = budget
        self._store: Store | None = None
        self._listeners: list[Listener] = []
        self._followers: list[Listener] = []
        self._lock = threading.Lock()
        self.held = Held([pl.DataFrame()], 0)

    def open(self, schema: pl.Schema) -> None:
        """Make the store, now that the columns are known (hidden ones included)."""
        empty = pl.DataFrame(schema=schema)
        if self.key:
            by_key = not isinstance(reviser_of(self.node), GroupBy)
            rules = KeyRules(self.key, self.keep, by_key)
            self._store = KeyStore(empty, rules, self._budget)
        else:
            self._store = RowStore(empty, self.keep, self._budget)
        self.held = self._store.held()

    @property
    def store(self) -> Store | None:
        """Its rows; None until the columns are known."""
        return self._store

    def foresee(self, first: Outcome) -> None:
        """What it will begin with, shown before its first record."""
        if self._store is None:
            self.open(first.change.added.schema)
        self.hidden_key = first.hidden_key
        if first.change.added.height:
            self.put(first.change)

    def put(self, change: Change) -> Change:
        """Take a change into the store; returns it with what was forgotten."""
        if self._store is None:
            self.open(change.added.schema)
        if self._store is None:  # pragma: no cover - `open` has just made it
            return change
        self.watermark = change.watermark or self.watermark
        if isinstance(self._store, KeyStore):
            return self._store.put(change, watched=self.watched)
        return self._store.put(change)

    def note(self, outcome: Outcome) -> None:
        """Take in what the graph says beside the rows."""
        self.counts.add(outcome.counts)
        self.evicted += outcome.evicted
        self.tombstones += outcome.tombstones
        self.hidden_key = outcome.hidden_key
        self.watermark = outcome.change.watermark or self.watermark

    def seal(self) -> Held:
        """The rows as an immutable value, for publishing."""
        return self.held if self._store is None else self._store.held()

    def display(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` as people see it."""
        frame = shown(frame)
        if not self.hidden_key:
            return frame
        names = [name for name in frame.columns if name not in self.hidden_key]
        return frame[names] if names else pl.DataFrame()

    def listen(self, listener: Listener, *, keys: bool = False) -> Callable[[], None]:
        """Tell `listener` of every change; returns the way to stop it.

        Args:
            listener: is told on the worker, and must not block.
            keys: whether it needs the key columns, those too that are not for show.
        """
        among = self._followers if keys else self._listeners
        with self._lock:
            among.append(listener)

        def stop() -> None:
            with self._lock:
                if listener in among:
                    among.remove(listener)

        return stop

    def as_shown(self, change: Change) -> Change:
        """`change` as people see it."""
        return change._replace(
            added=self.display(change.added), removed=shown(change.removed)
        )

    @staticmethod
    def as_given(change: Change) -> Change:
        """`change` as code gets it: without its key nobody could apply it."""
        return change._replace(added=shown(change.added), removed=shown(change.removed))

    @property
    def watched(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners or self._followers)

    def tell(self, change: Change) -> None:
        """Hand a change to all listeners, as people see it."""
        with self._lock:
            groups = list(self._listeners), list(self._followers)
        for listeners, way in zip(groups, (self.as_shown, self.as_given), strict=True):
            told = way(change) if listeners else change
            for listener in listeners:
                try:
                    listener(told)
                except (
                    Exception
                ):  # a view that fails must not stop the stream it looks at
                    log.exception("a view of %s failed", self.node)

    def fail(self, error: BaseException, failure: Failure) -> None:
        """Stop here; the last good version stays."""
        self.error, self.failure = error, failure

    def restart(self) -> Change | None:
        """Forget everything, as before the first record; what that did to the rows."""
        self.handle = self.failure = self.error = None
        self.watermark = self.began = self.since = None
        self.evicted = self.tombstones = self.basis = self.state_bytes = 0
        self.counts = OperatorCounts()
        return None if self._store is None else self._store.clear()

    def close(self) -> None:
        """Let the listeners and the budget go; the rows stay readable."""
        with self._lock:
            self._listeners.clear()
            self._followers.clear()
        if self._store is not None:
            self._budget.release(self._store)
            self._store = None


@dataclass(slots=True)
class SourceCounts:
    """received = decoded + rejected, each counted at its own place; the others stand beside."""

    received: int = 0
    decoded: int = 0
    rejected: int = 0
    lost: int = 0
    rebalances: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    extra: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, taken: Taken) -> None:
        """Add those of one batch."""
        self.received += taken.received
        self.decoded += taken.decoded
        self.rejected += taken.rejected.height
        for name, count in taken.missing.items():
            self.missing[name] = self.missing.get(name, 0) + count
        for name, (count, where) in taken.extra.items():
            before, first = self.extra.get(name, (0, where))
            self.extra[name] = (before + count, first)


class Published(NamedTuple):
    """One version of a source and all frames on it.

    Attributes:
        version: rises by one with every micro-batch.
        epoch: rises when the source begins anew.
        records: records handed over since the source began, rejects included.
        done: per partition, the first offset whose effect is not in the frames yet.
        held: every frame's rows at this version.
    """

    version: int
    epoch: int
    records: int
    done: Mapping[Partition, Offset]
    held: Mapping[Member, Held]


Told = dict[Member, Change]


def put_rejected(members: Iterable[Member], rejected: pl.DataFrame) -> Told:
    """Records that could not be decoded, into the frames of them."""
    if not rejected.height:
        return {}
    listing = [member for member in members if isinstance(member.node, Errors)]
    return {member: member.put(appended(rejected)) for member in listing}


def shrink_to_fit(members: Iterable[Member], budget: Budget, told: Told) -> None:
    """Forget the oldest rows of the largest store until all fit into the budget.

    Args:
        members: whose stores share the budget.
        budget: of them.
        told: what this batch did to each; gets the forgotten rows too.
    """
    # A query's answer is right as a whole or not at all.
    stored = [m for m in members if not isinstance(m.node, Recompute)]
    while budget.over:
        sizes = {m: m.store.bytes for m in stored if m.store is not None}
        largest = max(sizes, key=sizes.__getitem__, default=None)
        store = None if largest is None else largest.store
        dropped = 0 if store is None else store.shrink()
        if largest is None or store is None or not dropped:
            return
        change = told.get(largest) or appended(store.empty)
        told[largest] = change._replace(
            forgotten=change.forgotten + dropped, version=store.version
        )
