"""Real brokers for tests: how to get one, and what is said where there is none.

`STREAMLAB_TEST_REDIS=host:port` and `STREAMLAB_TEST_KAFKA=host:port` name brokers of one's own that
the shared fixtures hand out. The tests leave their topics there; on Redis, database 2 is emptied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn

import pytest
from aiokafka import AIOKafkaProducer

from streamlab import servers
from streamlab.errors import BrokerError
from streamlab.servers.kafka_broker import prepare

REDIS = "STREAMLAB_TEST_REDIS"
KAFKA = "STREAMLAB_TEST_KAFKA"


def absent(lack: str) -> NoReturn:
    """A part is missing: no matter on a laptop, a fault on CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(lack)
    pytest.skip(lack)


@cache
def ready_kafka() -> str:
    """Get a Kafka ready to start unless that is done; why that can't be, or ""."""
    if lack := servers.lacks("kafka"):
        return lack
    try:
        prepare()
    except BrokerError as error:
        return str(error)
    return ""


def need(kind: servers.Kind) -> None:
    """Go on only where such a server can start."""
    if lack := ready_kafka() if kind == "kafka" else servers.lacks(kind):
        absent(lack)


class Own:
    """A broker that runs somewhere else: it has an address, and is not ours to kill."""

    def __init__(self, scheme: str, address: str, variable: str) -> None:
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self.url = f"{scheme}://{address}"
        self._variable = variable

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        pytest.skip(f"needs the local server's .{name}; {self._variable} names another")


def shared(
    kind: servers.Kind, variable: str, scheme: str, start: Callable[[], Any]
) -> Iterator[Any]:
    """The body of a session's fixture: the broker that `variable` names, or one of ours."""
    if address := os.environ.get(variable):
        yield Own(scheme, address, variable)
        return
    need(kind)
    with start() as server:
        yield server


async def kafka_send(port: int, topic: str, *values: bytes, **settings: Any) -> None:
    """Write to partition 0 of a topic, which is made if need be."""
    producer = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", **settings)
    try:
        await producer.start()
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


def deny(
    server: servers.Kafka,
    user: str,
    name: str,
    operation: str = "READ",
    *,
    kind: str = "TOPIC",
) -> None:
    """Take a right on a topic, or something else, from a user of a local Kafka only."""
    if find_spec("confluent_kafka") is None:
        absent("confluent-kafka makes the ACL: pip install 'streamlab[demo]'")
    admin: Any = import_module("confluent_kafka.admin")
    client = admin.AdminClient({"bootstrap.servers": f"{server.host}:{server.port}"})
    for who, verdict in (("*", "ALLOW"), (user, "DENY")):
        binding = admin.AclBinding(
            admin.ResourceType[kind],
            name,
            admin.ResourcePatternType.LITERAL,
            f"User:{who}",
            "*",
            admin.AclOperation["ALL" if who == "*" else operation],
            admin.AclPermissionType[verdict],
        )
        for done in client.create_acls([binding]).values():
            done.result(30)
