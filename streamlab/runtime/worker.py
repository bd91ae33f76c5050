"""One thread that does one thing after another; what must not wait for a network happens here.

Not a `ThreadPoolExecutor`: the interpreter joins those at exit, so a user's slow function would
hold the exit up, and their threads are gone before connections are closed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class WorkerClosedError(RuntimeError):
    """The worker takes no more work."""


class Worker:
    """A daemon thread with a queue; its methods may be called from any thread."""

    def __init__(self, name: str) -> None:
        """Make it; the thread starts with the first work."""
        self._name = name
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue `work`; returns a future of its result.

        Raises:
            WorkerClosedError: it was closed.
        """
        done: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise WorkerClosedError(f"{self._name} is closed")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=self._name, daemon=True
                )
                self._thread.start()
            self._jobs.put((done, work))
        return done

    def run(self, work: Callable[[], T]) -> T:
        """`work`, done between two other jobs; waits for it.

        On the thread itself, and once the worker is closed (then nobody else touches what it
        owned), `work` is done at once.
        """
        if threading.current_thread() is not self._thread:
            with suppress(WorkerClosedError):
                return self.submit(work).result()
        return work()

    def close(self) -> None:
        """Take no more work, end once the queue is empty; safe to call twice."""
        with self._lock:
            if not self._closed and self._thread is not None:
                self._jobs.put(None)
            self._closed = True

    def orphaned(self) -> None:
        """In a forked child, where the thread did not come along: as closed."""
        self._lock = threading.Lock()
        self._closed = True

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            done, work = job
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(work())
                except BaseException as error:  # noqa: BLE001 - told to who waits
                    done.set_exception(error)
            del (
                job,
                done,
                work,
            )  # nothing of a batch stays alive while the thread sleeps
