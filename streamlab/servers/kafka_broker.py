"""A real Kafka of one node: broker and controller in one Java process."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from streamlab.errors import BrokerError
from streamlab.servers import certificates, kafka_archive
from streamlab.servers.certificates import Certificates, Certified
from streamlab.servers.kafka_jars import jars, java
from streamlab.servers.kafka_settings import (
    ADMIN,
    Listeners,
    Spec,
    check_users,
    keystore,
    properties,
    scram_words,
)
from streamlab.servers.ports import on_free_ports
from streamlab.servers.process import LocalServer
from streamlab.servers.redislike import kept_folder

CLUSTER = "c3RyZWFtbGFiLWxvY2FsMQ"  # sixteen bytes in base64, as Kafka wants them
_READY = "Kafka Server started"
_FORMAT_S = 60.0
# For a quick start: it is up in 2 s, and in 4 s without the first two.
_JVM = (
    *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"),
    *("-Xmx512m", "-Djava.awt.headless=true"),
)
_LOGGING = """\
rootLogger.level=warn
rootLogger.appenderRef.c.ref=c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c %m%n
logger.ready.name=kafka.server.KafkaRaftServer
logger.ready.level=info
"""


class Kafka(Certified, LocalServer):
    """A running Kafka; made by `kafka`.

    Attributes:
        users: passwords by user, "admin" among them, who may do everything.
        certificates: what a client of the TLS listeners must know; see also `ca`,
            `client_cert` and `client_key`.
        listeners: the ports of all listeners.
    """

    title: ClassVar[str] = "Kafka"
    start_s: ClassVar[float] = 60.0
    stop_s: ClassVar[float] = 30.0

    def __init__(
        self,
        listeners: Listeners,
        folder: Path | None,
        *,
        users: Mapping[str, str],
        extra: Mapping[str, str],
        archiving: Path | None = None,
    ) -> None:
        """Start it, and let it write an archive of classes at its end if `archiving`."""
        home = jars()
        archive = kafka_archive.place(java(), home)
        flags = kafka_archive.flags(archive)
        self._words = (java(), *_JVM, *flags, "-cp", f"{home}/*")
        self._archiving = archiving
        super().__init__(listeners.plain, folder)
        self.listeners = listeners
        self.users = dict(users)
        self._settings = self.dir / "server.properties"
        try:
            self.certificates = made = certificates.make(self.dir)
            self._write(made, extra)
            self._format()
        except BaseException:
            self.close()
            raise
        self._launch()

    @property
    def url(self) -> str:
        """The plain listener: no login, all rights."""
        return f"kafka://{self.host}:{self.port}"

    @property
    def sasl_url(self) -> str:
        """The listener that asks for a login: PLAIN, SCRAM-SHA-256 or -512, OAUTHBEARER."""
        return f"kafka://{self.host}:{self.listeners.sasl}"

    @property
    def ssl_url(self) -> str:
        """The listener that speaks TLS."""
        return f"kafka+ssl://{self.host}:{self.listeners.tls}"

    @property
    def sasl_ssl_url(self) -> str:
        """The listener that asks for a login over TLS."""
        return f"kafka+ssl://{self.host}:{self.listeners.sasl_tls}"

    @property
    def mutual_url(self) -> str:
        """The listener that lets in only who shows a client certificate."""
        return f"kafka+ssl://{self.host}:{self.listeners.mutual}"

    @property
    def proxied_url(self) -> str:
        """Where a proxy may listen and hand on to `listeners.behind`.

        That listener sends its clients back to the proxy, so that all they say goes through it.
        """
        return f"kafka://{self.host}:{self.listeners.proxied}"

    def _ports(self) -> Sequence[int]:
        return self.listeners.own

    def _command(self) -> Sequence[str]:
        logging = f"-Dlog4j2.configurationFile={self.dir / 'log4j2.properties'}"
        main = ("kafka.Kafka", str(self._settings))
        if self._archiving is None:
            return [*self._words, logging, *main]
        start, *words = self._words
        return [start, *kafka_archive.writes(self._archiving), *words, logging, *main]

    def _answers(self) -> bool:
        return _READY in self.printed(self._begin)

    def _start(self) -> None:
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        super()._start()

    def _write(self, made: Certificates, extra: Mapping[str, str]) -> None:
        pair = made.server_key.read_text() + made.server.read_text()
        data = self.dir / "data"
        spec = Spec(self.listeners, made, data, self.users, extra)
        (self.dir / "log4j2.properties").write_text(_LOGGING)
        for path, text in (
            (keystore(made), pair),
            (self._settings, properties(spec)),
        ):
            # It holds a key, or passwords.
            path.touch(mode=0o600)
            path.write_text(text)

    def _format(self) -> None:
        """Prepare the data folder, as a new Kafka wants it; one that is there stays as it is."""
        tool = ("kafka.tools.StorageTool", "format", "--ignore-formatted")
        words = [*self._words, *tool, "-t", CLUSTER, "-c", str(self._settings)]
        done = subprocess.run(  # noqa: S603 (our own words)
            [*words, *scram_words(self.users)],
            cwd=self.dir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FORMAT_S,
            check=False,
        )
        if done.returncode:
            raise BrokerError(f"Kafka can't prepare its folder: {_why(done.stderr)}")


def _why(printed: str) -> str:
    if "UnsupportedClassVersionError" in printed:
        return "this Java is too old; Kafka 4 needs Java 17 or newer (JAVA_HOME names one)."
    lines = [line for line in printed.splitlines() if not line.startswith("\tat ")]
    return " | ".join(lines[-3:]) or "it said nothing."


def kafka(
    *,
    port: int | None = None,
    users: Mapping[str, str] | None = None,
    dir: str | Path | None = None,  # noqa: A002 (as valkey's)
    extra: Mapping[str, str] | None = None,
) -> Kafka:
    """Start a real Kafka 4 on 127.0.0.1 and wait until it serves.

    It needs Java 17; its jars are fetched with Maven the first time. What was acknowledged
    outlives `kill` and `restart`. Topics are made at first use, with 4 partitions. Everybody may
    do everything until an ACL is made for the resource.

    Args:
        port: the plain listener's; None takes a free one. All others take free ones.
        users: passwords by user for the listeners that ask for a login; None makes "admin",
            "alice" and "bob" with passwords of their own (`.users`).
        dir: folder of its files, made if absent and kept; None takes a temporary one.
        extra: further settings by their names in server.properties.

    Raises:
        UsageError: a user's name or password that Kafka's files can't hold.
        BrokerError: Java, Maven or openssl is missing, or it did not start.
    """
    known = {ADMIN: secrets.token_hex(8), **(users or {})}
    if users is None:
        known |= {name: secrets.token_hex(8) for name in ("alice", "bob")}
    check_users(known)
    folder = kept_folder(dir)
    prepare()
    return on_free_ports(
        len(Listeners._fields),
        lambda ports: Kafka(
            Listeners(*ports),
            folder,
            users=known,
            extra=dict(extra or {}),
        ),
        first=port,
    )


def prepare() -> None:
    """Do what is done once on a machine: fetch the jars, and make the archive of their classes.

    Raises:
        BrokerError: Java is missing, or the jars are not there and can't be fetched.
    """
    archive = kafka_archive.place(java(), jars())
    if not archive.exists():
        # Without it a broker starts too, only slower.
        with contextlib.suppress(BrokerError, OSError):
            kafka_archive.make(archive, _run_once)


def _run_once(archive: Path) -> None:
    """Start a broker and end it politely, so that the JVM writes the archive."""
    with tempfile.TemporaryDirectory(prefix="streamlab-kafka-") as folder:
        on_free_ports(
            len(Listeners._fields),
            lambda ports: Kafka(
                Listeners(*ports),
                Path(folder),
                users={ADMIN: secrets.token_hex(8)},
                extra={},
                archiving=archive,
            ),
        ).close()
