"""What is Redis' own, on a real Valkey: fields, numbered streams, rights, TLS, refusals."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import redis.asyncio

from streamlab import servers, uri
from streamlab.backends import redis as backend
from streamlab.backends.redis import RedisConnection
from streamlab.backends.redis_reader import RedisConsumer
from streamlab.errors import (
    AuthError,
    BrokerError,
    ConnectError,
    PermissionDeniedError,
    PositionError,
    TlsError,
    TopicNotFoundError,
    UnknownNameError,
    UrlError,
    UsageError,
)
from streamlab.records import (
    AtOffsets,
    Earliest,
    Latest,
    Newest,
    Outgoing,
    Partition,
    Records,
)

pytestmark = pytest.mark.broker


@pytest.fixture
async def client(valkey: servers.Valkey) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis(port=valkey.port, db=2)
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
async def open_(
    valkey: servers.Valkey, client: redis.asyncio.Redis
) -> AsyncIterator[Callable[..., RedisConnection]]:
    made: list[RedisConnection] = []

    def connect(url: str = f"{valkey.url}/2/", **options: object) -> RedisConnection:
        made.append(backend.connect(uri.parse(url), options))
        return made[-1]

    yield connect
    for connection in made:
        await connection.aclose()


async def reader(connection: RedisConnection, *topics: str) -> RedisConsumer:
    start: dict[Partition, Any] = {}
    stop: dict[Partition, Any] = {}
    for topic in topics:
        start |= await connection.resolve(topic, Earliest())
        stop |= await connection.resolve(topic, Latest())
    return await connection.consumer(start, stop)


async def read(connection: RedisConnection, *topics: str) -> list[Records]:
    consumer = await reader(connection, *topics)
    blocks: list[Records] = []
    while not consumer.ended:
        blocks += await consumer.receive(1000, 1.0)
    return blocks


def values(blocks: list[Records]) -> list[bytes | None]:
    return [value for block in blocks for value in block.values]


# ---- fields ---------------------------------------------------------------------


async def test_other_fields_become_key_and_headers(client: Any, open_: Any) -> None:
    await client.xadd("t", {"trace": "7", "msg": "a", "key": "k", "zone": "eu"})

    (block,) = await read(open_(), "t")

    assert block.values == [b"a"]
    assert block.keys == [b"k"]
    assert block.headers == [[("trace", b"7"), ("zone", b"eu")]]


async def test_options_name_payload_and_key(client: Any, open_: Any) -> None:
    await client.xadd("t", {"body": "a", "msg": "no", "who": "k"})

    (block,) = await read(open_(field="body", key_field="who"), "t")

    assert (block.values, block.keys) == ([b"a"], [b"k"])
    assert block.headers == [[("msg", b"no")]]


async def test_entries_of_several_fields_become_json_objects(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"temp": "21.5", "room": "é"})
    await client.xadd("t", {"temp": "22", "room": b"\xff"})

    (block,) = await read(open_(), "t")

    assert [json.loads(value or b"") for value in block.values] == [
        {"temp": "21.5", "room": "é"},
        {"temp": "22", "room": "\\xff"},
    ]


async def test_a_repeated_payload_field_is_a_header_the_second_time(
    client: Any, open_: Any
) -> None:
    await client.execute_command("XADD", "t", "*", "msg", "one", "msg", "two")

    (block,) = await read(open_(), "t")

    assert block.values == [b"one"]
    assert block.headers == [[("msg", b"two")]]


async def test_entries_without_the_payload_move_the_position(
    client: Any, open_: Any
) -> None:
    pipe = client.pipeline()
    pipe.xadd("t", {"msg": "first"})
    for i in range(350):
        pipe.xadd("t", {"noise": i})
    pipe.xadd("t", {"msg": "last"})
    await pipe.execute()
    connection = open_()
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    before = (await client.info("commandstats"))["cmdstat_xread"]["calls"]

    blocks: list[Records] = []
    while len(values(blocks)) < 2:
        blocks += await consumer.receive(1000, 1.0)
    for _ in range(20):
        assert not await consumer.receive(1000, 0.01)

    calls = (await client.info("commandstats"))["cmdstat_xread"]["calls"] - before
    assert values(blocks) == [b"first", b"last"]
    assert consumer.skipped == 350
    assert calls < 10


async def test_the_newest_are_counted_in_messages_not_in_entries(
    client: Any, open_: Any
) -> None:
    for i in range(4):
        await client.xadd("t", {"msg": i})
        await client.xadd("t", {"noise": i})
    connection = open_()

    start = await connection.resolve("t", Newest(3))
    consumer = await connection.consumer(start)

    assert values([*await consumer.receive(1000, 1.0)]) == [b"1", b"2", b"3"]


async def test_payloads_may_hold_anything(client: Any, open_: Any) -> None:
    odd = [
        *(b"", b"\r\n", b"a\r\nb", bytes(range(256)), b"x" * 100_000),
        b"\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$3\r\nmsg\r\n$1\r\nx",
        b"*2\r\n$15\r\n1767225600000-3\r\n*2\r\n$3\r\nmsg\r\n$1\r\nx\r\n",
    ]
    sent = odd * 60
    connection = open_()
    producer = await connection.producer("t")
    assert await producer.send(Outgoing(sent)) == len(sent)

    assert values(await read(connection, "t")) == sent


async def test_a_payload_that_imitates_the_end_of_an_answer_deceives_nobody(
    client: Any, open_: Any
) -> None:
    fake = b"x\r\n*2\r\n$20\r\n9999999999999-999999\r\n*2\r\n$3\r\nmsg\r\n$1\r\nx"
    sent = [b"a"] * 99 + [fake] + [b"b"] * 700 + [fake] + [b"c"] * 50
    connection = open_()
    producer = await connection.producer("t")
    await producer.send(Outgoing(sent))
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))

    blocks: list[Records] = []
    while len(values(blocks)) < len(sent):
        blocks += await consumer.receive(1000, 1.0)

    assert values(blocks) == sent


# ---- numbered streams -------------------------------------------------------------


async def test_numbered_streams_are_partitions(client: Any, open_: Any) -> None:
    for name in ("t:0", "t:2", "t:10", "t:x", "t:02", "tt:1", "t:1:5"):
        await client.xadd(name, {"msg": name})
    await client.set("t:3", "no stream")
    await client.xadd("t", {"msg": "not read"})
    connection = open_()

    lines = await connection.info("t")
    seen = sorted(values(await read(connection, "t")), key=str)

    assert [line.partition.number for line in lines] == [0, 2, 10]
    assert seen == [b"t:0", b"t:10", b"t:2"]


async def test_beside_numbered_streams_the_plain_one_is_partition_0(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "plain"})
    await client.xadd("t:1", {"msg": "one"})

    blocks = await read(open_(), "t")

    assert {b.partition.number: [*b.values] for b in blocks} == {
        0: [b"plain"],
        1: [b"one"],
    }


async def test_topics_count_numbered_streams_as_one(client: Any, open_: Any) -> None:
    for name in ("a:0", "a:1", "b", "c:x"):
        await client.xadd(name, {"msg": "1"})
    await client.set("d", "no stream")

    assert await open_().topics() == ["a", "b", "c:x"]


async def test_a_name_may_hold_the_signs_of_patterns(client: Any, open_: Any) -> None:
    await client.xadd("a*[b]?\\:1", {"msg": "mine"})
    await client.xadd("axb:1", {"msg": "other"})

    assert values(await read(open_(), "a*[b]?\\")) == [b"mine"]


async def test_a_busy_stream_does_not_crowd_out_a_quiet_one(
    client: Any, open_: Any
) -> None:
    connection = open_()
    producer = await connection.producer("t")
    await producer.send(Outgoing([b"busy"] * 3000, partitions=[0] * 3000))
    await producer.send(Outgoing([b"quiet"], partitions=[1]))

    start = await connection.resolve("t", Earliest())
    consumer = await connection.consumer(start)
    first = await consumer.receive(100, 1.0)

    assert b"quiet" in values([*first])


async def test_several_topics_are_read_over_one_connection(
    client: Any, open_: Any
) -> None:
    await client.xadd("a", {"msg": "1"})
    await client.xadd("b", {"other": "2"})

    blocks = await read(open_(), "a", "b")

    assert {b.partition.topic: [*b.values] for b in blocks} == {
        "a": [b"1"],
        "b": [b"2"],
    }


# ---- positions --------------------------------------------------------------------


async def test_an_id_names_the_first_record_delivered(client: Any, open_: Any) -> None:
    for entry in ("5-0", "5-1", "6-0"):
        await client.xadd("t", {"msg": entry}, id=entry)
    connection = open_()

    for offset, first in (
        ("5-0", b"5-0"),
        ("5-1", b"5-1"),
        ("5", b"5-0"),
        ("5-7", b"6-0"),
    ):
        start = await connection.resolve("t", AtOffsets({0: offset}))
        consumer = await connection.consumer(start)
        assert values([*await consumer.receive(10, 1.0)])[0] == first

    with pytest.raises(PositionError, match="no partition 7"):
        await connection.resolve("t", AtOffsets({7: "1-0"}))
    with pytest.raises(PositionError, match="no Redis entry id"):
        await connection.resolve("t", AtOffsets({0: 12}))


async def test_the_end_of_a_quiet_stream_is_pinned_once(
    client: Any, open_: Any
) -> None:
    await client.xadd("busy", {"msg": "old"})
    await client.xadd("quiet", {"msg": "old"})
    connection = open_()
    start = {
        **await connection.resolve("busy", Latest()),
        **await connection.resolve("quiet", Latest()),
    }
    consumer = await connection.consumer(start)

    await client.xadd("quiet", {"msg": "new"})
    for i in range(50):
        await client.xadd("busy", {"msg": i})
    blocks: list[Records] = []
    while len(values(blocks)) < 51:
        blocks += await consumer.receive(7, 1.0)

    assert values(blocks).count(b"new") == 1


# ---- writing ----------------------------------------------------------------------


async def test_rows_go_where_their_partition_or_key_says(
    client: Any, open_: Any
) -> None:
    connection = open_()
    fresh = await connection.producer("t")
    await fresh.send(Outgoing([b"a", b"b"], partitions=[0, 1]))

    producer = await connection.producer("t")
    await producer.send(Outgoing([b"k1", b"k2"], keys=[b"same", b"same"]))
    await producer.send(Outgoing([b"x", b"y"]))

    rows = [await client.xrange(f"t:{n}") for n in (0, 1)]
    inside = [[fields[b"msg"] for _, fields in entries] for entries in rows]
    assert not await client.exists("t")
    assert sorted(map(len, inside)) == [2, 4]
    assert [b"k1", b"k2"] in [[v for v in part if v[:1] == b"k"] for part in inside]
    assert {b"x", b"y"} & {*inside[0]}
    assert {b"x", b"y"} & {*inside[1]}


async def test_timestamps_become_ids_and_only_rise(client: Any, open_: Any) -> None:
    producer = await open_().producer("t")

    await producer.send(Outgoing([b"a", b"b"], timestamps_ms=[1000, 1000]))
    with pytest.raises(BrokerError, match=r"1 of 2 rows.*ids only rise") as caught:
        await producer.send(Outgoing([b"c", b"d"], timestamps_ms=[2000, 500]))

    assert "Sort the rows" in str(caught.value)
    assert [i for i, _ in await client.xrange("t")] == [b"1000-0", b"1000-1", b"2000-0"]


async def test_what_an_entry_can_not_hold_is_refused_before_writing(
    client: Any, open_: Any
) -> None:
    producer = await open_().producer("t")

    with pytest.raises(BrokerError, match="row 1 .* tombstone"):
        await producer.send(Outgoing([b"a", None]))
    with pytest.raises(BrokerError, match="header .* named 'key'"):
        await producer.send(Outgoing([b"a"], headers=[[("key", b"x")]]))

    assert not await client.exists("t")


async def test_a_topic_keeps_the_field_it_has(client: Any, open_: Any) -> None:
    await client.xadd("one", {"reading": "1"})
    await client.xadd("many", {"a": "1", "b": "2"})
    connection = open_()

    producer = await connection.producer("one")
    await producer.send(Outgoing([b"2"]))

    assert values(await read(connection, "one")) == [b"1", b"2"]
    with pytest.raises(BrokerError, match=r"no payload field.*options="):
        await connection.producer("many")


# ---- refusals ---------------------------------------------------------------------


async def test_a_key_that_is_no_stream_is_said_to_be_none(
    client: Any, open_: Any
) -> None:
    await client.set("t", "text")

    with pytest.raises(BrokerError, match="'t' on .* is not a stream"):
        await open_().resolve("t", Latest())


async def test_a_stream_replaced_by_something_else_is_an_error_and_no_silence(
    client: Any, open_: Any
) -> None:
    await client.xadd("t", {"msg": "1"})
    connection = open_()
    consumer = await connection.consumer(await connection.resolve("t", Earliest()))
    await consumer.receive(10, 1.0)

    await client.set("t", "text")

    with pytest.raises(BrokerError, match="not a stream"):
        for _ in range(100):
            await consumer.receive(10, 0.1)


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
    none = backend.connect(uri.parse(f"redis://{host}/t"), {})
    right = backend.connect(uri.parse(f"redis://{host}/t"), {"password": "right"})

    with pytest.raises(AuthError, match="wrong user or password") as caught:
        await wrong.topics()
    with pytest.raises(AuthError, match="wants a password"):
        await none.topics()

    assert await right.topics() == []
    shown = f"{caught.value!r} {caught.value} {wrong.place} {wrong!r} {vars(wrong)!r}"
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
        pytest.skip("openssl makes the certificate, and is not there")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
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
