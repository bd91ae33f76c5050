"""FRAME: `recompute`, any query over what a frame keeps: one run at a time, on the newest version."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import polars as pl

from streamlab.errors import UsageError
from streamlab.failures import describe
from streamlab.members import Member
from streamlab.pipeline import Pipeline, Published
from streamlab.plans.nodes import Recompute


class Recomputer:
    """Runs queries on a thread of its own: one that takes long must not hold the stream back.

    `soon` and what follows a run are called on the pipeline's worker.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        worker: ThreadPoolExecutor,
        *,
        now_ms: Callable[[], int],
        done: Callable[[], None],
    ) -> None:
        """`done` is told after every run."""
        self._pipeline = pipeline
        self._worker = worker
        self._now_ms = now_ms
        self._done = done
        self._thread: ThreadPoolExecutor | None = None
        self._running: set[Member] = set()

    def soon(self, member: Member) -> None:
        """Run the query of `member`, unless it runs already: then it runs again after that."""
        if member in self._running or member.error is not None:
            return
        self._running.add(member)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "streamlab-recompute")
        with suppress(RuntimeError):  # closed meanwhile
            self._thread.submit(self._run, member)

    def close(self) -> None:
        """No more runs."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, member: Member) -> None:
        published = self._pipeline.published
        try:
            rows = evaluate(member, published)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            shown = describe(
                error, step="recompute", now_ms=self._now_ms(), good=published.records
            )
            member.fail(error, shown)
            self._done()
            return
        with suppress(RuntimeError):
            self._worker.submit(self._finish, member, rows, published.records)

    def _finish(self, member: Member, rows: pl.DataFrame, basis: int) -> None:
        member.basis = basis
        self._running.discard(member)
        self._pipeline.recomputed(member, rows)
        if basis < self._pipeline.published.records:
            self.soon(member)
        self._done()


def evaluate(member: Member, published: Published) -> pl.DataFrame:
    """A recomputed frame's rows, from one version of its parent.

    Raises:
        UsageError: the parent was stopped.
    """
    node = member.node
    if isinstance(node, Recompute):
        for parent, held in published.held.items():
            if parent.node is node.parent:
                return node.fn(parent.display(held.frame()).lazy()).collect()
    raise UsageError("what this frame is computed from was stopped.")
