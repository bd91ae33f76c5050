"""A Kafka without Java: librdkafka's mock cluster, inside this process."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any, Self

from streamlab.errors import BrokerError, MissingExtraError
from streamlab.servers.ports import HOST

_START_S = 10.0


class KafkaLight:
    """A running mock cluster of one broker; made by `kafka_light`, ended by `close` or `with`.

    Attributes:
        host, port: where it listens.
    """

    title = "the light Kafka"

    def __init__(self) -> None:
        """Start it in threads of this process."""
        library = _library()
        # The cluster lives inside a client of librdkafka, and as long as that does.
        self._owner: Any = library.Producer(
            {"test.mock.num.brokers": 1, "log_level": 0}
        )
        try:
            brokers = self._owner.list_topics(timeout=_START_S).brokers.values()
        except library.KafkaException as error:
            raise BrokerError(f"the light Kafka did not start: {error}") from error
        self.host = HOST
        self.port: int = next(iter(brokers)).port

    @property
    def url(self) -> str:
        """The broker's URL, without a topic."""
        return f"kafka://{self.host}:{self.port}"

    def close(self) -> None:
        """End it; may be called twice."""
        self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def kafka_light() -> KafkaLight:
    """Start librdkafka's mock cluster on 127.0.0.1: up in a tenth of a second, and not all of Kafka.

    What works: sending (compressed, idempotent, in transactions), reading from any offset, times
    and headers of records, groups, and commits. Topics are made at first use, with 4 partitions.

    What does not: making topics by request, finding the offset for a time (the answer is always
    "none"), the records' times in what sending returns, listing and describing groups, SASL, TLS,
    and keeping anything: it lives in memory, in this process, without limit. A new group waits
    3 s for further members.

    Raises:
        MissingExtraError: `confluent-kafka` is not installed.
        BrokerError: it did not start.
    """
    return KafkaLight()


def _library() -> ModuleType:
    try:
        return import_module("confluent_kafka")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "confluent_kafka":
            raise
        raise MissingExtraError(
            "a local Kafka without Java", library="confluent-kafka", extra="demo"
        ) from error
