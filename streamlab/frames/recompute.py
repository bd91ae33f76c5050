"""FRAME: `recompute`, any query over what a frame keeps: one run at a time, on the newest version."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from streamlab.errors import UsageError
from streamlab.frames.members import Member, Published
from streamlab.frames.pipeline import Pipeline
from streamlab.plans.nodes import Recompute
from streamlab.runtime.worker import Worker, WorkerClosedError


class Recomputer:
    """Runs queries on a thread of its own: one that takes long must not hold the stream back.

    `soon` and what follows a run are called on the pipeline's worker.
    """

    def __init__(
        self, pipeline: Pipeline, worker: Worker, *, done: Callable[[], None]
    ) -> None:
        """`done` is told after every run."""
        self._pipeline = pipeline
        self._worker = worker
        self._done = done
        self._thread = Worker("streamlab-recompute")
        self._running: set[Member] = set()

    @property
    def busy(self) -> bool:
        """Whether a run is under way, or due."""
        return bool(self._running)

    def soon(self, member: Member) -> None:
        """Run the query of `member`, unless it runs already: then it runs again after that."""
        if member not in self._running and member.error is None:
            self._running.add(member)
            self._start(member)

    def _start(self, member: Member) -> None:
        try:
            self._thread.submit(lambda: self._run(member))
        except WorkerClosedError:  # the source was stopped: now or never
            self._run(member)

    def close(self) -> None:
        """No more runs."""
        self._thread.close()

    def orphaned(self) -> None:
        """In a forked child, where the thread did not come along."""
        self._thread.orphaned()
        self._running.clear()

    def _run(self, member: Member) -> None:
        published = self._pipeline.published
        try:
            rows = evaluate(member, published)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            failure = error
            self._worker.run(lambda: self._failed(member, failure))
        else:
            self._worker.run(lambda: self._finish(member, rows, published))
        self._done()

    def _failed(self, member: Member, error: Exception) -> None:
        if member in self._pipeline.members:
            self._pipeline.recompute_failed(member, error)
        self._running.discard(member)

    def _finish(self, member: Member, rows: pl.DataFrame, basis: Published) -> None:
        now = self._pipeline.published
        if basis.epoch == now.epoch:
            self._pipeline.recomputed(member, rows)
            member.basis = basis.records
        again = (basis.epoch, basis.records) != (now.epoch, now.records)
        if again and member.error is None and member in self._pipeline.members:
            self._start(member)
        else:
            self._running.discard(member)


def evaluate(member: Member, published: Published) -> pl.DataFrame:
    """A recomputed frame's rows, from one version of its parent.

    Raises:
        UsageError: the parent was stopped.
    """
    node, parent = member.node, member.parent
    if isinstance(node, Recompute) and parent is not None:
        held = published.held.get(parent)
        if held is not None:
            return node.fn(parent.display(held.frame()).lazy()).lazy().collect()
    raise UsageError("what this frame is computed from was stopped.")
