"""FRAME: the left side of joins across two sources: what comes from the other one.

All but what may be asked from any thread belongs to the left source's worker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from streamlab.engine.outcome import Batch
from streamlab.errors import (
    StateLimitError,
    StreamFailedError,
    StreamlabError,
    StreamStoppedError,
)
from streamlab.frames.joinable import Joinable
from streamlab.frames.members import Member
from streamlab.frames.outlets import Outlets
from streamlab.frames.taps import Tap
from streamlab.plans.nodes import Node, others, source_of
from streamlab.runtime.worker import Worker, WorkerClosedError


@dataclass(slots=True, eq=False)
class _Line:
    """One tap, and rows of it that came before there was a join to take them."""

    tap: Tap
    outlets: Outlets
    again: Callable[[int], None]
    early: list[Batch] = field(default_factory=list)


class Crossing:
    """See the module's docstring."""

    def __init__(
        self,
        pipeline: Joinable,
        worker: Worker,
        *,
        name: str,
        changed: Callable[[], None],
        moved: Callable[[], None],
    ) -> None:
        """Nothing is joined yet.

        Args:
            pipeline: of this source.
            worker: its thread.
            name: of the source, as shown.
            changed: wakes who waits for this source's frames; from any thread.
            moved: tells this source that a join has taken something in; from any thread.
        """
        self._pipeline = pipeline
        self._worker = worker
        self._name = name
        self._changed = changed
        self._moved = moved
        self._lines: dict[int, _Line] = {}
        self._epoch = pipeline.published.epoch
        pipeline.settled = self._settle

    # -- from any thread -----------------------------------------------------------------

    def submit(self, work: Callable[[], None]) -> object:
        """As `Into`."""
        return self._worker.submit(work)

    def wake(self) -> None:
        """As `Into`."""
        self._changed()

    def has(self, node: Node) -> bool:
        """Whether the rows of a second input come, or have come."""
        return id(node) in self._lines

    def finished(self, node: Node) -> bool:
        """Whether all second inputs of `node` are at their end, and joined."""
        lines = [self._lines.get(id(each)) for each in others(node)]
        return all(line is None or (line.tap.done and line.tap.empty) for line in lines)

    def drained(self, node: Node) -> bool:
        """Whether all that the other sources of `node` have put in is joined."""
        lines = [self._lines.get(id(each)) for each in others(node)]
        return all(line is None or line.tap.empty for line in lines)

    def join(self, node: Node, member: Member, source: Crossing) -> None:
        """Take in the rows of another source's frame, what it holds first.

        Args:
            node: the second input, as it stands in joins of this source.
            member: the frame, in order.
            source: of the other source.
        """
        if not self._worker.run(lambda: id(node) not in self._lines):
            return
        theirs = source._pipeline
        tap = Tap(
            f"the join with {self._name}",
            member,
            node,
            self,
            moved=source._moved,
        )

        def send(turn: int) -> None:
            frontier, final = theirs.front(member)
            tap.first(member.seal(), frontier, final=final, turn=turn)

        def again(turn: int) -> None:
            with suppress(WorkerClosedError):  # stopped, and that is told by itself
                source.submit(lambda: send(turn))

        def begin() -> None:
            self._lines[id(node)] = _Line(tap, theirs.outlets, again)

        def connect() -> None:
            theirs.outlets.tap(tap)
            send(0)

        self._worker.run(begin)
        source._worker.run(connect)

    # -- on the worker ---------------------------------------------------------------------

    def receive(self, tap: Tap, batch: Batch, turn: int) -> None:
        """As `Into`."""
        line = self._lines.get(id(tap.node))
        if line is None or turn != tap.turn:
            return
        line.early.append(batch)
        self._settle()
        if line.early and not tap.closed:
            self._wait(line)

    def anew(self, tap: Tap) -> None:
        """As `Into`."""
        line = self._lines.get(id(tap.node))
        if line is not None:
            line.early.clear()
            self._hold(line)
            self._pipeline.rejoin(tap.node)

    def over(self, tap: Tap, error: BaseException) -> None:
        """As `Into`."""
        line = self._lines.pop(id(tap.node), None)
        if line is None:
            return
        self._drop(line)
        name = source_of(tap.node).name
        self._pipeline.lost_other(tap.node, _told(name, error))

    def _settle(self) -> None:
        """After every change of the left side: what is not needed goes, what can is joined."""
        pipeline = self._pipeline
        needed = {
            id(node)
            for member in pipeline.members
            if member.error is None
            for node in others(member.node)
        }
        for number in [each for each in self._lines if each not in needed]:
            self._drop(self._lines.pop(number))
        if self._epoch != pipeline.published.epoch:
            self._epoch = pipeline.published.epoch
            for line in self._lines.values():
                line.early.clear()
                line.tap.turn += 1
                line.again(line.tap.turn)
        for line in self._lines.values():
            while line.early and pipeline.step_other(line.tap.node, line.early[0]):
                line.early.pop(0)
                self._hold(line)

    def close(self) -> None:
        """The left source was stopped, or has failed."""
        for line in self._lines.values():
            self._drop(line)
        self._lines.clear()

    def _drop(self, line: _Line) -> None:
        line.outlets.untap(line.tap)
        line.early.clear()
        self._pipeline.budget.release(line)

    def _wait(self, line: _Line) -> None:
        """Rows wait for the first record of the left side; within the budget."""
        held, limit = self._hold(line), self._pipeline.budget.limit
        if held > limit:
            self._lines.pop(id(line.tap.node))
            self._drop(line)
            error = StateLimitError(
                f"{source_of(line.tap.node).name} has sent {held / 1e6:.1f} MB to be joined "
                f"before {self._name} had its first record; the budget of a source and all on "
                f"it is {limit / 1e6:.1f} MB. Join when both have records, or give "
                f'{self._name} more room: live(keep="1GB").'
            )
            self._pipeline.lost_other(line.tap.node, error)

    def _hold(self, line: _Line) -> int:
        held = sum(int(batch.rows.estimated_size()) for batch in line.early)
        self._pipeline.budget.hold(line, held)
        return held


def _told(name: str, error: BaseException) -> StreamlabError:
    """What a joined frame says of the other source's end."""
    if isinstance(error, StreamStoppedError):
        return StreamStoppedError(
            f"{name} was stopped, so no more rows of it can be joined. What was joined stays. "
            "Start it again and re-run this cell."
        )
    found = StreamFailedError(
        f"{name} failed, and its rows are joined here: {type(error).__name__}: {error}"
    )
    found.__cause__ = error
    return found
