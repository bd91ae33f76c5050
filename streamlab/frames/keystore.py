"""FRAME: a keyed frame's rows: the last word on every key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.changes import Change
from streamlab.frames.store import (
    Budget,
    Counts,
    Held,
    Keep,
    back,
    bytes_held,
    copied_out,
    own,
)

SETTLE_ROWS = (
    10_000  # waiting rows are settled when they are this many and outgrow the rest
)
SETTLE_REMOVALS = (
    32  # changes that remove rows are settled one by one, so never many at once
)


_TURN = "__turn"  # of the change that brought a row, counted from the first


class Waiting(NamedTuple):
    """A change that has not been settled into the rows yet.

    Attributes:
        added: new and changed rows, at most one per key.
        removed: keys that are gone.
        held: bytes of the buffers behind both.
        turn: the change's number.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    held: int
    turn: int = 0


class HeldKeys(Held):
    """A keyed frame at one version: changes wait beside the rows until somebody looks."""

    def __init__(
        self,
        base: pl.DataFrame,
        turns: pl.Series,
        waiting: Sequence[Waiting],
        rules: KeyRules,
        version: int,
    ) -> None:
        """`waiting` in order of arrival; `turns` tell which change brought each row of `base`."""
        super().__init__([base], version)
        self._waiting = waiting
        self._rules = rules
        self.turns = turns
        self.counts = Counts()
        self.bytes = 0

    @property
    def settled(self) -> bool:
        """Whether somebody has looked."""
        return self._whole is not None

    def _assemble(self) -> pl.DataFrame:
        before = self._pieces[0], self.turns
        frame, self.turns, self.counts = self._rules.settle(*before, self._waiting)
        self._waiting = ()
        # What was replaced may be all that a buffer is held for.
        frame, self.bytes = own(frame)
        return frame

    @property
    def height(self) -> int:
        return self.frame().height


