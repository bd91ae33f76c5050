"""What every test gets: a clean process before it, and a look at what it leaves behind."""

from __future__ import annotations

import itertools
import os
import secrets
import sys
import threading
from collections.abc import Iterator

import pytest

from streamlab import servers
from tests.brokers import KAFKA, REDIS, need, ready_kafka, shared
from tests.cases import load

load()

_numbers = itertools.count(1)
_LEFT_S = 5.0
# On a broker that stays, the topics of earlier runs are still there.
_RUN = f"-{secrets.token_hex(3)}" if os.environ.get(KAFKA) else ""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what Kafka needs before the first test that wants it: no test has time for that."""
    ours = not os.environ.get(KAFKA) and not session.config.option.collectonly
    if ours and any(
        "kafka" in getattr(item, "fixturenames", ()) for item in session.items
    ):
        ready_kafka()


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """End all streams after the test; fail if a thread or a task of one outlives that."""
    yield
    loops = sys.modules.get("streamlab.runtime.loop")
    if loops is None or not loops.started():
        return
    brokers = sys.modules.get("streamlab.topics.brokers")
    if brokers is not None:
        brokers.reset()
    for thread in threading.enumerate():
        if thread.name in {"streamlab-worker", "streamlab-recompute"}:
            thread.join(_LEFT_S)
            assert not thread.is_alive(), f"{thread.name} outlives the test's streams"
    tasks = [task.get_name() for task in loops.io()._tasks]
    assert not [name for name in tasks if name.startswith("streamlab:")], tasks


@pytest.fixture
def name() -> str:
    """A topic name that no other test has."""
    return f"topic{_RUN}-{next(_numbers)}"


@pytest.fixture(scope="session")
def valkey() -> Iterator[servers.Valkey]:
    """A Valkey that all tests share."""
    yield from shared("valkey", REDIS, "redis", servers.valkey)


@pytest.fixture(scope="session")
def kafka() -> Iterator[servers.Kafka]:
    """A real Kafka that all tests share; starts in a few seconds."""
    yield from shared("kafka", KAFKA, "kafka", servers.kafka)


@pytest.fixture(scope="session")
def kafka_light() -> Iterator[servers.KafkaLight]:
    """A mock of a Kafka that all tests share."""
    need("kafka_light")
    with servers.kafka_light() as server:
        yield server


@pytest.fixture(scope="session")
def redis_tls() -> Iterator[servers.Redis]:
    """A Redis that speaks TLS only and asks for no client certificate."""
    need("redis")
    with servers.redis(tls=True) as server:
        yield server
