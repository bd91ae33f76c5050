"""The user's handle on a topic: the module that joins the stages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import polars as pl

from streamlab.backends.base import Connection
from streamlab.clocks import SYSTEM, Clock
from streamlab.durations import seconds, size
from streamlab.errors import UsageError
from streamlab.frames.feed import Feed
from streamlab.frames.feedspec import FeedSpec
from streamlab.live.frame import LiveFrame
from streamlab.plugins import load
from streamlab.records import Resolved
from streamlab.runtime.loop import io
from streamlab.topics.card import card_bundle
from streamlab.topics.desk import Desk
from streamlab.topics.living import prepare
from streamlab.topics.looking import info_frame
from streamlab.topics.peeking import peek, wanted
from streamlab.topics.sharing import committed
from streamlab.topics.trimming import trim

T = TypeVar("T")


class Topic:
    """A topic. Making one never connects; looking at it does.

    Attributes:
        errors: records that the last `read` or `peek` could not decode, with the reason.
    """

    def __init__(
        self,
        connection: Connection,
        names: Iterable[str],
        *,
        format: str | None = None,  # noqa: A002 - the user's word
        schema: Mapping[str, Any] | None = None,
        time: str | None = None,
        meta: bool | Iterable[str] = False,
        truth: Callable[[], pl.DataFrame] | None = None,
        patterns: bool = False,
    ) -> None:
        """Not called by users: see `sl.topic`. `truth` is a demo's; `patterns` lets "*" in a
        name stand for any characters.
        """
        self._connection = connection
        self._names = tuple(names)
        self.time = time
        self._truth = truth
        if format is not None:
            load("formats", format)
        self._desk_made: Desk | None = None
        self._options: dict[str, Any] = {
            "format_name": format,
            "schema": schema,
            "time": time,
            "meta": wanted(meta),
            "patterns": patterns,
        }
        self.errors = pl.DataFrame()

    @property
    def name(self) -> str:
        """The topic's name, or names."""
        return ",".join(self._names)

    @property
    def desk(self) -> Desk:
        """The topic's work on the I/O loop."""
        if self._desk_made is None:
            self._desk_made = Desk(self._connection, self._names, **self._options)
        return self._desk_made

    # -- looking -------------------------------------------------------------------------

    def peek(self, n: int = 10) -> pl.DataFrame:
        """The newest `n` records, oldest first, with partition, offset and timestamp."""
        return self._call(self._peek(n), "topic.aio.peek(…)")

    async def _peek(self, n: Any) -> pl.DataFrame:
        found = await peek(self.desk, n)
        self.errors = found.errors
        return found.rows

    def info(self, group: str | None = None) -> pl.DataFrame:
        """One row per partition: first, next, records, bytes, newest, oldest, lag.

        `lag` is the age of the newest record. What the broker doesn't know is null.

        Args:
            group: adds what this group has `committed`, and how many records are `behind` that.
        """
        return self._call(self._info(group), "topic.aio.info()")

    async def _info(self, group: str | None) -> pl.DataFrame:
        desk = self.desk
        lines = await desk.info()
        done = None if group is None else await committed(desk, group)
        frame = info_frame(lines, done, ids_are_text=desk.ids_are_text)
        return frame if desk.several else frame.drop("topic")

    def trim(self, *, keep: int | None = None, before: Any = None) -> int:
        """Throw the oldest records away; returns how many are gone, as far as known.

        Args:
            keep: all but the newest so many of each partition (some brokers keep a few more).
            before: all before this position, as for `read`.
        """
        return self._call(self._trim(keep, before), "topic.aio.trim(…)", 30.0)

    async def _trim(self, keep: int | None, before: Any) -> int:
        return await trim(self.desk, keep, before)

    def read(
        self,
        start: Any = "earliest",
        until: Any = "latest",
        *,
        max_rows: int | None = None,
        max_bytes: Any = "2GB",
        timeout: Any = None,
    ) -> pl.DataFrame:
        """The records of [start, until), once.

        Args:
            start: first record delivered: "earliest", "latest", -500, {partition: offset}, a
                time with its zone, or a span back ("15m").
            until: first record not delivered, likewise.
            max_rows: refuse more than so many.
            max_bytes: refuse more than so many bytes.
            timeout: for the whole read, seconds or a span; None only ends a read that
                makes no progress for 10 s.

        Raises:
            TooMuchDataError: there is more; nothing is returned rather than a part.
            BrokerError: the broker can't be reached, or refuses.
        """
        work = self._read(start, until, max_rows, max_bytes, timeout)
        return self._call(work, "topic.aio.read(…)")

    async def _read(
        self,
        start: Any,
        until: Any,
        max_rows: int | None,
        max_bytes: Any,
        timeout: Any,  # noqa: ASYNC109 - the plain call's own argument
    ) -> pl.DataFrame:
        found = await self.desk.read(
            start,
            until,
            max_rows=max_rows,
            max_bytes=size(max_bytes, "max_bytes"),
            timeout=seconds(timeout, "timeout"),
        )
        self.errors = found.errors
        return found.rows

    def send(self, rows: Any, *, key: Any = None, timestamp: Any = None) -> int:
        """Write rows; returns how many the broker acknowledged, which is all.

        Args:
            rows: a polars frame, a list of dicts, or a list of bytes sent as they are.
            key: a column's name, or one key per row.
            timestamp: a column's name, or one time per row (datetimes or ms since 1970);
                otherwise the broker stamps them.
        """
        return self._call(self._send(rows, key, timestamp), "topic.aio.send(…)", 30.0)

    async def _send(self, rows: Any, key: Any, timestamp: Any) -> int:
        return await self.desk.send(rows, key, timestamp)

    async def resolve(self, value: Any, what: str, clock: Clock = SYSTEM) -> Resolved:
        """Offsets for a position as a user writes it; on the I/O loop."""
        return await self.desk.resolve(value, what, clock)

    # -- living --------------------------------------------------------------------------

    def live(
        self,
        start: Any = None,
        *,
        until: Any = None,
        keep: Any = None,
        tick: Any = "100ms",
        idle: Any = "10s",
        group: str | None = None,
        mode: str | None = None,
        member: str | None = None,
        speed: float | None = None,
        clock: Clock | None = None,
        paused: bool = False,
    ) -> LiveFrame:
        """A polars frame that keeps growing and forgetting; returns at once.

        Args:
            start: first record delivered, as for `read`. Default: "latest"; with `speed` the
                first record there is, with a replay `clock` where that clock is.
            until: first record not delivered; None reads on for ever.
            keep: what to retain: rows (10_000), age against the newest event time ("5m"),
                bytes ("64MB"), or a tuple of them; the smallest wins. Default: what fits
                into 256 MB, oldest forgotten first.
            tick: the longest a micro-batch waits; the first record after silence goes at once.
            idle: a partition that has been silent for so long no longer holds the watermark
                back; None is never.
            group: commit for this group. A committed position beats `start`.
            mode: without a group "real-time": nothing is joined or committed. With one
                "load-balanced" (the default): the topic is shared with the group's other
                members; or "resumable": this reader alone, which goes on where it stopped.
            member: what this reader is called in a shared group.
            speed: replay the past so many times as fast as it was: each record is handed over
                when a clock that begins with the first one has come to its broker timestamp.
            clock: whose time `idle` and displays go by; the system's by default. With an
                `sl.clock(…)` records are replayed, in step with all sources that share it.
            paused: begin without fetching; `resume()` starts.

        Raises:
            TopicNotFoundError, ConnectError, AuthError …: the broker can't be read.
            UsageError: group and mode don't fit.
        """
        work = prepare(
            self.desk,
            start,
            until=until,
            keep=keep,
            tick=tick,
            idle=idle,
            group=group,
            mode=mode,
            member=member,
            speed=speed,
            clock=clock,
            paused=paused,
        )
        spec = self._call(work, "topic.aio.live(…)")
        return self._begin(spec)

    def _begin(self, spec: FeedSpec) -> LiveFrame:
        feed = Feed(spec)
        frame = LiveFrame(
            feed, spec.source, topic=self, keep=spec.keep, member=feed.pipeline.root
        )
        feed.begin()
        return frame

    # -- shown ---------------------------------------------------------------------------

    @property
    def aio(self) -> TopicAio:
        """The same calls for async code: `await topic.aio.read(…)`."""
        return TopicAio(self)

    @property
    def truth(self) -> pl.DataFrame:
        """Demo topics only: the good records sent so far, sorted by time, without faults."""
        if self._truth is None:
            raise UsageError(
                f"{self.name} is a real topic: only sl.demo(…) knows the truth."
            )
        return self._truth()

    @property
    def place(self) -> str:
        """The broker it is on, as shown to people."""
        return self._connection.place

    def _call(
        self, work: Coroutine[Any, Any, T], twin: str, timeout: float | None = None
    ) -> T:
        return io().call(work, twin=twin, timeout=timeout)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return card_bundle(self)

    def __repr__(self) -> str:
        return f"<Topic {self.name} on {self.place}>"


