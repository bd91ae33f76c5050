"""The I/O loop: one daemon thread with an asyncio loop, beside whatever the user runs.

Four parts. `IoLoop` owns the thread and the tasks on it, each with somebody who hears of its
end. `IoLoop.call` is the sync door: a plain function waits there for a coroutine. `UserCalls`
carries callbacks back to the user's own thread. `io()` hands out the process's one loop; it
starts with the first use, never on import, and is forgotten in a forked child.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.thread  # its exit hook must be there before ours
import contextvars
import functools
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from streamlab.errors import WaitTimeoutError, WrongLoopError
from streamlab.runtime import kernel

T = TypeVar("T")
CLOSE_SECONDS = 2.0  # a kernel is killed about 2.5 s after it was asked to end
log = logging.getLogger("streamlab")


class WaitInterrupted(KeyboardInterrupt):
    """A waiting call was interrupted; what it waited for goes on.

    IPython shows `_render_traceback_` instead of a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class UserCalls:
    """Callbacks on their way to the user's thread.

    They run on the notebook kernel's loop between cells, and inside any waiting call while one
    blocks that loop. In a script without a loop they run inside waiting calls alone.
    """

    def __init__(self) -> None:
        """Start empty, with nobody waiting."""
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()

    def put(self, call: Callable[[], None]) -> None:
        """Queue `call`; from any thread, returns at once."""
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        kernel.soon(self.run_pending)

    def wake(self) -> None:
        """Let waiting calls look again."""
        with self._changed:
            self._changed.notify_all()

    def run_pending(self) -> None:
        """Run what is queued, on this thread."""
        while True:
            with self._changed:
                if not self._calls:
                    return
                call = self._calls.popleft()
            call()

    def wait_for(
        self, future: concurrent.futures.Future[T], timeout: float | None, *, note: str
    ) -> T:
        """Block until `future` is done, serving callbacks meanwhile.

        Raises:
            WaitTimeoutError: `timeout` seconds passed.
            WaitInterrupted: the user interrupted; the message is `note`.
        """
        serve = threading.current_thread() is threading.main_thread()
        future.add_done_callback(lambda _: self.wake())
        clock = _Deadline(timeout)
        try:
            while not future.done():
                with self._changed:
                    if not future.done() and not (serve and self._calls):
                        self._changed.wait(clock.left())
                if serve:
                    self.run_pending()
                if clock.over() and not future.done():
                    raise WaitTimeoutError(  # noqa: TRY301 - cancels the work on its way out
                        f"after {timeout:g} s there is no answer."
                    )
            return future.result()
        except KeyboardInterrupt as interrupt:
            future.cancel()
            if isinstance(interrupt, WaitInterrupted) or not note:
                raise
            raise WaitInterrupted(note) from None
        except BaseException:
            future.cancel()
            raise


class _Deadline:
    """How much of a time-out is left; None is for ever."""

    def __init__(self, seconds: float | None) -> None:
        from streamlab.clocks import SYSTEM

        self._clock = SYSTEM
        self._end = None if seconds is None else SYSTEM.running() + seconds

    def left(self) -> float | None:
        return (
            None if self._end is None else max(0.0, self._end - self._clock.running())
        )

    def over(self) -> bool:
        return self._end is not None and self._clock.running() >= self._end


class Closer(NamedTuple):
    """What must be closed when the process ends, and forgotten in a forked child."""

    close: Callable[[], Awaitable[None]]
    orphaned: Callable[[], None]
    last: bool


class Supervised:
    """A task on the I/O loop, as seen from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Not started yet."""
        self._loop = loop
        self.task: asyncio.Task[None] | None = None
        self._unwanted = False

    def cancel(self) -> None:
        """Cancel it; on the I/O loop only."""
        self._unwanted = True
        if self.task is not None:
            self.task.cancel()

    async def ended(self, most: float) -> None:
        """Return once it has ended, or after `most` seconds; on the I/O loop only."""
        if self.task is not None:
            await asyncio.wait({self.task}, timeout=most)


