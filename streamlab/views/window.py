"""What a page shows of one frame: kept in the kernel, told to pages as differences.

Every row shown has a number. A difference names the rows that go and brings those that come
or have changed; so the same page code serves append and keyed frames, thinned out or not.
Windows are owned by the I/O thread and know neither widgets nor loops.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from streamlab.changes import Change
from streamlab.views.encode import simple
from streamlab.views.thinning import Plan, bin_width, extremes, fits

Ids = npt.NDArray[np.int64]
_NO_IDS: Ids = np.empty(0, np.int64)


class Delta(NamedTuple):
    """How a page gets from one state to the next.

    Attributes:
        rows: rows that are new or have changed.
        ids: their numbers.
        gone: numbers of rows that go.
        reset: forget everything first; `rows` is all there is.
    """

    rows: pl.DataFrame
    ids: Ids
    gone: Ids
    reset: bool

    @property
    def empty(self) -> bool:
        """Nothing would change in the page."""
        return not (self.reset or len(self.ids) or len(self.gone))


class Window(Protocol):
    """The rows that pages should show of one frame."""

    @property
    def thinned(self) -> str:
        """How the rows were chosen ("newest", "sample", "extremes"), "" if all are shown."""
        ...

    @property
    def rows(self) -> pl.DataFrame:
        """The rows to show, with all columns that are known of them."""
        ...

    def load(self, frame: pl.DataFrame) -> None:
        """Begin again with the frame's rows."""
        ...

    def apply(self, change: Change) -> None:
        """Follow a change of the frame."""
        ...

    @property
    def lost(self) -> bool:
        """A change can't be followed without the whole frame: `load` is needed."""
        ...

    def take(self) -> Delta:
        """The difference since the last `take`; from now on pages are taken to have it."""
        ...

    def shown(self) -> Delta:
        """All that pages have since the last `take`, for a new page."""
        ...


class _Shown:
    """Pages' side of a window: what was sent, and the difference to what should be shown."""

    def __init__(self) -> None:
        self.rows = pl.DataFrame()
        self.ids = _NO_IDS
        self.hashes: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._reset = True

    def begin_again(self) -> None:
        self._reset = True

    def move_to(self, rows: pl.DataFrame, ids: Ids, *, revised: bool) -> Delta:
        """Make `rows` what pages have; `revised` if rows may change under their number."""
        hashes = (
            rows.hash_rows().to_numpy() if revised and rows.width else self.hashes[:0]
        )
        if self._reset:
            delta = Delta(rows, ids, _NO_IDS, reset=True)
        else:
            same = np.isin(ids, self.ids, assume_unique=True)
            if revised and same.any():
                same[same] = self._hashes_of(ids[same]) == hashes[same]
            fresh = ~same
            gone = np.setdiff1d(self.ids, ids, assume_unique=True)
            delta = Delta(rows.filter(pl.Series(fresh)), ids[fresh], gone, reset=False)
        self.rows, self.ids, self.hashes, self._reset = rows, ids, hashes, False
        return delta

    def _hashes_of(self, ids: Ids) -> npt.NDArray[np.uint64]:
        order = np.argsort(self.ids)
        found: npt.NDArray[np.uint64] = self.hashes[
            order[np.searchsorted(self.ids, ids, sorter=order)]
        ]
        return found

    def all(self) -> Delta:
        return Delta(self.rows, self.ids, _NO_IDS, reset=True)


