"""Row-wise steps over revised rows (of windows, groups, joins): run on what changed, by key."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import polars as pl

from streamlab.changes import JOINED
from streamlab.engine.faults import PlanError
from streamlab.engine.keys import plain
from streamlab.engine.rowwise import ROW, Chain, Result, without
from streamlab.errors import UsageError
from streamlab.plans.nodes import (
    Node,
    Revising,
    RowWise,
    Window,
    is_keyed,
    key_columns,
    label,
)

_SMALLEST = 64  # windows remembered before looking which are still open


class Revision(NamedTuple):
    """Rows added or changed, keys that are gone, and key columns that are not for show."""

    added: pl.DataFrame
    removed: pl.DataFrame
    hidden_key: tuple[str, ...]


class KeyedSteps:
    """Steps between a stage that revises its rows and a frame that keeps its keys.

    The key travels in hidden copies, so a step may drop or rename it. With a filter among the
    steps, the keys that pass are remembered: a row goes into `removed` only if it was there.
    """

    def __init__(self, node: Node, reviser: Revising, steps: Sequence[RowWise]) -> None:
        """`node`: the last step; `reviser`: what its rows come from."""
        self._node = node
        self._key = key_columns(reviser)
        self._windowed = isinstance(reviser, Window)
        self._shown_key = is_keyed(node)
        self._copies = [f"__key{place}" for place in range(len(self._key))]
        self.chain = Chain(steps, (*self._copies, ROW))
        self._inside: dict[int, set[Hashable]] = {}
        self._room = _SMALLEST

    def prepare(self, changed: pl.DataFrame) -> pl.DataFrame:
        """The changed rows (numbered), as `chain` takes them."""
        pairs = zip(self._key, self._copies, strict=True)
        with_copies = changed.hstack(
            [changed.get_column(name).alias(copy) for name, copy in pairs]
        )
        return without(with_copies, (JOINED,))

    def revise(
        self,
        result: Result,
        changed: pl.DataFrame,
        gone: pl.DataFrame | None,
        is_open: Callable[[int], bool],
    ) -> Revision:
        """What the frame's rows became.

        Args:
            result: of `chain`, on `changed`.
            changed: the changed rows.
            gone: rows of keys that are gone, changed ones not among them; None for none.
            is_open: whether a window that starts then may still change.

        Raises:
            PlanError: a step put something else in place of a key column.
        """
        rows = result.rows
        names = dict(zip(self._copies, self._shown_key, strict=True))
        shown = without(rows, (*self._copies, ROW))
        hidden = [name for name in self._shown_key if name not in shown.columns]
        self._check_key(shown, rows, names)
        behind = [
            pl.col(copy).alias(name) for copy, name in names.items() if name in hidden
        ]
        added = shown.hstack(rows.select(behind)) if behind else shown
        left = self._left(changed.head(result.good), rows)
        if gone is not None and gone.height:
            left = pl.concat([left.select(self._key), self._let_go(gone)])
        self._forget(is_open)
        removed = pl.DataFrame(
            [
                left.get_column(name).alias(now)
                for name, now in zip(self._key, self._shown_key, strict=True)
            ]
        )
        return Revision(added, removed, tuple(hidden))

    def _check_key(
        self, shown: pl.DataFrame, rows: pl.DataFrame, names: dict[str, str]
    ) -> None:
        for copy, name in names.items():
            if name not in shown.columns:
                continue
            there, kept = shown.get_column(name), rows.get_column(copy)
            if there.dtype != kept.dtype or not there.equals(kept.alias(name)):
                problem = UsageError(
                    f"{label(self._node)}: {name!r} is part of the key that rows are replaced "
                    f"by, and a step put other values there. Give them another name."
                )
                raise PlanError(problem, self._node)

    def _left(self, changed: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """The changed rows that were in the frame and do not pass any more."""
        if not self.chain.filters:
            return changed.clear()
        passing = set(rows.get_column(ROW).to_list())
        gone = []
        for place, (start, key) in enumerate(self._keys(changed)):
            inside = self._inside.setdefault(start, set())
            if place in passing:
                inside.add(key)
            elif key in inside:
                inside.remove(key)
                gone.append(place)
        return changed[gone]

    def _let_go(self, gone: pl.DataFrame) -> pl.DataFrame:
        """Keys that the stage itself let go of, as far as they are in the frame."""
        gone = gone.select(self._key)
        if not self.chain.filters:
            return gone
        there = []
        for place, (start, key) in enumerate(self._keys(gone)):
            inside = self._inside.get(start, set())
            if key in inside:
                inside.remove(key)
                there.append(place)
        return gone[there]

    def _forget(self, is_open: Callable[[int], bool]) -> None:
        """Windows that can't change any more need not be remembered."""
        if self._windowed and len(self._inside) > self._room:
            self._inside = {s: keys for s, keys in self._inside.items() if is_open(s)}
            self._room = max(_SMALLEST, 2 * len(self._inside))

    def _keys(self, rows: pl.DataFrame) -> list[tuple[int, Hashable]]:
        """Of each row the window's start (0 where there are no windows) and the rest."""
        if not self._windowed:
            keys = plain(rows.select(self._key), rows.height)
            return [(0, key) for key in keys]
        keys = plain(rows.select(self._key[1:]), rows.height)
        starts = rows.get_column(self._key[0]).to_physical().to_list()
        return list(zip(starts, keys, strict=True))
