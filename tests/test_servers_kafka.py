"""Throw-away Kafkas: every listener answers to a real client, and what was acknowledged stays."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.helpers import create_ssl_context

from streamlab import servers
from streamlab.clocks import SYSTEM
from streamlab.errors import UsageError
from tests.brokers import deny, kafka_send, need

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


@asynccontextmanager
async def consumer(
    port: int, *topics: str, **settings: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    client = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=f"127.0.0.1:{port}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **settings,
    )
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


async def read(port: int, topic: str, count: int, **settings: Any) -> list[bytes]:
    async with consumer(port, topic, **settings) as client:
        return [(await client.getone()).value for _ in range(count)]


class Unsecured(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """A token that nobody signed."""

    async def token(self) -> str:
        now = SYSTEM.now_ms() / 1000
        parts = {"alg": "none"}, {"sub": "alice", "iat": now, "exp": now + 600}
        texts = [base64.urlsafe_b64encode(json.dumps(p).encode()) for p in parts]
        return ".".join(text.decode().rstrip("=") for text in texts) + "."


def login(server: servers.Kafka, mechanism: str, user: str = "alice") -> dict[str, Any]:
    if mechanism == "OAUTHBEARER":
        return {
            "sasl_mechanism": mechanism,
            "sasl_oauth_token_provider": Unsecured(),
        }
    return {
        "sasl_mechanism": mechanism,
        "sasl_plain_username": user,
        "sasl_plain_password": server.users[user],
    }


def trusting(server: servers.Kafka, **client: Any) -> SSLContext:
    context: SSLContext = create_ssl_context(cafile=str(server.ca), **client)
    return context


@pytest.mark.parametrize(
    "mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
)
async def test_every_login_lets_a_user_send_and_read(
    kafka: servers.Kafka, name: str, mechanism: str
) -> None:
    settings = {"security_protocol": "SASL_PLAINTEXT", **login(kafka, mechanism)}

    await kafka_send(kafka.listeners.sasl, name, b"a", **settings)

    assert await read(kafka.listeners.sasl, name, 1, **settings) == [b"a"]


async def test_a_wrong_password_is_refused(kafka: servers.Kafka, name: str) -> None:
    settings = login(kafka, "PLAIN") | {"sasl_plain_password": "guess"}

    with pytest.raises(KafkaConnectionError):
        await kafka_send(
            kafka.listeners.sasl,
            name,
            security_protocol="SASL_PLAINTEXT",
            **settings,
        )


async def test_tls_alone_with_a_login_and_with_a_client_certificate(
    kafka: servers.Kafka, name: str
) -> None:
    ours = trusting(
        kafka, certfile=str(kafka.client_cert), keyfile=str(kafka.client_key)
    )
    both: dict[str, Any] = {"security_protocol": "SASL_SSL", **login(kafka, "PLAIN")}

    await kafka_send(
        kafka.listeners.tls,
        name,
        b"tls",
        security_protocol="SSL",
        ssl_context=trusting(kafka),
    )
    await kafka_send(
        kafka.listeners.sasl_tls,
        name,
        b"login",
        ssl_context=trusting(kafka),
        **both,
    )
    await kafka_send(
        kafka.listeners.mutual,
        name,
        b"mutual",
        security_protocol="SSL",
        ssl_context=ours,
    )

    assert await read(kafka.port, name, 3) == [b"tls", b"login", b"mutual"]
    with pytest.raises(KafkaConnectionError):
        await kafka_send(
            kafka.listeners.mutual,
            name,
            security_protocol="SSL",
            ssl_context=trusting(kafka),
        )


async def test_a_right_can_be_taken_from_one_user(
    kafka: servers.Kafka, name: str
) -> None:
    await kafka_send(kafka.port, name, b"a")
    deny(kafka, "bob", name)
    plain: dict[str, Any] = {"security_protocol": "SASL_PLAINTEXT"}

    allowed = plain | login(kafka, "SCRAM-SHA-256", "alice")
    denied = plain | login(kafka, "SCRAM-SHA-256", "bob")
    assert await read(kafka.listeners.sasl, name, 1, **allowed) == [b"a"]
    with pytest.raises(TopicAuthorizationFailedError):
        await read(kafka.listeners.sasl, name, 1, **denied)


@pytest.mark.slow
async def test_what_kafka_acknowledged_outlives_a_kill(name: str) -> None:
    need("kafka")
    with servers.kafka() as server:
        await kafka_send(server.port, name, b"a", b"b", acks="all")
        folder = server.dir

        server.kill()
        server.restart()

        assert await read(server.port, name, 2) == [b"a", b"b"]
    assert not folder.exists()


def test_a_password_that_kafka_can_not_hold_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="user 'ann'") as refused:
        servers.kafka(users={"ann": 'pass"word'})

    assert "word" not in str(refused.value).replace("a password for", "")


@pytest.mark.slow
async def test_the_light_kafka_takes_sends_reads_groups_and_commits(
    kafka_light: servers.KafkaLight, name: str
) -> None:
    await kafka_send(kafka_light.port, name, b"a", b"b", b"c")
    first = TopicPartition(name, 0)

    async with consumer(kafka_light.port, name, group_id="g") as client:
        assert (await client.getone()).value == b"a"
        await client.commit({first: 1})
    async with consumer(kafka_light.port, name, group_id="g") as client:
        assert (await client.getone()).value == b"b"
        assert await client.end_offsets([first]) == {first: 3}


async def test_the_light_kafka_knows_no_offset_for_a_time(
    kafka_light: servers.KafkaLight, name: str
) -> None:
    """Its docstring says so; once this fails, the docstring may change."""
    await kafka_send(kafka_light.port, name, b"a")
    first = TopicPartition(name, 0)

    async with consumer(kafka_light.port) as client:
        client.assign([first])

        assert await client.offsets_for_times({first: 0}) == {first: None}
