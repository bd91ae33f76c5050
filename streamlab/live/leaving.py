"""FRAME: what `live.to(…)` gives: a sink that is being filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamlab.durations import seconds
from streamlab.errors import SinkError, WaitTimeoutError
from streamlab.frames.feed import Feed
from streamlab.frames.outlets import Outlet
from streamlab.live.cells import CELLS, Replaceable
from streamlab.runtime.loop import io
from streamlab.sinks.function import name_of, writer


class Sink:
    """A function that is given all of a frame; made by `live.to(fn)`."""

    def __init__(self, frame: Any, outlet: Outlet) -> None:
        """Not called by users: see `LiveFrame.to`."""
        self._frame = frame
        self._feed: Feed = frame._feed  # noqa: SLF001 - one noun in several modules
        self._outlet = outlet
        CELLS.made(self)

    @property
    def name(self) -> str:
        """As the status shows it."""
        return self._outlet.name

    @property
    def error(self) -> BaseException | None:
        """Why it stopped, or None."""
        return self._outlet.error

    def flush(self, timeout: Any = "60s") -> None:
        """Return once everything that was handed over has been taken.

        Args:
            timeout: seconds or a span; None waits for ever.

        Raises:
            SinkError: the function raised; its error is the cause.
            WaitTimeoutError: the time is over; it goes on.
        """
        limit = seconds(timeout, "timeout")
        try:
            io().call(self._empty(), twin="sink.aio.flush()", timeout=limit)
        except WaitTimeoutError:
            raise WaitTimeoutError(
                f"after {limit:g} s {self.name} is still writing; it goes on. Wait again, or "
                "raise timeout=."
            ) from None

    def stop(self) -> None:
        """Give it nothing more; what waits is still taken. It holds no commit back any more."""
        self._outlet.close()
        self._feed.pipeline.outlets.remove(self._outlet)
        CELLS.gone(self)

    def reads(self, feed: Feed) -> bool:
        """Whether it hangs on this source."""
        return self._feed is feed

    def needs(self) -> Sequence[Replaceable]:
        """The frame, which goes on while this sink does."""
        return (self._frame,)

    def retire(self) -> None:
        """Its cell was run again: the sink that run has made takes over."""
        self.stop()

    async def _empty(self) -> None:
        while not self._outlet.empty:
            if self._outlet.error is not None:
                error = self._outlet.error
                raise SinkError(f"{self.name} failed: {error}") from error
            await self._feed.fetch.moved()

    def __repr__(self) -> str:
        failed = f", failed: {self.error}" if self.error is not None else ""
        return f"<Sink {self.name} of {self._feed.spec.name}{failed}>"


def let_go(feed: Feed) -> None:
    """The source was stopped: its sinks are no things of their own any more."""
    for entry in list(CELLS.entries):
        if isinstance(entry.thing, Sink) and entry.thing.reads(feed):
            CELLS.gone(entry.thing)


def attach(frame: Any, fn: Callable[[Any], object], name: str) -> Sink:
    """See `LiveFrame.to`."""
    write = writer(fn, keyed=bool(frame.key))
    outlet = frame._feed.attach(name or name_of(fn), frame._member, write)  # noqa: SLF001
    return Sink(frame, outlet)
