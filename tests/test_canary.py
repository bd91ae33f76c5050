"""A password that sings: put into URLs and options, and looked for wherever text comes out.

What a user types is his own: a literal password stands in his source, and Python prints source
lines. So the frames of this file are left out of tracebacks; all others are read with their locals.
"""

from __future__ import annotations

import base64
import gc
import json
import logging
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbclient
import nbformat
import pytest
import redis

import streamlab as sl
from streamlab import servers
from streamlab.clocks import SYSTEM
from streamlab.errors import AuthError, StreamlabError, TlsError
from streamlab.topics import brokers
from tests.brokers import need

nb: Any = nbformat  # its functions are not typed
CANARY = "c4n4ry-/sings%loud"
ROWS = [{"n": number} for number in range(20)]


def forms(secret: str, user: str = "alice") -> set[str]:
    """A secret as it may be disguised."""
    pair = f"\0{user}\0{secret}".encode()
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(pair).decode(),
        json.dumps(secret)[1:-1],
    }


def shown(error: BaseException) -> str:
    """All that a traceback could print of an error, but for what this file's frames hold."""
    texts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    whole = traceback.TracebackException(
        type(error), error, error.__traceback__, capture_locals=True
    )
    todo: list[traceback.TracebackException | None] = [whole]
    while todo:
        each = todo.pop()
        if each is not None:
            todo += [each.__cause__, each.__context__, *(each.exceptions or ())]
            each.stack[:] = [f for f in each.stack if f.filename != __file__]
            each.stack[:] = [f for f in each.stack if "/_pytest/" not in f.filename]
    return "\n".join([*texts, *whole.format()])


def caught(work: Callable[[], object]) -> StreamlabError:
    with pytest.raises(StreamlabError) as found:
        work()
    return found.value


def ours() -> Iterator[str]:
    """How each object of ours that is alive now shows itself."""
    for thing in gc.get_objects():
        if str(type(thing).__module__).startswith("streamlab"):
            yield repr(thing)
    yield repr(brokers._connections)


