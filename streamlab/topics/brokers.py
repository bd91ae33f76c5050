"""Where everything starts: a topic by URL, a broker, a demo without one."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import polars as pl

from streamlab.backends.base import Connection
from streamlab.errors import UrlError
from streamlab.live.frame import stop_all
from streamlab.plugins import load
from streamlab.runtime.loop import CLOSE_SECONDS, IoLoop, io
from streamlab.topics.consumer import Consumer
from streamlab.topics.looking import groups_frame
from streamlab.topics.opening import open_consumer, open_producer, wish
from streamlab.topics.producer import Choose, Producer
from streamlab.topics.topic import Topic
from streamlab.uri import StreamUrl, parse, sealed
from streamlab.veil import veiled


class _Name(NamedTuple):
    """What makes two connections the same.

    Attributes:
        settings: a digest of URL and options, passwords included: nobody can read them from it.
    """

    scheme: str
    loop: IoLoop
    settings: bytes


_SALT = os.urandom(16)
IN_PROCESS = ("memory", "demo")
_counter = itertools.count(1)
# Re-running a cell that opens a topic must not open another connection: one per broker.
_connections: dict[_Name, Connection] = {}


def connection_for(url: StreamUrl, options: Mapping[str, object]) -> Connection:
    """The process's connection to a broker, made on first use; making it does not connect."""
    loop = io()
    name = _Name(url.scheme, loop, _digest(url, options))
    if name not in _connections:
        made: Connection = load("backends", url.scheme).connect(url, options)
        _connections[name] = made
        loop.on_close(made.aclose, last=True)
    return _connections[name]


def _digest(url: StreamUrl, options: Mapping[str, object]) -> bytes:
    password = "" if url.password is None else f"password={url.password.reveal()}"
    settings = [
        f"{name}={value if isinstance(value, str) else repr(value)}"
        for given in (url.params, options)
        for name, value in sorted(given.items())
    ]
    parts = [str(url.broker), password, *settings]
    return hashlib.blake2b(repr(parts).encode(), key=_SALT).digest()


