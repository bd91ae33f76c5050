"""Re-running a cell is safe: what an earlier run of the same cell made is stopped.

By cell, not by garbage collection: `Out[]`, tracebacks and children keep objects alive. After a
cell has run, each thing that an earlier run of it made is replaced; it is stopped unless
something that was not itself replaced still needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamlab.clocks import SYSTEM
from streamlab.runtime.kernel import Cell, after_cell, current_cell


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


@dataclass(slots=True)
class Entry:
    """One thing and the run of the cell that made it."""

    thing: Replaceable
    cell: Cell | None
    replaced_ms: int | None = None
    name: str = ""  # what the user called it before a later run took the name over


class Cells:
    """All that was made and not stopped yet, in order of making."""

    def __init__(self) -> None:
        """Nothing yet; hooks are set with the first thing made in a cell."""
        self.entries: list[Entry] = []
        self._hooked = False

    def made(self, thing: Replaceable) -> Entry:
        """Remember a thing that the running cell has made."""
        entry = Entry(thing, current_cell())
        self.entries.append(entry)
        if entry.cell is not None and not self._hooked:
            self._hooked = True
            after_cell(self._ran)
        return entry

    def gone(self, thing: Replaceable) -> None:
        """Forget a thing that was stopped."""
        self.entries = [e for e in self.entries if e.thing is not thing]

    def entry(self, thing: Replaceable) -> Entry | None:
        """What is known of a thing, or None."""
        return next((e for e in self.entries if e.thing is thing), None)

    def _ran(self, success: bool) -> None:  # noqa: FBT001 - IPython's callback
        """A cell has run; a failed one replaces nothing, its earlier run goes on."""
        cell = current_cell()
        if success and cell is not None:
            self.replace(cell)

    def replace(self, cell: Cell) -> None:
        """Stop what earlier runs of `cell` made and nobody else needs."""
        for entry in self.entries:
            mine = entry.cell
            if mine is not None and mine.id == cell.id and mine.run != cell.run:
                entry.replaced_ms = entry.replaced_ms or SYSTEM.now_ms()
        needed = self._needed()
        unneeded = [
            e
            for e in self.entries
            if e.replaced_ms is not None and id(e.thing) not in needed
        ]
        for entry in reversed(unneeded):  # what hangs on a frame goes before the frame
            entry.thing.retire()
            self.gone(entry.thing)

    def _needed(self) -> set[int]:
        """All that things not replaced need, directly or not."""
        needed: set[int] = set()
        queue = [e.thing for e in self.entries if e.replaced_ms is None]
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
