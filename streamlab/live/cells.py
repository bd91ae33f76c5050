"""Re-running a cell is safe: what an earlier run of the same cell made is stopped.

By cell, not by garbage collection: `Out[]`, tracebacks and children keep objects alive. After a
cell has run, each thing that an earlier run of it made is replaced; it is stopped unless
something that was not itself replaced still needs it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streamlab.clocks import SYSTEM
from streamlab.runtime.kernel import Cell, after_cell, current_cell, variable_name


class Replaceable(Protocol):
    """Something a cell made: a live frame, a chart, a table."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        ...

    def needs(self) -> Sequence[Replaceable]:
        """What it can't go on without."""
        ...

    def retire(self) -> None:
        """Give up connection, task, state and widget model; returns at once."""
        ...


class Replaced(NamedTuple):
    """That a later run of its cell took a thing's place.

    Attributes:
        by: that run.
        number: its place in the order in which things are made and replaced.
        when_ms: wall time.
    """

    by: Cell
    number: int
    when_ms: int

    def affects(self, entry: Entry) -> bool:
        """Whether a thing that reads the replaced one should be made anew.

        Not if the replacing run itself made it (`live = live.filter(…)`), nor if it was made
        later: whoever made it knew.
        """
        same = entry.cell is not None and entry.cell.run == self.by.run
        return entry.number < self.number and not same


@dataclass(slots=True)
class Entry:
    """One thing and the run of the cell that made it.

    Attributes:
        name: the variable it was bound to when a cell had last run.
    """

    thing: Replaceable
    cell: Cell | None
    number: int
    replaced: Replaced | None = None
    name: str = ""


class Cells:
    """All that was made and not stopped yet, in order of making."""

    def __init__(self) -> None:
        """Nothing yet; hooks are set with the first thing made in a cell."""
        self.entries: list[Entry] = []
        self._numbers = itertools.count()
        self._hooked = False

    def made(self, thing: Replaceable) -> Entry:
        """Remember a thing that the running cell has made."""
        entry = Entry(thing, current_cell(), next(self._numbers))
        self.entries.append(entry)
        if entry.cell is not None and not self._hooked:
            self._hooked = True
            after_cell(self._ran)
        return entry

    def unlisted(self, thing: Replaceable) -> Entry:
        """An entry for a part of another thing: it lives and goes with that one."""
        return Entry(thing, current_cell(), next(self._numbers))

    def gone(self, thing: Replaceable) -> None:
        """Forget a thing that was stopped."""
        self.entries = [e for e in self.entries if e.thing is not thing]

    def _ran(self, success: bool) -> None:  # noqa: FBT001 - IPython's callback
        """A cell has run; a failed one replaces nothing, its earlier run goes on."""
        for entry in self.entries:
            entry.name = variable_name(entry.thing) or entry.name
        cell = current_cell()
        if success and cell is not None:
            self.replace(cell)

    def replace(self, cell: Cell) -> None:
        """Stop what earlier runs of `cell` made and nobody else needs."""
        mark = Replaced(cell, next(self._numbers), SYSTEM.now_ms())
        for entry in self.entries:
            mine = entry.cell
            if mine is not None and mine.id == cell.id and mine.run != cell.run:
                entry.replaced = entry.replaced or mark
        needed = self._needed()
        unneeded = [
            e
            for e in self.entries
            if e.replaced is not None and id(e.thing) not in needed
        ]
        for entry in reversed(unneeded):  # what hangs on a frame goes before the frame
            entry.thing.retire()
            self.gone(entry.thing)

    def _needed(self) -> set[int]:
        """All that things not replaced need, directly or not."""
        needed: set[int] = set()
        queue = [e.thing for e in self.entries if e.replaced is None]
        while queue:
            thing = queue.pop()
            if id(thing) not in needed:
                needed.add(id(thing))
                queue.extend(thing.needs())
        return needed

    def each(self, visit: Callable[[Entry], None]) -> None:
        """Call `visit` for all entries, newest first; it may remove them."""
        for entry in reversed(list(self.entries)):
            visit(entry)


CELLS = Cells()