class KeyRules(NamedTuple):
    """How changes settle into a keyed frame.

    Attributes:
        key: its key columns.
        keep: what it retains.
        by_key: what is forgotten first are the smallest keys, as of windows, whose key is a
            time; otherwise the rows that have not changed for longest.
    """

    key: tuple[str, ...]
    keep: Keep
    by_key: bool = True

    def settle(
        self, base: pl.DataFrame, turns: pl.Series, waiting: Sequence[Waiting]
    ) -> tuple[pl.DataFrame, pl.Series, Counts]:
        """`base` after the waiting changes, sorted by key, the turn of each row, and what
        happened to every one.

        What is forgotten does not depend on when somebody looked: it is judged after every
        change, and only changes that remove nothing are taken together, for which once at
        the end comes to the same.
        """
        replaced = removed = forgotten = 0
        frame = base if self.by_key else base.hstack([turns])
        for added, gone in _runs(waiting, turns=not self.by_key):
            both = pl.concat([frame, added], how="vertical")
            frame = both.unique(subset=self.key, keep="last", maintain_order=True)
            replaced += both.height - frame.height
            if gone.height:
                left = frame.join(gone, on=list(self.key), how="anti", nulls_equal=True)
                removed += frame.height - left.height
                frame = left
            frame = frame.sort(self.key, nulls_last=False, maintain_order=True)
            kept = self._retained(frame)
            forgotten += frame.height - kept.height
            frame = kept
        counts = Counts(forgotten=forgotten, replaced=replaced, removed=removed)
        if self.by_key:
            return frame, turns, counts
        turns = frame.get_column(_TURN)
        return frame[base.columns], turns, counts

    def newest(self, frame: pl.DataFrame, turns: pl.Series, rows: int) -> pl.DataFrame:
        """The rows that stay if so many do, in order; with `_TURN` if they go by it."""
        if not self.by_key:
            frame = frame.hstack([turns])
        return self._newest(frame, rows)

    def _newest(self, frame: pl.DataFrame, rows: int) -> pl.DataFrame:
        if self.by_key:
            return frame.tail(rows)
        order = np.argsort(frame.get_column(_TURN).to_numpy(), kind="stable")
        return frame[np.sort(order[len(order) - rows :])]

    def _retained(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The newest that `keep` lets stay."""
        kept = frame
        first = self.key[0] if self.key else ""
        if self.keep.age is not None and kept.height and self.by_key:
            newest = kept[first].max()
            if kept[first].dtype.is_temporal() and newest is not None:
                kept = kept.filter(pl.col(first) >= back(newest, self.keep.age))
        if self.keep.rows is not None and kept.height > self.keep.rows:
            kept = self._newest(kept, self.keep.rows)
        limit = self.keep.bytes
        if (
            limit is not None
            and kept.height
            and (size := kept.estimated_size()) > limit
        ):
            kept = self._newest(kept, max(1, int(kept.height * limit / size)))
        return kept


def _runs(
    waiting: Sequence[Waiting], *, turns: bool
) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """Neighbouring changes without removals, put together: one `unique` for all of them.

    Args:
        waiting: in order of arrival.
        turns: whether each row gets its change's turn.
    """
    runs: list[tuple[pl.DataFrame, pl.DataFrame]] = []
    gathered: list[pl.DataFrame] = []
    for added, removed, _, turn in waiting:
        if turns:
            column = pl.repeat(turn, added.height, dtype=pl.Int64, eager=True)
            added = added.hstack([column.alias(_TURN)])  # noqa: PLW2901
        if not removed.height:
            gathered.append(added)
            continue
        if gathered:
            runs.append((pl.concat(gathered), removed.clear()))
            gathered = []
        runs.append((added, removed))
    if gathered:
        runs.append((pl.concat(gathered), pl.DataFrame()))
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
    _turns: pl.Series = field(default_factory=lambda: pl.Series(_TURN, [], pl.Int64))
    _turn: int = 0
    _base_bytes: int = 0
    _waiting: list[Waiting] = field(default_factory=list)
    _waiting_rows: int = 0
    _waiting_removals: int = 0
    _counts: Counts = field(default_factory=Counts)

    def put(self, change: Change, *, watched: bool = False) -> Change:
        """Take new and changed rows, and the keys that are gone.

        Args:
            change: a keyed frame's change.
            watched: whether somebody must be told how many rows were forgotten; it takes
                settling them now.
        """
        self._adopt()
        before = self._counts.forgotten
        added, removed = change.added, change.removed
        if added.height or removed.height:
            rows, held = own(added)
            self._turn += 1
            held += bytes_held(removed)
            self._waiting.append(Waiting(rows, removed, held, self._turn))
            self._waiting_rows += added.height + removed.height
            self._waiting_removals += removed.height > 0
            self._count(Counts(put=added.height))
        self.version = max(self.version + 1, change.version)
        self._held = self._seal()
        many = self._waiting_rows > max(SETTLE_ROWS, self._settled().height)
        if many or watched or self._waiting_removals > SETTLE_REMOVALS:
            self._held.frame()
            self._adopt()
        self.budget.hold(self, self.bytes)
        forgotten = self._counts.forgotten - before if watched else 0
        return change._replace(forgotten=forgotten, version=self.version)

    def _settled(self) -> pl.DataFrame:
        return self.empty if self._base is None else self._base

    def _seal(self) -> HeldKeys:
        base, waiting = self._settled(), tuple(self._waiting)
        return HeldKeys(base, self._turns, waiting, self.rules, self.version)

    def _count(self, more: Counts) -> None:
        pairs = zip(self._counts, more, strict=True)
        self._counts = Counts(*(mine + its for mine, its in pairs))

    def _adopt(self) -> None:
        """Go on from the assembled frame if somebody has looked at it."""
        held = self._held
        if held is None or not held.settled or not self._waiting:
            return
        self._base, self._base_bytes = held.frame(), held.bytes
        self._turns = held.turns
        self._waiting = []
        self._waiting_rows = self._waiting_removals = 0
        self._count(held.counts)

    def shrink(self) -> int:
        """Drop the older half, for the budget's sake; returns the rows dropped."""
        frame = self.held().frame()
        self._adopt()
        if not frame.height:
            return 0
        kept = self.rules.newest(frame, self._turns, frame.height // 2)
        if not self.rules.by_key:
            self._turns = kept.get_column(_TURN)
        self._base, self._base_bytes = copied_out(kept[frame.columns])
        dropped = frame.height - kept.height
        self._count(Counts(forgotten=dropped))
        self.version += 1
        self._held = None
        self.budget.hold(self, self.bytes)
        return dropped

    def clear(self) -> Change:
        """Forget everything, what was counted included; as at the beginning."""
        gone = self.held().frame().select(self.rules.key)
        self._held, self._base, self._base_bytes = None, None, 0
        self._waiting, self._counts = [], Counts()
        self._turns = self._turns.clear()
        self._waiting_rows = self._waiting_removals = 0
        self.version += 1
        self.budget.hold(self, 0)
        return Change(self.empty, gone, gone.height, self.version, None)

    @property
    def height(self) -> int:
        """Rows kept."""
        return self.held().height

    @property
    def bytes(self) -> int:
        """Bytes held by the settled rows and by the waiting changes."""
        waiting = sum(each.held for each in self._waiting)
        return self._base_bytes + 8 * len(self._turns) + waiting

    def held(self) -> Held:
        """The store as an immutable value."""
        if self._held is None:
            self._held = self._seal()
        return self._held

    def counts(self) -> Counts:
        """What happened to every row that was put (settles what waits)."""
        kept = self.held().frame().height
        self._adopt()
        return self._counts._replace(kept=kept)
