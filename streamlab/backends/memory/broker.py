"""Topics in this process's memory: `memory://lab/topic`, the reference for all backends.

"lab" names a broker; the same name is the same broker everywhere in the process. A topic comes
to exist when it is first read or written, with one partition or with as many as its URL says:
`memory://lab/topic?partitions=3`. Only asking *about* a topic (`info`) that nobody has made is
an error. A key decides a record's partition by its CRC-32; records without a key take turns.
Members of a group count as dead after 10 s of silence, or as long as the URL says:
`memory://lab/topic?session=3s`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from streamlab.backends.base import Connection
from streamlab.backends.inprocess.log import LogTopic
from streamlab.backends.memory.connection import MemoryConnection
from streamlab.backends.memory.groups import Group
from streamlab.clocks import SYSTEM, Clock
from streamlab.durations import fixed_span
from streamlab.errors import TopicNotFoundError, UrlError, UsageError
from streamlab.uri import StreamUrl


class MemoryBroker:
    """The topics under one name, and their groups. May be used from any thread.

    Attributes:
        clock: by which records get their time and members of groups count as dead; set it
            before there are any.
        writers: who uses which name for transactions.
    """

    def __init__(self, name: str) -> None:
        """Begin without topics."""
        self.clock: Clock = SYSTEM
        self.writers: dict[str, object] = {}
        self._groups: dict[str, Group] = {}
        self.place = f"memory://{name}"
        self._topics: dict[str, LogTopic] = {}
        self._lock = threading.Lock()
        self._trouble: str | None = None

    def names(self) -> list[str]:
        """Of the topics there are, sorted."""
        return sorted(self._topics)

    def find(self, name: str) -> LogTopic:
        """A topic that is there.

        Raises:
            TopicNotFoundError: it isn't.
        """
        if topic := self._topics.get(name):
            return topic
        raise TopicNotFoundError.among(name, self.place, self.names())

    def make(self, name: str, partitions: int | None = None) -> LogTopic:
        """A topic, made if it isn't there (with one partition by default).

        Raises:
            UsageError: it is there, with another number of partitions than asked for.
        """
        with self._lock:
            topic = self._topics.get(name)
            if topic is None:
                topic = LogTopic(name, partitions or 1, clock=self.clock)
                self._topics[name] = topic
                topic.trouble = self._trouble
        if partitions not in {None, len(topic.logs)}:
            raise UsageError(
                f"partitions={partitions}: {name!r} on {self.place} has {len(topic.logs)} "
                "already. Take another name, or leave partitions out."
            )
        return topic

    def grow(self, name: str, partitions: int) -> None:
        """Add partitions to a topic until it has so many; its readers and groups notice."""
        self.find(name).grow(partitions)
        for group in self.groups():
            group.wake()

    def groups(self) -> list[Group]:
        """The groups there are, by name."""
        with self._lock:
            return [group for _, group in sorted(self._groups.items())]

    def group(self, name: str) -> Group:
        """A group, made if it isn't there."""
        with self._lock:
            if name not in self._groups:
                self._groups[name] = Group(name, self._count, lambda: self.clock)
            return self._groups[name]

    def _count(self, topic: str) -> int:
        return len(self._topics[topic].logs)

    def cut(self, why: str = "connection refused") -> None:
        """Let nobody read or write until `mend`, as if the broker were gone."""
        self._fail(why)

    def mend(self) -> None:
        """Be there again, with everything as it was."""
        self._fail(None)

    def _fail(self, why: str | None) -> None:
        with self._lock:
            self._trouble = why
            topics = list(self._topics.values())
        for topic in topics:
            topic.fail(why)


class _Shelf:
    """A broker's topics as one URL sees them: with its number of partitions."""

    def __init__(self, broker: MemoryBroker, partitions: int | None) -> None:
        self._broker = broker
        self._partitions = partitions

    def names(self) -> list[str]:
        return self._broker.names()

    def find(self, name: str) -> LogTopic:
        return self.make(name) if self._partitions else self._broker.find(name)

    def make(self, name: str) -> LogTopic:
        return self._broker.make(name, self._partitions)

    def to_write(self, name: str, partitions: int | None = None) -> LogTopic:
        topic = self._broker.make(
            name,
            self._partitions or (None if name in self._broker.names() else partitions),
        )
        if partitions is not None and len(topic.logs) < partitions:
            raise UsageError(
                f"partitions={partitions}: {name!r} on {self._broker.place} has "
                f"{len(topic.logs)} already. Take another name, or leave partitions out."
            )
        return topic


# What makes a name the same broker everywhere in the process.
_BROKERS: dict[str, MemoryBroker] = {}


def broker(name: str) -> MemoryBroker:
    """The broker of that name; made on first use."""
    return _BROKERS.setdefault(name, MemoryBroker(name))


def reset() -> None:
    """Forget all brokers. Who still holds one goes on with it; the names begin anew."""
    _BROKERS.clear()


def connect(url: StreamUrl, options: Mapping[str, object]) -> Connection:
    """Open a broker by URL.

    Raises:
        UrlError: a parameter that this backend doesn't have.
        UsageError: any option; there are none.
    """
    if options:
        raise UsageError(f"memory takes no options, not even {next(iter(options))!r}.")
    if unknown := sorted({*url.params} - {"partitions", "session"}):
        raise UrlError(
            f"{url}: no parameter {unknown[0]!r}. There are: partitions, session."
        )
    text = url.params.get("partitions")
    if text is not None and not (
        text.isascii() and text.isdigit() and 0 < int(text) < 10_000
    ):
        raise UrlError(f"{url}: partitions is a number from 1 to 9999.")
    there = broker(url.hosts[0][0])
    shelf = _Shelf(there, int(text) if text else None)
    session = fixed_span(url.params.get("session", "10s"), "session").seconds
    return MemoryConnection(shelf, there, place=url.place, session=session)
