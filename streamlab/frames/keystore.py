"""FRAME: a keyed frame's rows: the last word on every key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.changes import Change
from streamlab.frames.room import Room
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
RUN = 8  # so many changes wait before they become one
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
    _fresh: int = 0  # waiting changes that have not been put together yet
    _room: Room | None = None

    def put(self, change: Change, *, watched: bool = False) -> Change:
        """Take new and changed rows, and the keys that are gone.

        Args:
            change: a keyed frame's change.
            watched: whether somebody must be told how many rows were forgotten; it takes
                settling them now, unless it is sure that none was.
        """
        self._adopt()
        before = self._counts.forgotten
        added, removed = change.added, change.removed
        if added.height or removed.height:
            rows, held = own(added)
            self._turn += 1
            held += bytes_held(removed)
            self._wait(Waiting(rows, removed, held, self._turn))
            self._count(Counts(put=added.height))
        self.version = max(self.version + 1, change.version)
        many = self._waiting_rows > max(SETTLE_ROWS, self._settled().height)
        many = many or self._waiting_removals > SETTLE_REMOVALS
        settle = many or (watched and not self._forget())
        self._held = self._seal()
        if settle:
            self._held.frame()
            self._adopt()
        self.budget.hold(self, self.bytes)
        forgotten = self._counts.forgotten - before if watched else 0
        return change._replace(forgotten=forgotten, version=self.version)

    def _wait(self, change: Waiting) -> None:
        """Let a change wait, and now and then make one of many.

        Then what waits is as large as the keys it touches, however often they change.
        """
        self._waiting.append(change)
        if self._room is not None:
            self._room.add(change.added)
        self._waiting_rows += change.added.height + change.removed.height
        self._waiting_removals += change.removed.height > 0
        self._fresh += 1
        if self._fresh < RUN or not self.rules.by_key:  # whose turns must stay apart
            return
        self._fresh = count = rows = 0
        for each in reversed(self._waiting):
            if each.removed.height or (count and each.added.height > 4 * rows):
                break
            count, rows = count + 1, rows + each.added.height
        if count > 1:
            frames = [each.added for each in self._waiting[-count:]]
            merged = pl.concat(frames).unique(
                subset=self.rules.key, keep="last", maintain_order=True
            )
            added, held = own(merged)
            self._waiting[-count:] = [Waiting(added, change.removed, held, change.turn)]
            self._waiting_rows -= rows - added.height
            self._count(Counts(replaced=rows - added.height))

    def _forget(self) -> bool:
        """Drop what must go, if that are the first rows of the settled frame; False if it takes
        settling to tell.
        """
        if not self.rules.by_key:
            keep, most = self.rules.keep, self._settled().height + self._waiting_rows
            return keep.bytes is None and (keep.rows is None or most <= keep.rows)
        if self._room is None:
            self._room = Room(self.rules.key, self.rules.keep, self._settled())
            for each in self._waiting:
                self._room.add(each.added)
        gone = self._room.excess()
        if gone and self._waiting_removals:  # of which nobody knows what they remove
            return False
        if gone:
            self._base = self._settled().slice(gone)
            self._room.cut(gone)
            self._count(Counts(forgotten=gone))
        return gone is not None

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
        self._nothing_waits()
        self._count(held.counts)

    def _nothing_waits(self) -> None:
        self._waiting, self._room = [], None
        self._fresh = self._waiting_rows = self._waiting_removals = 0

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
        self._room = None
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
        self._nothing_waits()
        self._counts = Counts()
        self._turns = self._turns.clear()
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
