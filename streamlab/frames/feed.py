"""FRAME: a source that runs: its reading, its worker, its life and its end.

Reading lives on the I/O loop (`fetching.py`); decoding and operators run in order on one worker
thread (`pipeline.py`), so that reading goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import polars as pl

from streamlab.changes import Change
from streamlab.clocks import SYSTEM
from streamlab.errors import ModeError, SinkError, StreamStoppedError
from streamlab.frames.crossing import Crossing
from streamlab.frames.failures import describe
from streamlab.frames.feedspec import FeedSpec, Start
from streamlab.frames.fetching import Fetch
from streamlab.frames.joinable import Joinable
from streamlab.frames.members import Member, Published, appended
from streamlab.frames.outlets import Outlet
from streamlab.frames.pace import ReplayClock
from streamlab.frames.recompute import Recomputer
from streamlab.frames.replaying import Replay
from streamlab.frames.store import Budget, Keep
from streamlab.observed import Failure
from streamlab.plans.nodes import Node
from streamlab.runtime import kernel
from streamlab.runtime.loop import CLOSE_SECONDS, Supervised, io
from streamlab.runtime.worker import Worker, WorkerClosedError

T = TypeVar("T")
HEARTBEAT = 1.0


class Feed:
    """A source that runs; see the module's docstring.

    The I/O task owns what begins with `_`, the worker `pipeline`; anybody may read `published`.

    Attributes:
        over: "ended" or "stopped" once nothing more will be read, else "".
        announced: how often waiting calls were told to look again.
        fetch: the reading under way, or the last one.
    """

    def __init__(self, spec: FeedSpec) -> None:
        """Make it; `begin` starts it."""
        self.spec = spec
        self.pipeline = Joinable(
            spec.source,
            spec.intake,
            keep=spec.keep,
            budget=Budget(spec.budget_bytes),
            from_start=spec.begin.from_start,
            now_ms=spec.clock.now_ms,
            discover=spec.discover,
            past=spec.sharing.past if spec.sharing is not None else None,
        )
        self.failure: Failure | None = None
        self.error: BaseException | None = None
        self.over = ""
        self.announced = 0
        self.paused = spec.paused
        self._io = io()
        self._worker = Worker("streamlab-worker")
        self._recomputer = Recomputer(
            self.pipeline, self._worker, done=lambda: self._io.post(self._announce)
        )
        self.pipeline.recompute = self._recomputer.soon
        self.crossing = Crossing(
            self.pipeline,
            self._worker,
            name=spec.name,
            changed=lambda: self._io.post(self._wake),
            moved=lambda: self._io.post(self._taken_in),
        )
        self._settled = asyncio.Event()
        self._flowing = asyncio.Event()
        if not spec.paused:
            self._flowing.set()
        self.fetch = self._new_fetch()
        self._waiters: set[asyncio.Future[None]] = set()
        self._task: Supervised | None = None
        self._closing: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] = lambda: None
        self._counted = False

    def _new_fetch(self) -> Fetch:
        clock = self.spec.clock
        kind: Callable[..., Fetch] = Fetch
        if isinstance(clock, ReplayClock):
            kind = functools.partial(Replay, clock=clock)
        return kind(
            self.spec,
            self.pipeline,
            self._worker,
            flowing=self._flowing,
            settled=self._settled,
            announce=self._announce,
        )

    # -- from any thread ---------------------------------------------------------------

    def begin(self) -> None:
        """Start reading; returns at once."""
        self._enter()
        self._task = self._io.spawn(
            self._run(self.fetch), name=f"streamlab:{self.spec.name}", failed=self._fail
        )

    @property
    def published(self) -> Published:
        """The newest version of everything."""
        return self.pipeline.published

    @property
    def finished(self) -> bool:
        """Whether nothing more will come.

        Whoever waits looks at this before the frames: then what they show is the end.
        """
        if self.over == "ended" and self.error is None:
            return not self._recomputer.busy
        return bool(self.over) or self.error is not None

    def done(self, member: Member) -> bool:
        """Whether nothing more will come to one frame: it may hang on other sources too."""
        if member.gone or self.error is not None:
            return True
        return self.finished and self.crossing.finished(member.node)

    def on_worker(self, work: Callable[[], T]) -> T:
        """Run `work` on the worker thread, between two micro-batches, and wait for it."""
        return self._worker.run(work)

    def add(self, node: Node, keep: Keep, parent: Member | None = None) -> Member:
        """A new frame on this source."""
        made = self.on_worker(lambda: self.pipeline.add(node, keep, parent))
        if self.fetch.commits is not None:
            self.fetch.commits.renewed()
        return made

    def remove(self, member: Member) -> None:
        """Let one frame go."""
        self.on_worker(lambda: self.pipeline.remove(member))
        self._io.post(self._announce)

    def pause(self) -> None:
        """Hand nothing over, and soon fetch nothing, until `resume`."""
        self.paused = True
        self._io.post(self._flowing.clear)

    def resume(self) -> None:
        """Go on fetching."""
        self.paused = False
        self._io.post(self._flowing.set)

    def attach(
        self, name: str, member: Member, write: Callable[[Change], None]
    ) -> Outlet:
        """A sink on one frame: it is given what the frame holds, then every change.

        Args:
            name: of the sink, as shown.
            member: the frame.
            write: takes one change and returns when it is safe; called on a thread of its own.
        """
        outlet = Outlet(
            name, member, write, moved=lambda: self._io.post(self._sinks_moved)
        )

        def begin() -> None:
            self.pipeline.outlets.add(outlet, appended(member.seal().frame()))

        self.on_worker(begin)
        return outlet

    def stop(self, *, wait: bool = True, crash: bool = False) -> None:
        """Close the connection, drop the state, keep the rows; bounded by two seconds.

        Args:
            wait: until it is done.
            crash: as if the process had been killed: nothing is committed, no group is left.
        """
        self.fetch.crash = self.fetch.crash or crash
        if not self._io.running or (self._closing is not None and self._closing.done()):
            return
        self.over = "stopped"  # at once, whoever looks before the connection is closed
        closing = asyncio.run_coroutine_threadsafe(self.aclose(), self._io.loop)
        if wait and not self._io.here():
            with suppress(concurrent.futures.TimeoutError):
                closing.result(CLOSE_SECONDS + 0.5)

    def orphaned(self) -> None:
        """In a forked child: stopped; threads and connections are the parent's."""
        self.over = "stopped"
        self._worker.orphaned()
        self._recomputer.orphaned()
        self.pipeline.orphaned()

    # -- on the I/O loop ---------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop for good; safe to call twice."""
        if self._closing is None:
            self.over = "stopped"
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def commit(self) -> None:
        """Commit as much as can be.

        Raises:
            ModeError: it reads without a group.
            BrokerError: it was not committed.
        """
        if self.spec.sharing is None:
            raise ModeError(
                f"{self.spec.name} is read in real time, so nothing is committed. With a "
                'group it is: topic.live(group="g", mode="resumable").'
            )
        await self.fetch.commit()

    async def seek(self, begin: Start) -> None:
        """Empty all frames and read on from `begin`, as if the source had started there.

        Raises:
            StreamStoppedError: the source was stopped.
        """
        sharing = self.spec.sharing
        if sharing is not None and sharing.mode == "load-balanced":
            raise ModeError(
                f"seek: group {sharing.group!r} shares {self.spec.name}, and one member can't "
                'move for all. Alone it can: topic.live(group=…, mode="resumable"), or '
                "without a group."
            )
        if self.over == "stopped":
            raise StreamStoppedError(
                f"{self.spec.name} was stopped; start anew: topic.live(start=…)."
            )
        await self._end_task()
        with suppress(WorkerClosedError):  # stopped meanwhile
            restarted = self._worker.submit(
                lambda: self.pipeline.restart(from_start=begin.from_start)
            )
            await asyncio.wrap_future(restarted)
        if self._closing is not None:
            return
        self.spec = replace(self.spec, begin=begin)
        self.over, self.error, self.failure = "", None, None
        self.fetch = self._new_fetch()
        self.begin()
        self._announce()

    async def changed(self, announced: int, member: Member) -> None:
        """Return once more than `announced` changes were told, or nothing more will come.

        Args:
            announced: how many are known.
            member: the frame to which nothing more will come.
        """
        while self.announced <= announced and not self.done(member):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def _run(self, fetch: Fetch) -> None:
        pulse = asyncio.create_task(self._heartbeat())
        try:
            await fetch.run()
        finally:
            pulse.cancel()
        self.over = self.over or "ended"
        for tap in self.pipeline.outlets.taps:
            tap.done = True
        self._tell_status()
        self._announce()
        self._leave()

    async def _heartbeat(self) -> None:
        """Views learn of a changed status even while no records come."""
        while True:
            await SYSTEM.sleep(HEARTBEAT)
            self._tell_status()

    def _tell_status(self) -> None:
        """On the worker, as all changes: views need not mind two threads."""

        def tell() -> None:
            empty = pl.DataFrame()
            for member in tuple(self.pipeline.members):
                if member.watched:
                    version = member.held.version
                    member.tell(Change(empty, empty, 0, version, member.watermark))

        if any(member.watched for member in tuple(self.pipeline.members)):
            with suppress(WorkerClosedError):
                self._worker.submit(tell)

    def _sinks_moved(self) -> None:
        """A sink has written something, or has failed."""
        self.fetch.settle()
        for outlet in self.pipeline.outlets.all:
            if outlet.error is None or self.over == "stopped":
                continue
            if self.spec.sharing is None:  # nothing is promised beyond this process
                self.pipeline.outlets.remove(outlet)
                self._tell_status()
            elif self.error is None:
                error = SinkError(
                    f"{outlet.name} failed: {type(outlet.error).__name__}: {outlet.error}. "
                    f"{self.spec.name} has stopped; what {outlet.name} had not taken is not "
                    "committed and comes again."
                )
                error.__cause__ = outlet.error
                self._fail(error)
                if self._task is not None:
                    self._task.cancel()

    def _taken_in(self) -> None:
        """A join of another source has taken in a micro-batch of this one."""
        self.fetch.settle()

    def _announce(self) -> None:
        """Wake who waits for a version, here or where this is joined."""
        self._wake()
        for tap in self.pipeline.outlets.taps:
            tap.wake()

    def _wake(self) -> None:
        self.announced += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: BaseException) -> None:
        """The task has died: say so on every frame, keep the last good version."""
        if self.over == "stopped":
            return
        self.failure = describe(
            error,
            step=self.spec.name,
            now_ms=self.spec.clock.now_ms(),
            good=self.published.records,
        )
        self.error = error
        self._end_joins(error)
        self._tell_status()
        self._announce()
        self._leave()

    def _end_joins(self, error: BaseException) -> None:
        """Here, and of this with others."""
        for tap in self.pipeline.outlets.taps:
            tap.broke(error)
        with suppress(WorkerClosedError):
            self._worker.submit(self.crossing.close)

    async def _end_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await self._task.ended(CLOSE_SECONDS)

    async def _close(self) -> None:
        """Drop all state on the worker, then the worker itself."""
        await self._end_task()
        self._end_joins(StreamStoppedError(f"{self.spec.name} was stopped"))
        self._tell_status()
        closed = self._worker.submit(self.pipeline.close)
        for outlet in self.pipeline.outlets.all:
            outlet.close()
        self._worker.close()
        self._recomputer.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(closed), CLOSE_SECONDS)
        self._announce()
        self._leave()

    def _enter(self) -> None:
        if not self._counted:
            self._counted = True
            kernel.SWITCH.enter()
            self._forget = self._io.on_close(self.aclose, orphaned=self.orphaned)

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self._forget()
            kernel.SWITCH.leave()