class AppendWindow:
    """Rows that never change, numbered in order of arrival."""

    def __init__(self, plan: Plan, columns: tuple[str, ...] | None) -> None:
        """Show nothing yet."""
        self.lost = False
        self._plan = plan
        self._columns = columns
        self._shown = _Shown()
        self._kept = 0  # rows the frame keeps, shown or not
        self._how = ""
        self._next = 0
        self._rows = pl.DataFrame()
        self._ids = _NO_IDS
        self._width = 0.0  # of a bin; 0 while all rows fit
        self._every = 1

    @property
    def thinned(self) -> str:
        return self._how if self._kept > self._rows.height else ""

    @property
    def rows(self) -> pl.DataFrame:
        return self._rows

    def load(self, frame: pl.DataFrame) -> None:
        self._shown.begin_again()
        self._rows, self._ids = _prepared(frame.clear(), self._columns), _NO_IDS
        self._width, self._every = 0.0, 1
        self._kept, self._how, self.lost = 0, "", False
        self._add(frame)

    def apply(self, change: Change) -> None:
        self._add(change.added)
        if change.forgotten:
            self._kept = max(0, self._kept - change.forgotten)
            keep = self._ids >= self._next - self._kept
            self._select(pl.Series(keep))
            # After forgetting, a coarse picture of few rows: look at the frame again.
            coarse = bool(self._width) or self._every > 1
            self.lost = self.lost or (coarse and self._kept <= self._plan.rows // 2)

    def take(self) -> Delta:
        return self._shown.move_to(self._rows, self._ids, revised=False)

    def shown(self) -> Delta:
        return self._shown.all()

    def _add(self, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        rows = _prepared(frame, self._columns)
        ids = np.arange(self._next, self._next + rows.height, dtype=np.int64)
        self._next += rows.height
        self._kept += rows.height
        if self._every > 1:
            rows, ids = (
                rows.filter(pl.Series(ids % self._every == 0)),
                ids[ids % self._every == 0],
            )
        elif self._plan.how == "newest" and rows.height > self._plan.rows:
            rows, ids = rows.tail(self._plan.rows), ids[-self._plan.rows :]
            self._how = "newest"
        # Gathered into one piece, so that a few rows do not hold the batches they came in.
        self._rows = (
            pl.concat([self._rows, rows], rechunk=True) if self._rows.width else rows
        )
        self._ids = np.concatenate([self._ids, ids])
        if self._rows.height > self._plan.rows or self._width:
            self._thin()

    def _thin(self) -> None:
        plan = self._plan
        if plan.how == "sample":
            self._sample()
        elif plan.how == "extremes" and fits(plan, self._rows.schema):
            self._keep_extremes()
        else:
            self._select(pl.Series(self._ids >= self._ids[-1] - plan.rows + 1))
            self._how = "newest"

    def _sample(self) -> None:
        self._how = "sample"
        while self._rows.height > self._plan.rows:
            self._every *= 2
            self._select(pl.Series(self._ids % self._every == 0))

    def _keep_extremes(self) -> None:
        self._how = "extremes"
        self._width = self._width or bin_width(self._rows, self._plan) or 1.0
        chosen = extremes(self._rows, self._plan, self._width)
        for _ in range(64):  # each round halves the bins
            if len(chosen) <= self._plan.rows:
                break
            self._width *= 2
            chosen = extremes(self._rows, self._plan, self._width)
        self._rows, self._ids = self._rows[chosen], self._ids[chosen.to_numpy()]

    def _select(self, mask: pl.Series) -> None:
        self._rows, self._ids = self._rows.filter(mask), self._ids[mask.to_numpy()]


class KeyedWindow:
    """Rows that are replaced by key; each key has a number as long as it is shown.

    Above its budget it shows the newest by time.
    """

    def __init__(
        self,
        plan: Plan,
        columns: tuple[str, ...] | None,
        key: tuple[str, ...],
        time: str | None,
    ) -> None:
        """Show nothing yet.

        Args:
            plan: of which only the budget counts.
            columns: to show; None for all.
            key: the key columns.
            time: the column that says which rows are newest; None: those that came last.
        """
        self.lost = False
        self._cut = False  # some rows of the frame are not among ours,
        self._older = 0  # at least so many, all of them older than ours
        self._plan, self._columns, self._key, self._time = plan, columns, key, time
        self._shown = _Shown()
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._next = 0
        self._rows = pl.DataFrame()  # whole rows: the key may not be among `columns`
        self._ids = _NO_IDS

    @property
    def thinned(self) -> str:
        return "newest" if self._cut else ""

    @property
    def rows(self) -> pl.DataFrame:
        return self._rows

    def load(self, frame: pl.DataFrame) -> None:
        rows = simple(frame)
        keys = self._keys(rows)
        self._numbers = {key: self._number(key) for key in keys}
        ids = np.fromiter(self._numbers.values(), np.int64, len(self._numbers))
        self.lost = self._cut = False
        self._rows, self._ids = rows, ids
        self._older = len(self._fit())

    def apply(self, change: Change) -> None:
        if change.removed.height:
            self._drop(self._keys(simple(change.removed)))
        if change.added.height:
            self._upsert(simple(change.added))
        # The frame forgets its first by key. Once those may be among ours, or rows come back
        # into view, only the frame itself knows which.
        self._older -= change.forgotten
        by_time = self._key[:1] == (self._time,)
        gap = self._cut and self._rows.height < self._plan.rows
        hidden_key = change.added.width and not set(self._key) <= set(
            change.added.columns
        )
        if self._older < 0 or (change.forgotten and not by_time) or gap or hidden_key:
            self.lost = True

    def take(self) -> Delta:
        rows = self._rows
        if self._columns is not None and rows.width:
            rows = rows.select(name for name in self._columns if name in rows.columns)
        return self._shown.move_to(rows, self._ids, revised=True)

    def shown(self) -> Delta:
        return self._shown.all()

    def _keys(self, rows: pl.DataFrame) -> list[tuple[Any, ...]]:
        if not set(self._key) <= set(rows.columns):
            return [(row,) for row in range(rows.height)]
        keys = rows.select(self._key)
        # NaN equals no NaN in Python, but is one key in polars.
        floats = [name for name, dtype in keys.schema.items() if dtype.is_float()]
        texts = (pl.col(name).cast(pl.String) for name in floats)
        return keys.with_columns(texts).rows()

    def _number(self, key: tuple[Any, ...]) -> int:
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = self._next
            self._next += 1
        return found

    def _drop(self, keys: list[tuple[Any, ...]]) -> None:
        gone = [self._numbers.pop(key) for key in keys if key in self._numbers]
        self._older = max(0, self._older - (len(keys) - len(gone)))
        self._select(~np.isin(self._ids, gone))

    def _upsert(self, rows: pl.DataFrame) -> None:
        keys, known = self._keys(rows), self._next
        ids = np.fromiter((self._number(key) for key in keys), np.int64, len(keys))
        self._select(~np.isin(self._ids, ids))
        self._rows = (
            pl.concat([self._rows, rows], rechunk=True) if self._rows.width else rows
        )
        self._ids = np.concatenate([self._ids, ids])
        # A key from here on may be one that was cut before: it is not counted twice.
        self._older += int((self._fit() < known).sum())

    def _fit(self) -> Ids:
        """Keep the newest rows of the budget; returns the numbers of the others."""
        over = self._rows.height - self._plan.rows
        if over <= 0:
            return _NO_IDS
        self._cut = True
        by_age = [
            name for name in (self._time, *self._key) if name in self._rows.columns
        ]
        order = np.arange(self._rows.height)
        if self._time in by_age:
            order = self._rows.select(pl.arg_sort_by(by_age)).to_series().to_numpy()
        keep = np.ones(self._rows.height, bool)
        keep[order[:over]] = False
        cut = self._ids[~keep]
        self._select(keep)
        gone = set(cut.tolist())
        self._numbers = {k: n for k, n in self._numbers.items() if n not in gone}
        return cut

    def _select(self, keep: npt.NDArray[np.bool_]) -> None:
        if not keep.all():
            self._rows, self._ids = self._rows.filter(pl.Series(keep)), self._ids[keep]


def _prepared(frame: pl.DataFrame, columns: tuple[str, ...] | None) -> pl.DataFrame:
    if columns is not None:
        frame = frame.select(name for name in columns if name in frame.columns)
    return simple(frame)
