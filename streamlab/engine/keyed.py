"""Row-wise steps over a window's revised rows: run on what changed, by key."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import polars as pl

from streamlab.changes import WINDOW_START
from streamlab.engine.faults import PlanError
from streamlab.engine.keys import plain
from streamlab.engine.rowwise import ROW, Chain, Result, without
from streamlab.errors import UsageError
from streamlab.plans.nodes import Node, RowWise, is_keyed, label

_SMALLEST = 64  # windows remembered before looking which are still open


class Revision(NamedTuple):
    """Rows added or changed, keys that are gone, and key columns that are not for show."""

    added: pl.DataFrame
    removed: pl.DataFrame
    hidden_key: tuple[str, ...]


class KeyedSteps:
    """Steps between a window and a frame that keeps its keys.

    The key travels in hidden copies, so a step may drop or rename it. With a filter among the
    steps, the keys that pass are remembered: a row goes into `removed` only if it was there.
    """

    def __init__(self, node: Node, by: Sequence[str], steps: Sequence[RowWise]) -> None:
        """`node`: the last step; `by`: the window's further key columns."""
        self._node = node
        self._key = (WINDOW_START, *by)
        self._shown_key = is_keyed(node)
        self._copies = [f"__key{place}" for place in range(len(self._key))]
        self.chain = Chain(steps, (*self._copies, ROW))
        self._inside: dict[int, set[Hashable]] = {}
        self._room = _SMALLEST

    def prepare(self, changed: pl.DataFrame) -> pl.DataFrame:
        """The window's changed rows (numbered), as `chain` takes them."""
        pairs = zip(self._key, self._copies, strict=True)
        return changed.hstack(
            [changed.get_column(name).alias(copy) for name, copy in pairs]
        )

    def revise(
        self, result: Result, changed: pl.DataFrame, is_open: Callable[[int], bool]
    ) -> Revision:
        """What the frame's rows became.

        Args:
            result: of `chain`, on `changed`.
            changed: the window's changed rows.
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
        gone = self._gone(changed.head(result.good), rows, is_open)
        removed = pl.DataFrame(
            [
                gone.get_column(name).alias(now)
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

    def _gone(
        self, changed: pl.DataFrame, rows: pl.DataFrame, is_open: Callable[[int], bool]
    ) -> pl.DataFrame:
        """The changed rows that were in the frame and are no longer."""
        if not self.chain.filters:
            return changed.clear()
        keys = plain(changed.select(self._key[1:]), changed.height)
        starts = changed.get_column(WINDOW_START).to_physical().to_list()
        passing = set(rows.get_column(ROW).to_list())
        gone = []
        for place, (start, key) in enumerate(zip(starts, keys, strict=True)):
            inside = self._inside.setdefault(start, set())
            if place in passing:
                inside.add(key)
            elif key in inside:
                inside.remove(key)
                gone.append(place)
        if len(self._inside) > self._room:
            self._inside = {s: keys for s, keys in self._inside.items() if is_open(s)}
            self._room = max(_SMALLEST, 2 * len(self._inside))
        return changed[gone]
