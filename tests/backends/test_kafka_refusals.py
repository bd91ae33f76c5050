"""What keeps a Kafka client out, and how it is said: addresses, logins, TLS, rights, topics."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streamlab import servers
from streamlab.backends.base import Consumer
from streamlab.backends.kafka import probe as kafka_probe
from streamlab.backends.kafka.connection import KafkaConnection
from streamlab.clocks import SYSTEM
from streamlab.errors import (
    AuthError,
    BrokerError,
    ConnectError,
    PermissionDeniedError,
    TlsError,
    TopicNotFoundError,
)
from streamlab.records import Earliest, Latest
from tests.backends.kafka_lab import connect, lab_on, read, values
from tests.brokers import deny
from tests.contracts.lab import some

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
CANARY = "c4nary-pa55word"
# Far beyond what any refusal takes, and far below a time-out of aiokafka's (40 s).
SECONDS = 12


async def refusal(connection: KafkaConnection, kind: type[BrokerError]) -> str:
    """What is said to who asks for the topics; within seconds."""
    try:
        async with asyncio.timeout(SECONDS):
            with pytest.raises(kind) as caught:
                await connection.topics()
    finally:
        await connection.aclose()
    assert type(caught.value) is kind
    return str(caught.value)


async def until_it_fails(consumer: Consumer) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            await consumer.receive(10, 1.0)


def free_port() -> int:
    with closing(socket(AF_INET, SOCK_STREAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def port_that(
    answers: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A listener that treats each caller so."""
    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def unsecured_token() -> str:
    """A token that nobody signed."""
    now = SYSTEM.now_ms() / 1000
    parts = {"alg": "none"}, {"sub": "alice", "iat": now, "exp": now + 600}
    texts = [base64.urlsafe_b64encode(json.dumps(p).encode()) for p in parts]
    return ".".join(text.decode().rstrip("=") for text in texts) + "."


# ---- nobody there -----------------------------------------------------------


async def test_a_refused_port_names_what_the_host_resolves_to() -> None:
    port = free_port()

    said = await refusal(connect(f"kafka://localhost:{port}"), ConnectError)

    assert said.startswith(f"nobody answers at kafka://localhost:{port}; ")
    assert "localhost resolves to " in said
    assert "127.0.0.1" in said
    assert said.endswith(f"port {port} refused")


async def test_a_name_that_does_not_resolve_is_told_from_a_refused_port() -> None:
    said = await refusal(connect("kafka://no-such-host.invalid"), ConnectError)

    assert "the name no-such-host.invalid does not resolve" in said


async def test_one_broker_that_answers_is_enough(kafka: servers.Kafka) -> None:
    hosts = f"localhost:{free_port()},{kafka.host}:{kafka.port}"
    connection = connect(f"kafka://{hosts}")

    await connection.topics()

    await connection.aclose()


async def test_a_port_that_says_nothing_is_given_up_after_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            writer.close()

    monkeypatch.setattr(kafka_probe, "_LOOK_S", 0.2)
    async with port_that(mute) as port:
        said = await refusal(
            connect(f"kafka://127.0.0.1:{port}", connect_timeout="500ms"), ConnectError
        )

    assert "takes the connection and says nothing within 0.5 s" in said


async def test_something_else_on_the_port_is_not_taken_for_a_kafka() -> None:
    async def babble(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(1)
        writer.write(b"-ERR unknown command\r\n" * 4)
        writer.close()

    async with port_that(babble) as port:
        said = await refusal(connect(f"kafka://127.0.0.1:{port}"), ConnectError)

    assert "what answers there is not Kafka" in said


# ---- logins -----------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_users_log_in_by_url_and_wrong_passwords_are_told_at_once(
    kafka: servers.Kafka, mechanism: str
) -> None:
    host = kafka.sasl_url.removeprefix("kafka://")
    right = connect(
        f"kafka://alice:{kafka.users['alice']}@{host}?sasl.mechanism={mechanism}"
    )
    wrong = connect(f"kafka://alice:{CANARY}@{host}", sasl_mechanism=mechanism)

    await right.topics()
    said = await refusal(wrong, AuthError)

    assert said == f"wrong user or password for user alice on {kafka.sasl_url}"
    await right.aclose()


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_token_is_fetched_by_any_function(
    kafka: servers.Kafka, kind: str
) -> None:
    async def later() -> str:
        return unsecured_token()

    fetch = later if kind == "async" else unsecured_token
    connection = connect(kafka.sasl_url, sasl_oauth_token_provider=fetch)

    await connection.topics()

    await connection.aclose()