class Ears:
    """Collects what was said, and by whom."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self._log = log
        self.heard: dict[str, str] = {}

    def hear(self, where: str, *things: object) -> None:
        self.heard[where] = "\n".join(
            shown(t) if isinstance(t, BaseException) else str(t) for t in things
        )

    def silent(self, *secrets: str) -> None:
        self.hear("log", self._log.text)
        self.hear("objects", *ours())
        for where, text in self.heard.items():
            for secret in secrets:
                at = text.find(secret)
                assert at < 0, f"{where}: …{text[max(0, at - 200) : at + 200]}"


@pytest.fixture
def ears(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Ears:
    monkeypatch.setenv("CANARY", CANARY)
    for name in ("streamlab", "aiokafka", "redis", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    return Ears(caplog)


@pytest.fixture(scope="module")
def guarded() -> Iterator[servers.Valkey]:
    """A Valkey that asks for the canary."""
    need("valkey")
    with servers.valkey(extra={"requirepass": CANARY}) as server:
        yield server


def live_and_looked_at(topic: sl.Topic, ears: Ears) -> None:
    """Use a topic as a notebook does, and hear all it shows."""
    topic.send(ROWS)
    live = topic.live(start="earliest")
    live.wait(count=len(ROWS))
    chart = live.plot.line(x="n", y="n")
    table = live._repr_mimebundle_()
    ears.hear("topic", topic, topic.info(), topic._repr_mimebundle_())
    ears.hear("frame", live, live.status(), live.stats, live.explain(), table)
    ears.hear("chart", chart, json.dumps(chart.get_state(), default=str))
    ears.hear("streams", sl.streams(), sl.streams()._repr_html_())
    ears.hear("parity", live.check_parity())


def spelled(port: int, way: str) -> tuple[str, dict[str, object]]:
    """The URL of a Redis and its options, with the canary in one of three places."""
    if way == "as an option":
        return f"redis://127.0.0.1:{port}", {"password": CANARY}
    word = quote(CANARY, safe="") if way == "in the URL" else "$CANARY"
    return f"redis://:{word}@127.0.0.1:{port}", {}


WAYS = ["in the URL", "as a variable", "as an option"]


@pytest.mark.broker
@pytest.mark.parametrize("way", WAYS)
def test_redis_reads_and_shows_everything_but_the_password(
    guarded: servers.Valkey, ears: Ears, name: str, way: str
) -> None:
    url, options = spelled(guarded.port, way)

    topic = sl.topic(f"{url}/{name}", options=options)
    live_and_looked_at(topic, ears)
    broker = sl.connect(url, options=options)
    ears.hear("broker", broker, broker.topics(), broker.topic(name))

    ears.silent(*forms(CANARY))


@pytest.mark.broker
@pytest.mark.parametrize("way", WAYS)
def test_redis_fails_without_a_word_of_the_password(
    valkey: servers.Valkey,
    redis_tls: servers.Redis,
    ears: Ears,
    name: str,
    way: str,
) -> None:
    for port, what in ((valkey.port, "wrong"), (1, "closed"), (redis_tls.port, "tls")):
        url, options = spelled(port, way)
        options["socket_timeout"] = "1s"
        topic = sl.topic(f"{url}/{name}", options=options)
        ears.hear(what, caught(topic.peek), topic, topic._repr_mimebundle_())
        ears.hear(f"{what}, live", caught(topic.live))

    ears.silent(*forms(CANARY))


@pytest.mark.broker
def test_a_live_frame_fails_without_a_word_of_the_password(
    ears: Ears, name: str
) -> None:
    need("valkey")
    with servers.valkey(extra={"requirepass": CANARY}) as server:
        url, options = spelled(server.port, "as an option")
        topic = sl.topic(f"{url}/{name}", options=options)
        topic.send(ROWS)
        live = topic.live(start="earliest")
        live.wait(count=len(ROWS))
        with redis.Redis(port=server.port, password=CANARY) as boss:
            boss.config_set("requirepass", f"{CANARY}!")
            boss.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        ears.hear("failed", caught(lambda: live.wait(count=99)), live.error)
        ears.hear("frame", live, live.status(), live._repr_mimebundle_())

    assert live.error is not None
    ears.silent(*forms(CANARY))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"redis://ann:{CANARY}@host:port/t", {}),
        (f"redis://ann:{CANARY}@host:1:2/t", {}),
        (f"redis://ann:{quote(CANARY, safe='')}@host/%zz?x", {}),
        (f"radis://ann:{quote(CANARY, safe='')}@host/t", {}),
        (f"redis://host/t?password={quote(CANARY, safe='')}", {}),
        (f"redis://ann:{quote(CANARY, safe='')}@host/", {}),
        ("redis://host/t", {"pasword": CANARY}),
        ("redis://host/t", {"password": {CANARY: 1}}),
        ("redis://host/t", {"password": CANARY, "db": "x"}),
        ("redis://host/t", {"ssl_password": [CANARY]}),
        (f"kafka://ann:{CANARY}@host:port/t", {}),
        (f"kafka://ann:{quote(CANARY, safe='')}@host/t/u", {}),
        (f"kafka://host/t?sasl.password={quote(CANARY, safe='')}", {}),
        ("kafka://host/t", {"sasl.pasword": CANARY}),
        ("kafka://host/t", {"sasl.password": CANARY, "sasl_plain_password": CANARY}),
        ("kafka://ann@host/t", {"sasl.password": [CANARY]}),
        ("kafka://ann@host/t", {"sasl.password": CANARY, "acks": "x"}),
        ("kafka://ann@host/t", {"sasl.password": CANARY, "group.id": "x"}),
        ("kafka://host/t", {"ssl.key.password": [CANARY]}),
        ("kafka://host/t", {"sasl_oauth_token_provider": CANARY}),
        ("kafka://host/t", {"security.protocol": "SASL_SSL", "sasl.password": CANARY}),
    ],
)
def test_what_is_refused_is_refused_without_a_word_of_the_password(
    ears: Ears, url: str, options: dict[str, object]
) -> None:
    ears.hear("refused", caught(lambda: sl.topic(url, options=options)))

    ears.silent(*forms(CANARY))


@pytest.mark.broker
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("way", ["in the URL", "sasl.password", "sasl_plain_password"])
def test_kafka_reads_and_fails_without_a_word_of_the_password(
    kafka: servers.Kafka, ears: Ears, name: str, mechanism: str, way: str
) -> None:
    password = kafka.users["alice"]
    place = kafka.sasl_url.removeprefix("kafka://")
    common: dict[str, object] = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
    }

    def topic(word: str, port: int | None = None) -> sl.Topic:
        there = place if port is None else f"127.0.0.1:{port}"
        if way == "in the URL":
            url = f"kafka://alice:{quote(word, safe='')}@{there}/{name}"
            return sl.topic(url, options=common)
        url = f"kafka://alice@{there}/{name}"
        return sl.topic(url, options={**common, way: word})

    live_and_looked_at(topic(password), ears)
    failure = caught(topic(CANARY).peek)
    ears.hear("wrong", failure)
    ears.hear("closed", caught(topic(CANARY, 1).peek))
    ears.hear("no login there", caught(topic(CANARY, kafka.port).peek))

    assert isinstance(failure, AuthError)
    ears.silent(*forms(password), *forms(CANARY))


@pytest.mark.broker
@pytest.mark.timeout(120)
def test_kafka_takes_a_key_with_a_password_and_never_says_it(
    kafka: servers.Kafka, ears: Ears, name: str, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "pkey", "-in", str(kafka.client_key), "-aes256"),
            *("-passout", f"pass:{CANARY}", "-out", str(key)),
        ],
        check=True,
        capture_output=True,
    )

    def topic(word: str) -> sl.Topic:
        return sl.topic(
            f"{kafka.mutual_url}/{name}",
            options={
                "ssl.ca.location": str(kafka.ca),
                "ssl.certificate.location": str(kafka.client_cert),
                "ssl.key.location": str(key),
                "ssl.key.password": word,
            },
        )

    live_and_looked_at(topic(CANARY), ears)
    wrong = f"{CANARY}?"
    failure = caught(topic(wrong).peek)
    ears.hear("wrong", failure)

    assert isinstance(failure, TlsError)
    ears.silent(*forms(CANARY), *forms(wrong))


@pytest.mark.broker
@pytest.mark.timeout(120)
def test_kafka_takes_tokens_and_never_says_them(
    kafka: servers.Kafka, ears: Ears, name: str
) -> None:
    now = SYSTEM.now_ms() / 1000
    parts = {"alg": "none"}, {"sub": "alice", "iat": now, "exp": now + 600}
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    good = ".".join(text.decode().rstrip("=") for text in texts) + "."

    def topic(token: str) -> sl.Topic:
        def fetch_token() -> str:
            return token

        return sl.topic(
            f"{kafka.sasl_url}/{name}",
            options={
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "OAUTHBEARER",
                "sasl_oauth_token_provider": fetch_token,
            },
        )

    live_and_looked_at(topic(good), ears)
    ears.hear("wrong", caught(topic(CANARY).peek))

    ears.silent(*forms(CANARY), good)


CELLS = """
import os, streamlab as sl
t = sl.topic(os.environ["CANARY_URL"]); t
---
t.send([{"n": n} for n in range(20)]); t.info()
---
live = t.live(start="earliest"); live.wait(count=20); live
---
live.plot.line(x="n", y="n")
---
sl.streams()
---
%xmode Verbose
---
sl.topic(os.environ["CANARY_URL"].replace("@", "x@")).peek()
---
sl.topic(os.environ["CANARY_URL"] + "?nonsense=1")
"""


@pytest.mark.broker
@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_saved_notebook_holds_everything_but_the_password(
    guarded: servers.Valkey, ears: Ears, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://:{quote(CANARY, safe='')}@127.0.0.1:{guarded.port}/{name}"
    monkeypatch.setenv("CANARY_URL", url)
    notebook = nb.v4.new_notebook(
        cells=[nb.v4.new_code_cell(text.strip()) for text in CELLS.split("---")]
    )
    client = nbclient.NotebookClient(
        notebook, timeout=60, allow_errors=True, store_widget_state=True
    )

    client.execute()

    saved = nb.writes(notebook)
    assert "AuthError" in saved
    assert "nonsense" in saved
    assert "application/vnd.jupyter.widget-state+json" in saved
    ears.hear("notebook", saved)
    ears.silent(*forms(CANARY))
