"""What a Redis server refuses, and how it is said: rights, passwords, TLS, options."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from streamlab import servers, uri
from streamlab.backends.redis import connection as backend
from streamlab.errors import (
    AuthError,
    BrokerError,
    ConnectError,
    PermissionDeniedError,
    TlsError,
    TopicNotFoundError,
    UnknownNameError,
    UrlError,
    UsageError,
)
from streamlab.records import (
    Earliest,
    Latest,
    Outgoing,
)
from tests.backends.redis_reading import read, values

pytestmark = pytest.mark.broker


# ---- refusals ---------------------------------------------------------------------


async def test_a_key_that_is_no_stream_is_said_to_be_none(
    client: Any, open_: Any
) -> None:
    await client.set("t", "text")

    with pytest.raises(BrokerError, match=r"'t' on .* is not a stream"):
        await open_().resolve("t", Latest())


async def test_a_stream_replaced_by_something_else_is_an_error_and_no_silence(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "1"})
    connection = open_()
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    await consumer.receive(10, 1.0)

    await client.set("t", "text")

    # The XREAD on its way ends after its two seconds, the next one is refused.
    with pytest.raises(BrokerError, match="not a stream"):
        await consumer.receive(10, 10)


async def test_a_missing_topic_names_the_nearest(client: Any, open_: Any) -> None:
    await client.xadd("orders", {"msg": "1"})

    with pytest.raises(
        TopicNotFoundError, match=r"'oders' on redis://.*Nearest: 'orders'"
    ):
        await open_().resolve("oders", Earliest())


async def test_a_wrong_password_is_told_at_once_and_never_shown(valkeys: Any) -> None:
    server = valkeys(extra={"requirepass": "right"})
    host = f"127.0.0.1:{server.port}"
    wrong = backend.connect(uri.parse(f"redis://:s3cret@{host}/t"), {})
    given = backend.connect(uri.parse(f"redis://{host}/t"), {"password": "s3cret"})
    none = backend.connect(uri.parse(f"redis://{host}/t"), {})
    right = backend.connect(uri.parse(f"redis://{host}/t"), {"password": "right"})

    with pytest.raises(AuthError, match="wrong user or password") as caught:
        await wrong.topics()
    with pytest.raises(AuthError, match="wants a password"):
        await none.topics()

    assert await right.topics() == []
    shown = f"{caught.value!r} {caught.value} {wrong.place} {vars(wrong)} {vars(given)}"
    assert "s3cret" not in shown
    await right.aclose()


async def test_a_password_where_none_is_set_says_so(
    valkey: servers.Valkey, open_: Any
) -> None:
    with pytest.raises(AuthError, match="has no password set"):
        await open_(f"redis://:s3cret@127.0.0.1:{valkey.port}/t").topics()


async def test_a_missing_right_is_named(
    valkey: servers.Valkey, client: Any, open_: Any
) -> None:
    await client.xadd("orders", {"msg": "1"})
    await client.xadd("secret", {"msg": "1"})
    await client.acl_setuser(
        "etl",
        enabled=True,
        passwords=["+pw"],
        keys=["orders"],
        commands=["+select", "+xread", "+xrange", "+xrevrange", "+xinfo"],
    )
    connection = open_(f"redis://etl:pw@127.0.0.1:{valkey.port}/2/")

    # Without SCAN, ECHO and MEMORY it still reads; only the list and the size are missing.
    assert values(await read(connection, "orders")) == [b"1"]
    assert (await connection.info("orders"))[0].bytes is None
    with pytest.raises(PermissionDeniedError, match=r"user etl .*\+scan"):
        await connection.topics()
    with pytest.raises(PermissionDeniedError, match="user etl may not use 'secret'"):
        await connection.resolve("secret", Earliest())
    producer = await connection.producer("orders")
    with pytest.raises(PermissionDeniedError, match=r"0 of 1 rows.*\+xadd"):
        await producer.send(Outgoing([b"2"]))
    await client.acl_deluser("etl")


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_nobody_there_is_told_at_once(scheme: str, valkeys: Any) -> None:
    server = valkeys()
    server.kill()
    connection = backend.connect(uri.parse(f"{scheme}://127.0.0.1:{server.port}/t"), {})

    async with asyncio.timeout(5):
        with pytest.raises(ConnectError, match=f"nobody answers at .*{server.port}"):
            await connection.topics()


# ---- TLS --------------------------------------------------------------------------


async def test_tls_to_a_plain_server_names_the_plain_url(
    valkey: servers.Valkey, open_: Any
) -> None:
    connection = open_(
        f"rediss://127.0.0.1:{valkey.port}/t", socket_connect_timeout="500ms"
    )

    with pytest.raises(TlsError, match=f"redis://127.0.0.1:{valkey.port}"):
        await connection.topics()


@pytest.fixture
async def tls_port(valkey: servers.Valkey, tmp_path: Path) -> AsyncIterator[int]:
    """A port that speaks TLS and hands on to the plain server."""
    openssl = which("openssl")
    if openssl is None:
        lack = "openssl makes the certificate, and is not there"
        if os.environ.get("CI") == "true":
            pytest.fail(lack)
        pytest.skip(lack)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    await asyncio.to_thread(
        subprocess.run,
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                to.write(data)
                await to.drain()
        except OSError:
            pass
        finally:
            to.close()

    async def serve(inner: asyncio.StreamReader, outer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(copy(inner, back), copy(there, outer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_tls_reads_when_the_certificate_is_known_and_not_otherwise(
    tls_port: int, tmp_path: Path, client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "safe"})
    url = f"rediss://localhost:{tls_port}/2/"
    known = open_(url, ssl_ca_certs=str(tmp_path / "cert.pem"))
    careless = open_(url, ssl_cert_reqs="none")

    assert values(await read(known, "t")) == [b"safe"]
    assert values(await read(careless, "t")) == [b"safe"]
    with pytest.raises(TlsError, match=r"certificate was refused.*ssl_ca_certs"):
        await open_(url).topics()
    with pytest.raises(TlsError, match="can't be used"):
        await open_(url, ssl_ca_certs="nowhere.pem").topics()


async def test_a_plain_url_to_a_tls_server_hints_at_tls(
    tls_port: int, open_: Any
) -> None:
    with pytest.raises(
        (TlsError, ConnectError), match=f"rediss://127.0.0.1:{tls_port}"
    ):
        await open_(f"redis://127.0.0.1:{tls_port}/t").topics()


# ---- options ----------------------------------------------------------------------


def test_an_unknown_option_is_refused_with_the_list() -> None:
    with pytest.raises(UnknownNameError, match=r"'feild'.*Nearest: 'field'.*key_field"):
        backend.connect(uri.parse("redis://h/t"), {"feild": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("db", -1),
        ("db", True),
        ("field", ""),
        ("socket_timeout", 0),
        ("ssl_cert_reqs", "maybe"),
        ("ssl_check_hostname", "perhaps"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        backend.connect(uri.parse("redis://h/t"), {name: value})


def test_a_password_never_stands_in_the_query() -> None:
    with pytest.raises(UsageError) as caught:
        backend.connect(uri.parse("redis://h/t?password=s3cret"), {})

    assert "s3cret" not in str(caught.value)


def test_more_than_one_host_is_refused() -> None:
    with pytest.raises(UrlError, match="one host"):
        backend.connect(uri.parse("redis://a,b/t"), {})


async def test_options_can_stand_in_the_url(
    client: Any, open_: Any, valkey: Any
) -> None:
    await client.xadd("t", {"body": "a", "msg": "no"})

    connection = open_(f"{valkey.url}/t?field=body&db=2")

    assert connection.place == f"{valkey.url}/2/"
    assert values(await read(connection, "t")) == [b"a"]


async def test_nothing_is_written_while_reading(
    valkey: servers.Valkey, client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "1"})
    written = (await client.info("persistence"))["rdb_changes_since_last_save"]

    connection = open_(client_name="looker")
    await connection.info("t")
    await read(connection, "t")

    now = (await client.info("persistence"))["rdb_changes_since_last_save"]
    names = {line["name"] for line in await client.client_list()}
    assert now == written
    assert "looker" in names
    assert await client.xinfo_groups("t") == []