async def test_a_function_that_gives_no_token_is_told_with_what_it_said(
    kafka: servers.Kafka,
) -> None:
    def fails() -> str:
        raise RuntimeError("the token server is down")

    said = await refusal(
        connect(kafka.sasl_url, sasl_oauth_token_provider=fails), AuthError
    )

    assert "raised RuntimeError: the token server is down" in said


async def test_a_token_that_is_refused_is_told(kafka: servers.Kafka) -> None:
    def stale() -> str:
        return "e30.e30."

    said = await refusal(
        connect(kafka.sasl_url, sasl_oauth_token_provider=stale), AuthError
    )

    assert "refused the token of sasl_oauth_token_provider" in said


async def test_a_broker_that_wants_a_name_says_so_to_who_has_none(
    kafka: servers.Kafka,
) -> None:
    said = await refusal(connect(kafka.sasl_url), AuthError)

    assert "it wants a user and password, kafka://$USER:$PASSWORD@127.0.0.1:" in said


async def test_a_broker_that_lets_in_anybody_says_so_to_who_has_a_name(
    kafka: servers.Kafka,
) -> None:
    host = kafka.url.removeprefix("kafka://")

    said = await refusal(connect(f"kafka://alice:{CANARY}@{host}"), AuthError)

    assert said == f"{kafka.url} lets in anybody: leave user and password out"


