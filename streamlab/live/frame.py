"""FRAME: `LiveFrame`, a polars frame that keeps growing and forgetting.

A live frame is a plan (`node`), a place in a running source (`feed`), and, once somebody reads
it, a store (`member`). Its verbs are polars' verbs and make new live frames on the same source.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import polars as pl

from streamlab.durations import seconds
from streamlab.errors import ModeError, UsageError, WaitTimeoutError
from streamlab.live import asking
from streamlab.live.batches import Batches, on_batch
from streamlab.live.cells import CELLS
from streamlab.live.combining import Combining
from streamlab.live.leaving import Sink, attach, let_go
from streamlab.live.waiting import (
    Condition,
    Wait,
    counted,
    grouped,
    reached,
    satisfied,
    shared_out,
)
from streamlab.runtime.loop import io

STOPPED_WAITING = "Stopped waiting. The stream goes on; {name}.stop() ends it."


class LiveFrame(Combining):
    """A polars frame over a live topic; made by `topic.live()` and by its own verbs.

    `live.df` is the frame of this moment. Verbs make frames that follow the same source: row by
    row (`filter`, `select`, `with_columns`, `drop`, `rename`, `explode`, `unnest`, `join`), over
    event time (`window(…).agg(…)`, `in_order`, `join_asof`, `join_within`, `merge_sorted`), per
    key (`group_by(…).agg(…)`, `unique`), or over all that is kept (`recompute`).
    """

    # -- waiting -----------------------------------------------------------------------

    def wait(
        self, what: Any = None, *, count: int | None = None, timeout: Any = "60s"
    ) -> pl.DataFrame:
        """Wait, then return `df`.

        Args:
            what: a function of the frame that turns true; a position that is reached; nothing
                waits for all that was there at the call, in every source that is joined here.
            count: records the source (of a join, the left one) has handed over since it began,
                rejects included.
            timeout: seconds or a span; None waits for ever.

        Raises:
            WaitTimeoutError: the time is over; the frame goes on.
            StreamFailedError: the frame, or its source, has failed.
            StreamStoppedError: the stream ended before.
        """
        wait, check = self._prepare(what, count, timeout)
        target = check if check is not None else self._ask(self._resolve(what))
        while True:
            seen, finished = self._feed.announced, wait.finished
            if target():
                return self.df
            wait.failed()
            if finished:
                raise wait.over()
            wait.refuse_standing()
            try:
                self._ask(self._feed.changed(seen, self._member), wait.left())
            except WaitTimeoutError:
                raise wait.timed_out() from None

    async def _wait_async(
        self,
        what: Any = None,
        *,
        count: int | None = None,
        timeout: Any = "60s",  # noqa: ASYNC109 - the plain twin's own argument
    ) -> pl.DataFrame:
        wait, check = self._prepare(what, count, timeout)
        target = check if check is not None else await io().bridge(self._resolve(what))
        while True:
            seen, finished = self._feed.announced, wait.finished
            if target():
                return self.df
            wait.failed()
            if finished:
                raise wait.over()
            change = io().bridge(self._feed.changed(seen, self._member))
            try:
                await asyncio.wait_for(change, wait.left())
            except TimeoutError:
                raise wait.timed_out() from None

    def _prepare(
        self, what: Any, count: int | None, timeout: Any
    ) -> tuple[Wait, Condition | None]:
        member = self._member
        check: Condition | None = None
        wanted = "all that was there at the call"
        if count is not None:
            check, wanted = (
                counted(self._feed, member, count),
                f"{grouped(count)} records",
            )
        elif callable(what):
            check, wanted = satisfied(lambda: self.df, what), "what was waited for"
        elif what is not None:
            wanted = f"{what!r}"
        limit = seconds(timeout, "timeout")
        return Wait(self._feed, member, timeout=limit, wanted=wanted), check

    async def _resolve(self, what: Any) -> Condition:
        whole = what is None
        sharing = self._feed.spec.sharing
        if sharing is not None and sharing.mode == "load-balanced":
            if whole:
                return shared_out(self._feed, self._member)
            raise ModeError(
                f"wait({what!r}): group {sharing.group!r} shares the topic, so the position may "
                "be another member's. wait() waits for this member's share, wait(count=…) for "
                "records."
            )
        clock = self._feed.spec.clock
        target = await self._topic.resolve("latest" if whole else what, "what", clock)
        there = reached(self._feed, self._member, target, within=whole)
        if not whole:
            return there
        others = [
            await other._resolve(None)  # noqa: SLF001 - of the same class
            for _, other in asking.joined(self)
        ]
        crossing, node = self._feed.crossing, self._node
        return lambda: (
            all(other() for other in others) and crossing.drained(node) and there()
        )

    def _ask(self, work: Any, timeout: float | None = None) -> Any:
        note = STOPPED_WAITING.format(name=self.name)
        return io().call(work, twin="live.aio.wait(…)", timeout=timeout, note=note)

    def __iter__(self) -> Iterator[Any]:
        return iter(Batches(self._feed, self._member, "Stopped. The stream goes on."))

    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(Batches(self._feed, self._member, ""))

    def on_batch(self, fn: Callable[[Any], object]) -> Callable[[], None]:
        """Call `fn` with what has arrived, on the notebook's own thread.

        While a cell runs, batches gather into one; waiting calls let it through.

        Args:
            fn: gets the new rows (an append frame) or a `Change` (a keyed frame).

        Returns:
            A function that ends it.
        """
        return on_batch(self._member, fn)

    # -- control -----------------------------------------------------------------------

    def stop(self, *, crash: bool = False) -> None:
        """End it: a source with all frames on it, a derived frame alone. `df` stays.

        A source that commits does so now, and leaves its group.

        Args:
            crash: end a source as a kill -9 would: nothing is committed, nobody is told, and
                what was not committed comes again, to the next reader or another member.
        """
        if crash:
            self._sources_own("stop(crash=True)")
        if self._parent is not None:
            self._leave()
        else:
            self._feed.stop(crash=crash)
            let_go(self._feed)
        CELLS.gone(self)

    def commit(self) -> None:
        """Commit for the group what is done with; the source's alone.

        It happens by itself every five seconds and at `stop()`. It never passes what a sink or
        a loop (`for batch in live`) has not finished, or what an open window still needs.

        Raises:
            ModeError: it reads without a group.
            BrokerError: it was not committed; what is done with may come again.
        """
        self._sources_own("commit")
        io().call(self._feed.commit(), twin="live.aio.commit()")

    def to(self, sink: Callable[[Any], object], *, name: str = "") -> Sink:
        """Hand everything to a function, which may take its time and misses nothing.

        It is called with what the frame holds now, then with every change, one call at a time,
        on a thread of its own. While it is two micro-batches behind, the source fetches nothing.
        With a group, records are committed after the call has returned; if it raises, the
        source stops, and what it had not taken comes again.

        Args:
            sink: gets the new rows as a polars frame; of a frame whose rows are revised a
                `Change` (`added`, `removed`).
            name: as the status shows it; the function's own by default.
        """
        return attach(self, sink, name)

    def pause(self) -> None:
        """Fetch nothing until `resume()`; the source's alone."""
        self._sources_own("pause")
        self._feed.pause()

    def resume(self) -> None:
        """Go on fetching; the source's alone."""
        self._sources_own("resume")
        self._feed.resume()

    def seek(self, position: Any) -> None:
        """Read on from another position; the source's alone.

        Its frame and all that hang on it are emptied and begin anew: afterwards they are as
        if `topic.live(start=position)` had made them.

        Args:
            position: the first record delivered, as for `start`.

        Raises:
            StreamStoppedError: the source was stopped.
        """
        self._sources_own("seek")
        io().call(self._seek(position), twin="live.aio.seek(…)")

    async def _seek(self, position: Any) -> None:
        desk, clock = self._topic.desk, self._feed.spec.clock
        await self._feed.seek(await desk.begin(position, clock))

    def _sources_own(self, verb: str) -> None:
        if self._parent is not None:
            raise UsageError(
                f"{verb} belongs to the source: {self.source.name}.{_called(verb)} "
                f"({self.siblings()} frames hang on it)."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def check_parity(self) -> str:
        """Read the same records again, work the frame out in plain polars, and compare.

        The records are decoded by Python's own parser and grouped by one `group_by`; nothing
        of the engine takes part.

        Returns:
            What was compared, in a sentence.

        Raises:
            ParityError: the frames differ; the message has the first differing row.
            UsageError: the comparison can't be made, and why.
        """
        from streamlab.live.checking import check_parity

        return check_parity(self)

    # -- shown ---------------------------------------------------------------------------

    @property
    def plot(self) -> Any:
        """`.line`, `.bar`, `.scatter`: moving charts of this frame."""
        from streamlab.live.plotting import Plot

        return Plot(self)

    def chart(self, chart: Any) -> Any:
        """An altair chart with this frame as its data, moving."""
        from streamlab.live.plotting import moving

        return moving(chart.properties(data=self))

    @property
    def aio(self) -> Aio:
        """The waiting calls for async code: `await live.aio.wait(…)`."""
        return Aio(self)

    def _repr_mimebundle_(self, **_: object) -> Any:
        from streamlab.live.plotting import table_bundle

        return table_bundle(self)

    def __repr__(self) -> str:
        state = self.status().state
        return f"<LiveFrame {self.steps} ({state}, {len(self)} rows)>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(asking.no_such(name))


class Aio:
    """Waiting calls of a live frame, as coroutines on the caller's loop."""

    def __init__(self, frame: LiveFrame) -> None:
        """Twins of `frame`'s calls."""
        self._frame = frame

    async def wait(
        self,
        what: Any = None,
        *,
        count: int | None = None,
        timeout: Any = "60s",  # noqa: ASYNC109 - the plain twin's own argument
    ) -> pl.DataFrame:
        """As `LiveFrame.wait`."""
        return await self._frame._wait_async(what, count=count, timeout=timeout)  # noqa: SLF001

    async def seek(self, position: Any) -> None:
        """As `LiveFrame.seek`."""
        self._frame._sources_own("seek")  # noqa: SLF001
        await io().bridge(self._frame._seek(position))  # noqa: SLF001

    async def commit(self) -> None:
        """As `LiveFrame.commit`."""
        self._frame._sources_own("commit")  # noqa: SLF001
        await io().bridge(self._frame._feed.commit())  # noqa: SLF001

    async def stop(self, *, crash: bool = False) -> None:
        """As `LiveFrame.stop`, without blocking the caller's loop."""
        await asyncio.to_thread(functools.partial(self._frame.stop, crash=crash))


def _called(verb: str) -> str:
    return verb if verb.endswith(")") else f"{verb}()"


def chart(chart: Any) -> Any:
    """Any altair chart whose data are live frames, moving.

    Args:
        chart: layers, concatenations, facets and selections included; several live frames
            may take part.
    """
    from streamlab.live.plotting import moving

    return moving(chart)


def streams() -> Any:
    """What runs: a row per source, the frames on it below."""
    from streamlab.live.listing import Listing

    return Listing(running())


def running() -> list[LiveFrame]:
    """The live frames that were made and not stopped, in order of making."""
    return [e.thing for e in CELLS.entries if isinstance(e.thing, LiveFrame)]


def stop_all() -> None:
    """Stop every stream of this process; all frames keep their rows."""
    for frame in running():
        if frame.source is frame:
            frame.stop()
        CELLS.gone(frame)