class IoLoop:
    """The thread `streamlab-io`, its asyncio loop and the tasks that live there."""

    def __init__(self) -> None:
        """Start the thread and wait until its loop runs."""
        self.user_calls = UserCalls()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closers: list[Closer] = []
        self._closed = False
        self._ready = threading.Event()
        self._context = contextvars.Context()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, name="streamlab-io", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        kernel.before_exit(self.close)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self._context.run(kernel.own_thread)
        self.loop.call_soon(self._ready.set)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    @property
    def running(self) -> bool:
        """Whether work can still be given to it."""
        return not self._closed and self._thread.is_alive()

    def here(self) -> bool:
        """Whether the caller is on the I/O thread itself."""
        return threading.current_thread() is self._thread

    def post(self, call: Callable[[], object], delay: float = 0.0) -> None:
        """Run `call` on the I/O thread, after `delay` seconds; from any thread."""
        if not self.running:
            return
        # Not in the caller's context: a cell would become the parent of what is sent, and the
        # page's answers would wait until that cell is over.
        context = self._context
        if delay <= 0:
            self.loop.call_soon_threadsafe(call, context=context)
        else:
            self.loop.call_soon_threadsafe(
                lambda: self.loop.call_later(delay, call, context=context),
                context=context,
            )

    def spawn(
        self,
        work: Coroutine[Any, Any, None],
        *,
        name: str,
        failed: Callable[[BaseException], None],
    ) -> Supervised:
        """Run `work` as a supervised task; from any thread.

        Args:
            work: the coroutine.
            name: of the task, for logs.
            failed: is told, on the I/O loop, if it ends with an error; cancelling is not one.
        """
        handle = Supervised(self.loop)

        def start() -> None:
            if handle._unwanted:  # noqa: SLF001 - one noun in two classes
                work.close()
                return
            handle.task = self.loop.create_task(work, name=name)
            self._tasks.add(handle.task)
            handle.task.add_done_callback(ended)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                failed(error)

        if self.here():
            start()
        else:
            self.loop.call_soon_threadsafe(start)
        return handle

    def call(
        self,
        work: Coroutine[Any, Any, T],
        *,
        twin: str,
        timeout: float | None = None,
        note: str = "Stopped waiting.",
    ) -> T:
        """Wait, as a plain call, for `work` done on the I/O loop.

        Args:
            work: the coroutine.
            twin: how async code writes the same call, for the error.
            timeout: seconds; None waits for ever.
            note: what an interrupt says instead of a traceback.

        Raises:
            WrongLoopError: the caller is inside a running event loop that is not the
                notebook's: waiting there would stop that loop.
            WaitTimeoutError: the time-out passed; the work is cancelled.
        """
        if self.here() or in_foreign_loop():
            work.close()
            raise WrongLoopError(
                "a waiting call inside a running event loop would stop that loop. "
                f"Write: await {twin}"
            )
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        return self.user_calls.wait_for(future, timeout, note=note)

    async def bridge(self, work: Coroutine[Any, Any, T]) -> T:
        """Await, on the caller's own loop, `work` done on the I/O loop."""
        if self.here():
            return await work
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        return await asyncio.wrap_future(future)

    def on_close(
        self,
        closer: Callable[[], Awaitable[None]],
        *,
        orphaned: Callable[[], None] = lambda: None,
        last: bool = False,
    ) -> Callable[[], None]:
        """Await `closer()` when the process ends; returns the way to take it back.

        Args:
            closer: closes something, on the I/O loop.
            orphaned: called in a forked child, where neither this loop nor the connections
                came along: must not wait for anything.
            last: once all others are closed; what they need for that, as a connection.
        """
        entry = Closer(closer, orphaned, last)
        self._closers.append(entry)

        def undo() -> None:
            if entry in self._closers:
                self._closers.remove(entry)

        return undo

    def close(self) -> None:
        """Close everything within two seconds and end the thread; safe to call twice."""
        if not self.running:
            return
        self._closed = True
        kernel.no_exit(self.close)
        ending = asyncio.run_coroutine_threadsafe(self._wind_up(), self.loop)
        try:
            ending.result(CLOSE_SECONDS)
        except (TimeoutError, concurrent.futures.CancelledError):
            log.warning("not everything could be closed within %g s", CLOSE_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(0.5)

    def orphaned(self) -> None:
        """In a forked child: nothing here runs any more; closes nothing of the parent's."""
        self._closed = True
        kernel.no_exit(self.close)
        for each in self._closers:
            each.orphaned()
        self._closers.clear()

    async def _wind_up(self) -> None:
        closers, self._closers = self._closers, []
        ends: list[asyncio.Task[None]] = []
        for last, most in ((False, 0.7), (True, 0.15)):
            now = [
                asyncio.create_task(_closed(each.close))
                for each in closers
                if each.last is last
            ]
            if now:
                await asyncio.wait(now, timeout=CLOSE_SECONDS * most)
            ends += now
        # The loop must not stop before the cancelled tasks' `finally` clauses have run.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *ends, return_exceptions=True)


async def _closed(closer: Callable[[], Awaitable[None]]) -> None:
    try:
        await closer()
    except Exception:
        log.exception("closing failed")


def in_foreign_loop() -> bool:
    """Whether this thread runs an event loop that is not the notebook's own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return not kernel.in_notebook()


_process_loop: list[
    IoLoop
] = []  # the one loop; a list, so that a forked child can empty it
_starting = threading.Lock()


def io() -> IoLoop:
    """The process's I/O loop, started on first use."""
    with _starting:
        if not _process_loop or not _process_loop[0].running:
            _process_loop[:] = [IoLoop()]
            _watch_forks()
        return _process_loop[0]


def started() -> bool:
    """Whether the I/O loop runs in this process."""
    return bool(_process_loop) and _process_loop[0].running


@functools.cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    """In a forked child: the thread did not come along, so neither do its streams."""
    global _starting  # noqa: PLW0603 - another thread may have held it while forking
    _starting = threading.Lock()
    for loop in _process_loop:
        loop.orphaned()
    _process_loop.clear()
