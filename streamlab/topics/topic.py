"""The user's handle on a topic: the module that joins the stages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import polars as pl

from streamlab.backends.base import Connection
from streamlab.clocks import SYSTEM, Clock
from streamlab.durations import fixed_span, seconds, size
from streamlab.errors import UsageError
from streamlab.frames.feed import Feed
from streamlab.frames.feedspec import FeedSpec, Sharing
from streamlab.frames.keeping import budget_bytes, parse_keep
from streamlab.live.frame import LiveFrame
from streamlab.plans.nodes import Source
from streamlab.plugins import load
from streamlab.records import META, OFFSET, PARTITION, TIMESTAMP, Resolved
from streamlab.runtime.loop import io
from streamlab.topics.card import card_bundle
from streamlab.topics.desk import Desk
from streamlab.topics.sharing import mode_of, shared

T = TypeVar("T")
PEEK_BYTES = 2 * 10**9
PEEK_META = (PARTITION, OFFSET, TIMESTAMP)


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
    ) -> None:
        """Not called by users: see `sl.topic`. `truth` is a demo's."""
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
            "meta": _meta(meta),
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
            text = self._connection.live_source == "redis"
            self._desk_made = Desk(
                self._connection, self._names, ids_are_text=text, **self._options
            )
        return self._desk_made

    # -- looking -------------------------------------------------------------------------

    def peek(self, n: int = 10) -> pl.DataFrame:
        """The newest `n` records, oldest first, with partition, offset and timestamp."""
        return self._call(self._peek(n), "topic.aio.peek(…)")

    async def _peek(self, n: Any) -> pl.DataFrame:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise UsageError(f"peek({n!r}): a positive number of records.")
        meta = (*PEEK_META, *(m for m in self.desk.meta if m not in PEEK_META))
        found = await self.desk.read(
            -n, "latest", max_rows=None, max_bytes=PEEK_BYTES, timeout=None, meta=meta
        )
        self.errors = found.errors
        if TIMESTAMP not in found.rows.columns:
            return found.rows  # an empty topic of which nothing is known
        # More may have come between the two positions; the newest `n` are asked for.
        rows = found.rows.sort(TIMESTAMP, maintain_order=True).tail(n)
        return rows.select(*meta, pl.exclude(meta))

    def info(self) -> pl.DataFrame:
        """One row per partition: first, next, records, bytes, newest, oldest, lag.

        `lag` is the age of the newest record. What the broker doesn't know is null.
        """
        return self._call(self._info(), "topic.aio.info()")

    async def _info(self) -> pl.DataFrame:
        lines = await self.desk.info()
        offset = pl.String() if self.desk.ids_are_text else pl.Int64()
        now = SYSTEM.now_ms()
        columns: dict[str, tuple[list[Any], Any]] = {
            "topic": ([x.partition.topic for x in lines], pl.String()),
            "partition": ([x.partition.number for x in lines], pl.Int64()),
            "first": ([x.first for x in lines], offset),
            "next": ([x.next for x in lines], offset),
            "records": ([x.records for x in lines], pl.Int64()),
            "bytes": ([x.bytes for x in lines], pl.Int64()),
            "newest": ([x.newest_ms for x in lines], pl.Datetime("ms", "UTC")),
            "oldest": ([x.oldest_ms for x in lines], pl.Datetime("ms", "UTC")),
            "lag": (
                [None if x.newest_ms is None else now - x.newest_ms for x in lines],
                pl.Duration("ms"),
            ),
        }
        frame = pl.DataFrame(
            {name: pl.Series(values, dtype=t) for name, (values, t) in columns.items()}
        )
        return frame if len(self._names) > 1 else frame.drop("topic")

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
        start: Any = "latest",
        *,
        until: Any = None,
        keep: Any = None,
        tick: Any = "100ms",
        idle: Any = "10s",
        group: str | None = None,
        mode: str | None = None,
        member: str | None = None,
        clock: Clock | None = None,
        paused: bool = False,
    ) -> LiveFrame:
        """A polars frame that keeps growing and forgetting; returns at once.

        Args:
            start: first record delivered, as for `read`.
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
            clock: whose time `idle` and displays go by; the system's by default.
            paused: begin without fetching; `resume()` starts.

        Raises:
            TopicNotFoundError, ConnectError, AuthError …: the broker can't be read.
            UsageError: group and mode don't fit.
        """
        work = self._prepare(
            start,
            until=until,
            keep=keep,
            tick=tick,
            idle=idle,
            group=group,
            mode=mode,
            member=member,
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

    async def _prepare(
        self,
        start: Any,
        *,
        until: Any,
        keep: Any,
        tick: Any,
        idle: Any,
        group: str | None,
        mode: str | None,
        member: str | None,
        clock: Clock | None,
        paused: bool,
    ) -> FeedSpec:
        limits = parse_keep(keep)
        pace = fixed_span(tick, "tick").seconds
        silent = None if idle is None else fixed_span(idle, "idle").seconds
        desk, clock = self.desk, clock or SYSTEM
        shares = mode_of(group, mode)
        sharing: Sharing | None = None
        if shares is None or group is None:
            begin = await desk.begin(start, clock)
        else:
            begin, sharing = await shared(
                desk, start, until, clock, group=group, mode=shares, member=member
            )
        stop = None if until is None else await desk.resolve(until, "until", clock)
        await desk.learn()
        intake = desk.intake()
        return FeedSpec(
            name=self.name,
            connection=desk.connection,
            begin=begin,
            stop=stop,
            source=Source(
                self.name, None if intake is None else intake.schema, self.time
            ),
            intake=intake,
            discover=desk.discover,
            keep=limits,
            budget_bytes=budget_bytes(limits),
            tick=pace,
            idle=silent,
            clock=clock,
            paused=paused,
            sharing=sharing,
            topics=self._names,
        )

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

    async def info(self) -> pl.DataFrame:
        """As `Topic.info`."""
        return await io().bridge(self._topic._info())  # noqa: SLF001

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
        start: Any = "latest",
        *,
        until: Any = None,
        keep: Any = None,
        tick: Any = "100ms",
        idle: Any = "10s",
        group: str | None = None,
        mode: str | None = None,
        member: str | None = None,
        clock: Clock | None = None,
        paused: bool = False,
    ) -> LiveFrame:
        """As `Topic.live`."""
        topic = self._topic
        work = topic._prepare(  # noqa: SLF001
            start,
            until=until,
            keep=keep,
            tick=tick,
            idle=idle,
            group=group,
            mode=mode,
            member=member,
            clock=clock,
            paused=paused,
        )
        return topic._begin(await io().bridge(work))  # noqa: SLF001


def _meta(meta: bool | Iterable[str]) -> tuple[str, ...]:  # noqa: FBT001 - the user's own
    if isinstance(meta, bool):
        return META if meta else ()
    wanted = tuple(meta)
    for name in wanted:
        if name not in META:
            raise UsageError(
                f"meta={list(wanted)!r}: {name!r} is no metadata column. "
                f"There are: {', '.join(META)}."
            )
    return wanted