async def test_a_password_is_seen_nowhere(
    kafka: servers.Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    host = kafka.sasl_url.removeprefix("kafka://")
    connection = connect(f"kafka://alice:{CANARY}@{host}")

    with pytest.raises(AuthError) as caught:
        await connection.topics()

    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in str(error)
        frame = error.__traceback__
        while frame is not None:
            shown = [
                repr(value)
                for name, value in frame.tb_frame.f_locals.items()
                if frame.tb_frame.f_globals["__name__"] != __name__
            ]
            assert not [text for text in shown if CANARY in text]
            frame = frame.tb_next
        error = error.__cause__ or error.__context__
    assert CANARY not in repr(vars(connection))
    assert CANARY not in caplog.text
    await connection.aclose()


# ---- TLS --------------------------------------------------------------------


async def test_tls_with_an_authority_of_ones_own(kafka: servers.Kafka) -> None:
    host = kafka.ssl_url.removeprefix("kafka+ssl://")
    password = kafka.users["alice"]
    secure = kafka.sasl_ssl_url.removeprefix("kafka+ssl://")
    opened = [
        connect(f"kafka+ssl://{host}", ssl_cafile=kafka.ca),
        connect(
            f"kafka://{host}?security.protocol=SSL&ssl.ca.location={kafka.ca}",
        ),
        connect(f"kafka+ssl://{host}", ssl_verify=False),
        connect(f"kafka+ssl://alice:{password}@{secure}", ssl_cafile=kafka.ca),
        connect(
            kafka.mutual_url,
            ssl_cafile=kafka.ca,
            ssl_certfile=kafka.client_cert,
            ssl_keyfile=kafka.client_key,
        ),
    ]

    for connection in opened:
        await connection.topics()
        await connection.aclose()


async def test_a_certificate_of_unknown_authority_is_refused(
    kafka: servers.Kafka,
) -> None:
    said = await refusal(connect(kafka.ssl_url), TlsError)

    assert "the certificate was refused" in said
    assert 'options={"ssl_cafile": "ca.pem"}' in said


async def test_plain_against_tls_and_tls_against_plain_name_the_right_url(
    kafka: servers.Kafka,
) -> None:
    port, secure = kafka.port, kafka.listeners.tls

    plain = await refusal(connect(f"kafka://127.0.0.1:{secure}"), TlsError)
    tls = await refusal(connect(f"kafka+ssl://127.0.0.1:{port}"), TlsError)

    assert plain == (
        f"the broker speaks TLS, this URL doesn't: kafka+ssl://127.0.0.1:{secure}"
    )
    assert tls == (
        f"this URL says TLS and kafka+ssl://127.0.0.1:{port} doesn't speak it: "
        f"kafka://127.0.0.1:{port}"
    )


async def test_a_broker_that_wants_our_certificate_says_so(
    kafka: servers.Kafka,
) -> None:
    said = await refusal(connect(kafka.mutual_url, ssl_cafile=kafka.ca), TlsError)

    assert "wants a certificate of ours" in said


async def test_files_that_hold_no_certificate_are_named_before_connecting(
    tmp_path: Path,
) -> None:
    absent = await refusal(
        connect("kafka+ssl://localhost:1", ssl_cafile=tmp_path / "ca.pem"), TlsError
    )
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    unreadable = await refusal(
        connect("kafka+ssl://localhost:1", ssl_certfile=wrong), TlsError
    )

    assert "ssl_cafile, ssl_certfile or ssl_keyfile can't be used: No such" in absent
    assert "can't be used" in unreadable


async def test_a_key_with_a_password_is_opened_with_it_and_not_asked_for(
    kafka: servers.Kafka, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    made = await asyncio.create_subprocess_exec(
        *("openssl", "pkey", "-in", str(kafka.client_key), "-aes256"),
        *("-passout", f"pass:{CANARY}", "-out", str(locked)),
    )
    assert await made.wait() == 0
    files: dict[str, Any] = {
        "ssl_cafile": kafka.ca,
        "ssl_certfile": kafka.client_cert,
        "ssl_keyfile": locked,
    }
    opened = connect(kafka.mutual_url, **files, ssl_password=CANARY)

    await opened.topics()
    said = await refusal(connect(kafka.mutual_url, **files), TlsError)

    assert "can't be used" in said
    await opened.aclose()


# ---- topics and rights ------------------------------------------------------


async def test_a_missing_topic_names_the_nearest_and_is_not_made(
    kafka: servers.Kafka, name: str
) -> None:
    async with lab_on(f"{kafka.host}:{kafka.port}") as lab:
        await lab.fill(f"{name}-orders", {0: some(1)})
        connection = lab.connection

        with pytest.raises(TopicNotFoundError) as caught:
            await connection.resolve(f"{name}-oders", Earliest())

        assert f"Nearest: '{name}-orders'" in str(caught.value)
        assert "sl.connect('kafka://" in str(caught.value)
        assert await connection.partitions(f"{name}-oders") == frozenset()
        assert f"{name}-oders" not in await connection.topics()


@pytest.mark.parametrize(("right", "verb"), [("READ", "read"), ("DESCRIBE", "look at")])
async def test_a_missing_right_is_named(
    kafka: servers.Kafka, name: str, right: str, verb: str
) -> None:
    topic = f"{name}-{right.lower()}"
    async with lab_on(f"{kafka.host}:{kafka.port}") as lab:
        await lab.fill(topic, {0: some(3)})
        await asyncio.to_thread(deny, kafka, "bob", topic, right)
        host = kafka.sasl_url.removeprefix("kafka://")
        alice = connect(f"kafka://alice:{kafka.users['alice']}@{host}")
        bob = connect(f"kafka://bob:{kafka.users['bob']}@{host}")

        assert len(values(await read(alice, topic))) == 3
        async with asyncio.timeout(SECONDS):
            with pytest.raises(PermissionDeniedError) as caught:
                await read(bob, topic)

        assert str(caught.value) == (
            f'user bob may not {verb} "{topic}" on {kafka.sasl_url} '
            f"(missing right: {right})"
        )
        await alice.aclose()
        await bob.aclose()


async def test_a_cluster_that_calls_its_brokers_by_unreachable_names_is_told(
    name: str, kafka: servers.Kafka
) -> None:
    """The classic of containers: the door opens, and the records are behind another name."""
    port = free_port()
    connection = connect(kafka.url)
    client = await connection._client.open()
    ((node, broker),) = client.cluster._brokers.items()
    producer = AIOKafkaProducer(bootstrap_servers=f"{kafka.host}:{kafka.port}")
    await producer.start()
    await producer.send_and_wait(name, b"a", partition=0)
    await producer.stop()

    async def elsewhere(*_: object) -> bool:
        client.cluster._brokers[node] = broker._replace(port=port)
        return True

    await elsewhere()
    client._metadata_update = elsewhere
    for open_connection in client._conns.values():
        open_connection.close()
    client._conns.clear()

    said = str(await connection._client._silent(client, node))

    assert f"port {port} refused" in said
    assert (
        f"calls its broker {node} {broker.host}:{port} (advertised.listeners)" in said
    )
    await connection.aclose()


async def test_a_reader_without_a_right_fails_and_does_not_wait(
    kafka: servers.Kafka, name: str
) -> None:
    async with lab_on(f"{kafka.host}:{kafka.port}") as lab:
        await lab.fill(name, {0: some(3)})
        host = kafka.sasl_url.removeprefix("kafka://")
        bob = connect(f"kafka://bob:{kafka.users['bob']}@{host}")
        consumer = await bob.consumer(await bob.resolve(name, Latest()))
        assert await consumer.receive(10, 0.1) == ()

        await asyncio.to_thread(deny, kafka, "bob", name, "READ")
        await lab.fill(name, {0: some(3)})

        with pytest.raises(PermissionDeniedError, match="READ"):
            await until_it_fails(consumer)
        await bob.aclose()
