"""FRAME: a keyed frame's rows: the last word on every key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from streamlab.changes import Change
from streamlab.frame import Budget, Counts, Held, Keep, back, copied_out


class HeldKeys(Held):
    """A keyed frame at one version: changes wait beside the rows until somebody looks."""

    def __init__(
        self, base: pl.DataFrame, waiting: Sequence[Any], rules: KeyRules, version: int
    ) -> None:
        """`waiting` alternates (added, removed) frames in order of arrival."""
        super().__init__([base], version)
        self._waiting = waiting
        self._rules = rules
        self.counts = Counts()

    def _assemble(self) -> pl.DataFrame:
        base = self._pieces[0]
        frame, self.counts = self._rules.settle(base, self._waiting)
        return frame

    @property
    def height(self) -> int:
        return self.frame().height


class KeyRules(NamedTuple):
    """How changes settle into a keyed frame."""

    key: tuple[str, ...]
    keep: Keep

    def settle(
        self, base: pl.DataFrame, waiting: Sequence[Any]
    ) -> tuple[pl.DataFrame, Counts]:
        """`base` after the waiting changes, sorted by key, and what happened to each row."""
        replaced = removed = 0
        frame = base
        for added, gone in _runs(waiting):
            both = pl.concat([frame, added], how="vertical")
            frame = both.unique(subset=self.key, keep="last", maintain_order=True)
            replaced += both.height - frame.height
            if gone is not None and gone.height:
                left = frame.join(gone, on=list(self.key), how="anti", nulls_equal=True)
                removed += frame.height - left.height
                frame = left
        frame = frame.sort(self.key, nulls_last=False, maintain_order=True)
        kept = self._retained(frame)
        return kept, Counts(
            forgotten=frame.height - kept.height, replaced=replaced, removed=removed
        )

    def _retained(self, frame: pl.DataFrame) -> pl.DataFrame:
        kept = frame
        first = self.key[0] if self.key else ""
        if (
            self.keep.age is not None
            and kept.height
            and kept[first].dtype.is_temporal()
        ):
            newest = kept[first].max()
            kept = kept.filter(pl.col(first) >= back(newest, self.keep.age))
        if self.keep.rows is not None and kept.height > self.keep.rows:
            kept = kept.tail(self.keep.rows)
        return kept


def _runs(waiting: Sequence[Any]) -> list[tuple[pl.DataFrame, pl.DataFrame | None]]:
    """Neighbouring changes without removals, put together: one `unique` for all of them."""
    runs: list[tuple[pl.DataFrame, pl.DataFrame | None]] = []
    gathered: list[pl.DataFrame] = []
    for added, removed in waiting:
        gathered.append(added)
        if removed.height:
            runs.append((pl.concat(gathered), removed))
            gathered = []
    if gathered:
        runs.append((pl.concat(gathered), None))
    return runs


@dataclass(slots=True)
class KeyStore:
    """A keyed frame: the last row of every key, sorted by key."""

    empty: pl.DataFrame
    rules: KeyRules
    budget: Budget
    version: int = 0
    _held: HeldKeys | None = None
    _base: pl.DataFrame | None = None
    _waiting: list[Any] = field(default_factory=list)
    _waiting_rows: int = 0
    _counts: Counts = field(default_factory=Counts)

    def put(self, change: Change, batch_rows: int) -> Change:  # noqa: ARG002 - as RowStore
        """Take new and changed rows, and the keys that are gone."""
        self._adopt()
        if change.added.height or change.removed.height:
            self._waiting.append((change.added, change.removed))
            self._waiting_rows += change.added.height + change.removed.height
            self._counts = self._counts._replace(
                put=self._counts.put + change.added.height
            )
        base = self.empty if self._base is None else self._base
        self.version = max(self.version + 1, change.version)
        self._held = HeldKeys(base, tuple(self._waiting), self.rules, self.version)
        if self._waiting_rows > max(10_000, base.height):
            self._held.frame()
            self._adopt()
        self.budget.hold(self, self.bytes)
        return change._replace(version=self.version)

    def _adopt(self) -> None:
        """Go on from the assembled frame if somebody has looked at it."""
        held = self._held
        if held is None or held._whole is None:  # noqa: SLF001 - one noun in two classes
            return
        self._base = held._whole  # noqa: SLF001
        self._waiting = []
        self._waiting_rows = 0
        done, held.counts = held.counts, Counts()
        self._counts = self._counts._replace(
            forgotten=self._counts.forgotten + done.forgotten,
            replaced=self._counts.replaced + done.replaced,
            removed=self._counts.removed + done.removed,
        )
        self._held = None

    def shrink(self) -> int:
        """Drop the older half, for the budget's sake; returns the rows dropped."""
        frame = self.held().frame()
        self._adopt()
        kept = frame.tail(frame.height - max(1, frame.height // 2))
        self._base = copied_out(kept)[0]
        dropped = frame.height - kept.height
        self._counts = self._counts._replace(forgotten=self._counts.forgotten + dropped)
        self.version += 1
        self.budget.hold(self, self.bytes)
        return dropped

    @property
    def height(self) -> int:
        """Rows kept."""
        return self.held().height

    @property
    def bytes(self) -> int:
        """Bytes held by the settled rows and by the waiting changes."""
        base = 0 if self._base is None else self._base.estimated_size()
        return int(base + sum(added.estimated_size() for added, _ in self._waiting))

    def held(self) -> Held:
        """The store as an immutable value."""
        if self._held is None:
            base = self.empty if self._base is None else self._base
            self._held = HeldKeys(base, tuple(self._waiting), self.rules, self.version)
        return self._held

    def counts(self) -> Counts:
        """What happened to every row that was put (settles what waits)."""
        held = self.held()
        kept = held.frame().height
        settled = held.counts if isinstance(held, HeldKeys) else Counts()
        mine = self._counts
        return Counts(
            mine.put,
            kept,
            mine.forgotten + settled.forgotten,
            mine.replaced + settled.replaced,
            mine.removed + settled.removed,
        )
