"""`streamlab doctor`: what is here, and how far one gets with a broker."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys

import pytest
from rich.console import Console

from streamlab import doctor, servers
from streamlab.backends.kafka import batches as kafka_batches
from tests.brokers import deny, kafka_send
from tests.test_cli import streamlab


def told(url: str | None = None) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    code = doctor.run(url, console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def marks(report: str, place: str) -> dict[str, str]:
    """The steps of a visit and their signs."""
    lines = [line.split() for line in report.partition(f"{place}")[2].splitlines()]
    return {line[1]: line[0] for line in lines if line and line[0] in "✓✖"}


def test_it_lists_versions_parts_and_roads_and_connects_to_nothing() -> None:
    spy = (
        "import socket, sys\n"
        "def refuse(*a): raise SystemExit(f'connects to {a[1:]}')\n"
        "socket.socket.connect = socket.socket.connect_ex = refuse\n"
        "from streamlab import cli\n"
        "sys.argv = ['streamlab', 'doctor']\n"
        "cli.main()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", spy], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for word in ("streamlab", "polars", "aiokafka", "a local Kafka", "Chromium"):
        assert word in done.stdout
    assert "Connected to nothing" in done.stdout


def test_a_part_that_is_missing_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("STREAMLAB_CHROMIUM", raising=False)

    code, report = told()

    assert code == 0
    assert "✖  a local Redis" in report
    for package in ("redis-server", "maven", "chromium"):
        assert f"apt-get install {package}" in report


@pytest.mark.parametrize("fast", [True, False])
def test_it_says_which_road_kafka_is_read_on(
    monkeypatch: pytest.MonkeyPatch, *, fast: bool
) -> None:
    monkeypatch.setattr(kafka_batches, "road", lambda: (fast, "aiokafka 9.9"))

    _, report = told()

    assert ("Kafka's fast road" in report) is fast
    assert ("Kafka's fallback" in report) is not fast
    assert "aiokafka 9.9" in report


@pytest.mark.broker
def test_a_broker_that_answers_passes_every_step(valkey: servers.Valkey) -> None:
    code, report = told(valkey.url)

    assert code == 0
    assert marks(report, valkey.url) == dict.fromkeys(
        ("address", "TLS", "login", "topics"), "✓"
    )


def test_a_closed_port_stops_at_the_address_and_hides_the_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        done = streamlab("doctor", f"redis://ann:canary@127.0.0.1:{port}/t")

    assert done.returncode == 1
    assert marks(done.stdout, f"redis://127.0.0.1:{port}") == {"address": "✖"}
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.broker
def test_an_unknown_authority_stops_at_tls(redis_tls: servers.Redis) -> None:
    code, report = told(redis_tls.url)
    known, _ = told(f"{redis_tls.url}/?ssl_ca_certs={redis_tls.ca}")

    assert (code, known) == (1, 0)
    assert marks(report, redis_tls.url) == {"address": "✓", "TLS": "✖"}


@pytest.mark.broker
@pytest.mark.timeout(120)
def test_kafka_stops_at_the_login_the_topic_or_the_right_to_read(
    kafka: servers.Kafka, name: str
) -> None:
    place = kafka.sasl_url.removeprefix("kafka://")
    options = "?security.protocol=SASL_PLAINTEXT&sasl.mechanism=SCRAM-SHA-256"
    asyncio.run(kafka_send(kafka.port, name, b"{}"))
    deny(kafka, "bob", name)
    bob = f"bob:{kafka.users['bob']}"

    def steps(login: str, topic: str, word: str) -> dict[str, str]:
        code, report = told(f"kafka://{login}@{place}/{topic}{options}")
        assert code == 1
        assert word in report
        return marks(report, kafka.sasl_url)

    assert steps("bob:guess", name, "password") == {
        "address": "✓",
        "TLS": "✓",
        "login": "✖",
    }
    reached = dict.fromkeys(("address", "TLS", "login", "topics"), "✓")
    assert steps(bob, "nowhere", "no topic") == {**reached, "reading": "✖"}
    assert steps(bob, name, "may not read") == {**reached, "reading": "✖"}


def test_what_is_in_this_process_has_no_address() -> None:
    code, report = told("memory://lab")

    assert code == 0
    assert marks(report, "memory://lab") == {"topics": "✓"}