class Broker:
    """A broker: what topics it has, and each of them by its plain name."""

    def __init__(self, url: StreamUrl, options: Mapping[str, object]) -> None:
        """Not called by users: see `connect`."""
        self._url = url
        self.connection = connection_for(url, options)

    @property
    def place(self) -> str:
        """Scheme, host and port; never a secret."""
        return self._url.place

    # -- for async programs --------------------------------------------------------------

    def consumer(
        self,
        names: str | Iterable[str],
        *,
        group: str | None = None,
        mode: str | None = None,
        start: Any = None,
        until: Any = None,
        member: str | None = None,
        acks: str = "auto",
        commit_every: Any = "5s",
        create: int | None = None,
    ) -> Consumer:
        """Messages one by one, for an async program.

        Args:
            names: of topics; "*" in one stands for any characters: "sensor-*".
            group: for which it commits; None commits nothing.
            mode: None is "real-time" without a group and "load-balanced" with one (members share
                the messages); "resumable" is one reader that goes on where it stopped.
            start: the first message, as for `Topic.read`; what the group has committed goes
                before it. Default: "latest".
            until: the first message not delivered; then the iteration ends.
            member: what it is called in a group that is shared.
            acks: "auto": a message is done once the next is asked for. "manual": by `ack`.
            commit_every: how often to commit what is done; None leaves it to `commit` and
                `end`.
            create: how many partitions a topic gets that isn't there yet, so that readers and
                writers can start in any order; None is an error for such a topic.

        Raises:
            UsageError: group, mode and the rest don't fit.
            BrokerError: the broker can't be read.
        """
        asked = wish(
            names,
            group=group,
            mode=mode,
            start=start,
            until=until,
            member=member,
            acks=acks,
            commit_every=commit_every,
            create=create,
        )
        return io().call(
            open_consumer(self.connection, asked), twin="broker.aio.consumer(…)"
        )

    def producer(
        self,
        topic: str | None = None,
        *,
        partition_by: str | Choose = "key",
        partitions: int | None = None,
        transactional_id: str | None = None,
    ) -> Producer:
        """Sends messages one by one, for an async program.

        Args:
            topic: where to; None: `anchor` it later, or `send_to`.
            partition_by: "key" (equal keys go to one partition, without a key in turn),
                "round-robin" (in turn, whatever the key), or a function of key, value and the
                number of partitions that returns one of them.
            partitions: how many a topic gets that isn't there yet.
            transactional_id: what the broker knows it by; it then sends in transactions only.

        Raises:
            UsageError: this kind of broker has no transactions.
            BrokerError: the broker can't be reached.
        """
        work = open_producer(
            self.connection, topic, partition_by, partitions, transactional_id
        )
        return io().call(work, twin="broker.aio.producer(…)")

    # -- looking -------------------------------------------------------------------------

    def groups(self) -> pl.DataFrame:
        """The groups of readers there are: a row per group, topic, partition and member.

        `committed` is the first record that may still be needed, `behind` how many records come
        from there on, `pending` how many a member was given and has not committed, `idle` how
        long it has been silent. What the broker doesn't know is null. Joins nothing.
        """
        return io().call(groups_frame(self.connection), twin="broker.aio.groups()")

    def topics(self) -> list[str]:
        """Names of the topics there are."""
        return io().call(self.connection.topics(), twin="broker.aio.topics()")

    def topic(self, name: str, **options: Any) -> Topic:
        """The topic of that name, whatever characters it has.

        Args:
            name: as the broker has it.
            options: `format`, `schema`, `time`, `meta`, as for `sl.topic`.
        """
        return Topic(self.connection, (name,), **options)

    def close(self) -> None:
        """Close its connections; frames that read from it stop."""
        io().call(self._close(), twin="broker.aio.close()", timeout=5)

    async def _close(self) -> None:
        for name in [n for n, made in _connections.items() if made is self.connection]:
            del _connections[name]  # a later connect() opens anew
        await self.connection.aclose()

    @property
    def aio(self) -> BrokerAio:
        """The same calls for async code."""
        return BrokerAio(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Broker {self.place}>"


class BrokerAio:
    """A broker's calls as coroutines on the caller's loop."""

    def __init__(self, broker: Broker) -> None:
        """Twins of `broker`'s calls."""
        self._broker = broker

    async def topics(self) -> list[str]:
        """As `Broker.topics`."""
        return await io().bridge(self._broker.connection.topics())

    async def groups(self) -> pl.DataFrame:
        """As `Broker.groups`."""
        return await io().bridge(groups_frame(self._broker.connection))

    async def consumer(
        self,
        names: str | Iterable[str],
        *,
        group: str | None = None,
        mode: str | None = None,
        start: Any = None,
        until: Any = None,
        member: str | None = None,
        acks: str = "auto",
        commit_every: Any = "5s",
        create: int | None = None,
    ) -> Consumer:
        """As `Broker.consumer`."""
        asked = wish(
            names,
            group=group,
            mode=mode,
            start=start,
            until=until,
            member=member,
            acks=acks,
            commit_every=commit_every,
            create=create,
        )
        return await io().bridge(open_consumer(self._broker.connection, asked))

    async def producer(
        self,
        topic: str | None = None,
        *,
        partition_by: str | Choose = "key",
        partitions: int | None = None,
        transactional_id: str | None = None,
    ) -> Producer:
        """As `Broker.producer`."""
        work = open_producer(
            self._broker.connection, topic, partition_by, partitions, transactional_id
        )
        return await io().bridge(work)

    async def close(self) -> None:
        """As `Broker.close`."""
        await io().bridge(self._broker._close())  # noqa: SLF001 - one noun in two classes


def topic(
    url: str | pl.DataFrame,
    *,
    format: str | None = None,  # noqa: A002 - the user's word
    schema: Mapping[str, Any] | None = None,
    time: str | None = None,
    meta: bool | Iterable[str] = False,
    options: Mapping[str, object] | None = None,
) -> Topic:
    """A topic by URL, or one made of a frame's rows. Never connects; its display does.

    Args:
        url: `redis://host/stream`, `file://./day.ss/trades`, `memory://lab/topic`,
            `demo://trades?rate=100`; or a polars frame, whose rows become a topic in memory.
            `kafka://host/sensor-*` is every topic that matches, those still to come too.
        format: "json", "text" or "raw"; None finds out from a sample of both ends.
        schema: column → type, instead of the sample's.
        time: the column of event time; without it the broker's timestamp is used.
        meta: metadata columns to add: True for all, or a list of `_topic _partition _offset
            _timestamp _key _headers`.
        options: the backend's own options.

    Raises:
        UrlError: the URL can't be read, or names no topic.
    """
    if isinstance(url, pl.DataFrame):
        made = connect(f"memory://frames-{next(_counter)}").topic(
            "rows", format=format, schema=schema, time=time, meta=meta
        )
        made.send(url)
        return made
    hidden, options = sealed(url), veiled(options)
    # This frame may end in a traceback, and what it holds by a plain name with it.
    del url
    where = parse(hidden)
    if not where.topics:
        raise UrlError(
            f"{where} names no topic. Write {str(where).rstrip('/')}/NAME, or list what "
            f'there is: sl.connect("{where}").topics().'
        )
    truth = None
    if where.scheme == "demo":
        truth = functools.partial(load("backends", "demo").truth, str(where))
    return Topic(
        connection_for(where, options),
        where.topics,
        format=format,
        schema=schema,
        time=time,
        meta=meta,
        truth=truth,
        patterns=True,
    )


def connect(url: str, *, options: Mapping[str, object] | None = None) -> Broker:
    """A broker by URL. Never connects; its calls do."""
    hidden, options = sealed(url), veiled(options)
    del url
    return Broker(parse(hidden), options)


def demo(
    kind: str = "trades",
    *,
    rate: float = 100,
    late: float = 0.0,
    delay: str = "5s",
    duplicate: float = 0.0,
    poison: float = 0.0,
    count: int = 100_000,
    seed: int = 0,
) -> Topic:
    """A topic without a broker: generated records, the same for the same arguments.

    Args:
        kind: "trades", "quotes" or "sensors".
        rate: records per second, from the first reader on.
        late: share of records whose event time trails, 0..1.
        delay: how far at most.
        duplicate: share of records sent twice.
        poison: share of payloads that can't be decoded.
        count: how many records in all; then silence.
        seed: another seed, other records.

    Returns:
        A topic with event time in `time`; `.truth` has the good records sent so far.
    """
    url = load("backends", "demo").demo_url(
        kind,
        rate=rate,
        late=late,
        delay=delay,
        duplicate=duplicate,
        poison=poison,
        count=count,
        seed=seed,
    )
    return topic(url, time="time")


def reset() -> None:
    """Stop all streams and forget the brokers in memory: a fresh start for a lesson."""
    stop_all()
    for name in [name for name in _connections if name.scheme in IN_PROCESS]:
        made = _connections.pop(name)
        if name.loop.running:
            ending = asyncio.run_coroutine_threadsafe(made.aclose(), name.loop.loop)
            ending.result(CLOSE_SECONDS)
    for scheme in IN_PROCESS:
        load("backends", scheme).reset()
