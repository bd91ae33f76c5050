"""FRAME: rows of one source on their way to a join that lives in another source.

The right side of a join has its own source, thread and pace. Whatever a micro-batch does to its
frame, were it only that time goes on, is handed to the left source's worker. As with a sink, two
micro-batches may wait; while they do, the right source hands nothing over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from streamlab.engine.outcome import Batch, Outcome
from streamlab.frames.members import Member
from streamlab.frames.store import Held
from streamlab.plans.nodes import Node
from streamlab.runtime.worker import WorkerClosedError

ROOM = 2  # micro-batches that wait for the left side


class Into(Protocol):
    """The left side; everything but `submit` and `wake` happens on its worker."""

    def submit(self, work: Callable[[], None]) -> object:
        """Have its worker do something.

        Raises:
            WorkerClosedError: it was stopped.
        """
        ...

    def receive(self, tap: Tap, batch: Batch, turn: int) -> None:
        """Rows; of an earlier `turn` than the tap's own they are not wanted any more."""
        ...

    def anew(self, tap: Tap) -> None:
        """The right source begins anew."""
        ...

    def over(self, tap: Tap, error: BaseException) -> None:
        """Nothing more will come, before the end."""
        ...

    def wake(self) -> None:
        """Whoever waits looks again; from any thread."""
        ...


class Tap:
    """Filled by the right source's worker, emptied by the left one's.

    Attributes:
        name: of the join that reads, as shown.
        member: the right side's frame.
        node: its plan, as it stands in the join.
        turn: how often the left side has asked for everything again; its worker's.
        closed: whether nobody joins any more.
        done: whether the right side has come to its end, or broken off.
    """

    def __init__(
        self,
        name: str,
        member: Member,
        node: Node,
        into: Into,
        *,
        moved: Callable[[], None],
    ) -> None:
        """Nothing waits yet; `moved` is told, from any thread, when something was taken."""
        self.name = name
        self.member = member
        self.node = node
        self.turn = 0
        self.done = False
        self._into = into
        self._moved = moved
        self._sending = 0
        self._offered: list[Batch] = []
        self._waiting = 0
        self.closed = False
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether the right source must wait."""
        return not self.closed and self._waiting >= ROOM

    @property
    def empty(self) -> bool:
        """Whether all that the right side has put in is joined."""
        return self.closed or not (self._waiting or self._offered)

    def offer(self, outcome: Outcome) -> None:
        """What a micro-batch did to the frame; before it is published."""
        rows = outcome.change.added
        if rows.width and not self.closed:
            holding = frozenset({0})
            self._offered.append(Batch(rows, holding, outcome.final, outcome.frontier))

    def first(
        self, held: Held, frontier: int | None, *, final: bool, turn: int
    ) -> None:
        """What the frame holds when the join begins, or begins again."""
        self._offered.clear()
        self._sending = turn
        self.done = final
        rows = held.frame()
        if rows.width:
            self._offered.append(Batch(rows, frozenset({0}), final, frontier))
            self.put()

    def put(self) -> None:
        """The micro-batch is published: hand it over."""
        offered, self._offered = self._offered, []
        turn = self._sending
        for batch in offered:
            self._send(lambda batch=batch: self._into.receive(self, batch, turn))  # type: ignore[misc]
            self.done = self.done or batch.final

    def anew(self) -> None:
        """The right source begins anew."""
        self._offered.clear()
        self.done = False
        self._send(lambda: self._into.anew(self))

    def broke(self, error: BaseException) -> None:
        """The right side was stopped, or has failed."""
        self.done = True
        self._send(lambda: self._into.over(self, error))

    def wake(self) -> None:
        """The right side has moved; from any thread."""
        self._into.wake()

    def close(self) -> None:
        """Nobody joins any more."""
        self.closed = True
        self._offered.clear()
        self._moved()

    def _send(self, work: Callable[[], None]) -> None:
        if self.closed:
            return
        with self._lock:
            self._waiting += 1

        def deliver() -> None:
            try:
                if not self.closed:
                    work()
            finally:
                with self._lock:
                    self._waiting -= 1
                # Only now, or who waits for the tap to be empty would look too early.
                self._moved()
                self._into.wake()

        try:
            self._into.submit(deliver)
        except WorkerClosedError:  # the left source was stopped
            self.close()