class TopicAio:
    """A topic's calls as coroutines on the caller's loop."""

    def __init__(self, topic: Topic) -> None:
        """Twins of `topic`'s calls."""
        self._topic = topic

    async def peek(self, n: int = 10) -> pl.DataFrame:
        """As `Topic.peek`."""
        return await io().bridge(self._topic._peek(n))  # noqa: SLF001

    async def info(self, group: str | None = None) -> pl.DataFrame:
        """As `Topic.info`."""
        return await io().bridge(self._topic._info(group))  # noqa: SLF001

    async def trim(self, *, keep: int | None = None, before: Any = None) -> int:
        """As `Topic.trim`."""
        return await io().bridge(self._topic._trim(keep, before))  # noqa: SLF001

    async def read(
        self,
        start: Any = "earliest",
        until: Any = "latest",
        *,
        max_rows: int | None = None,
        max_bytes: Any = "2GB",
        timeout: Any = None,  # noqa: ASYNC109 - the plain twin's own argument
    ) -> pl.DataFrame:
        """As `Topic.read`."""
        work = self._topic._read(start, until, max_rows, max_bytes, timeout)  # noqa: SLF001
        return await io().bridge(work)

    async def send(self, rows: Any, *, key: Any = None, timestamp: Any = None) -> int:
        """As `Topic.send`."""
        return await io().bridge(self._topic._send(rows, key, timestamp))  # noqa: SLF001

    async def live(
        self,
        start: Any = None,
        *,
        until: Any = None,
        keep: Any = None,
        tick: Any = "100ms",
        idle: Any = "10s",
        group: str | None = None,
        mode: str | None = None,
        member: str | None = None,
        speed: float | None = None,
        clock: Clock | None = None,
        paused: bool = False,
    ) -> LiveFrame:
        """As `Topic.live`."""
        topic = self._topic
        work = prepare(
            topic.desk,
            start,
            until=until,
            keep=keep,
            tick=tick,
            idle=idle,
            group=group,
            mode=mode,
            member=member,
            speed=speed,
            clock=clock,
            paused=paused,
        )
        return topic._begin(await io().bridge(work))  # noqa: SLF001
