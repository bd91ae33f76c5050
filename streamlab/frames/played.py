"""FRAME: a source that reads by a replay clock, as the clock sees it."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Played(Protocol):
    """A source, as the clock sees it."""

    @property
    def tick(self) -> float:
        """The longest that a micro-batch may wait, seconds."""
        ...

    @property
    def name(self) -> str:
        """Of the source, as shown."""
        ...

    @property
    def held(self) -> str:
        """Why it can't go on just now ("paused"), or ""."""
        ...

    @property
    def first(self) -> int | None:
        """When its next record is due (ms); None if none is known."""
        ...

    @property
    def knows_first(self) -> bool:
        """Whether that is certain."""
        ...

    @property
    def through(self) -> int:
        """All that is due by then was read."""
        ...

    @property
    def ending(self) -> bool:
        """Whether it has nothing left but to end."""
        ...

    @property
    def over(self) -> bool:
        """Whether it has handed over its last record, and only closes."""
        ...

    @property
    def crossing(self) -> bool:
        """Whether rows of it are on their way to a join in another source."""
        ...

    async def crossed(self) -> None:
        """Return once none are."""
        ...

    def ask(self) -> int:
        """Ask the broker once more; returns how often it was asked before."""
        ...

    def answered(self, asked: int) -> bool:
        """Whether the broker has answered a question that came after the first `asked`."""
        ...

    def turn(self, moment: int) -> int | None:
        """The next moment after `moment` up to which one set of partitions holds."""
        ...

    def play(self, moment: int) -> asyncio.Future[None]:
        """Hand over what is due by `moment`; done once it is published."""
        ...
