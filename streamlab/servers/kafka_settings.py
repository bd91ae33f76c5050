"""What a local Kafka is told: its listeners, its users, and settings for one quick node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from streamlab.errors import UsageError
from streamlab.servers.certificates import Certificates
from streamlab.servers.ports import HOST

ADMIN = "admin"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
# Characters that Kafka's own forms for users (JAAS, --add-scram) can't hold.
_UNFIT = re.compile(r'[\s,=\[\]"\\]|[^\x20-\x7e]')
_LOGIN = "org.apache.kafka.common.security"
_PLAIN = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # Replayed records carry old timestamps; otherwise they are deleted half a minute after a start.
    "log.retention.ms": "-1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "100",
    # After a kill the broker is refused until its former session ends: 11 s by the default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    # Without a login one is ANONYMOUS: the broker itself, and all on the plain listener.
    "super.users": f"User:ANONYMOUS;User:{ADMIN}",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
}


class Listeners(NamedTuple):
    """The ports of one broker.

    Attributes:
        plain, sasl, tls, sasl_tls, mutual: what users connect to; the last wants a client
            certificate.
        behind: a plain one whose clients are sent on to `proxied`.
        proxied: where nobody listens until a proxy does.
        controller: the broker's own.
    """

    plain: int
    sasl: int
    tls: int
    sasl_tls: int
    mutual: int
    behind: int
    proxied: int
    controller: int

    @property
    def own(self) -> tuple[int, ...]:
        """Those that the broker itself listens on."""
        return tuple(port for name, port in self._asdict().items() if name != "proxied")


class Spec(NamedTuple):
    """All that goes into a broker's settings.

    Attributes:
        users: passwords by user.
        extra: settings by their names in server.properties; they win.
    """

    listeners: Listeners
    certificates: Certificates
    data: Path
    users: Mapping[str, str]
    extra: Mapping[str, str]


_PROTOCOLS = {
    "PLAINTEXT": "PLAINTEXT",
    "SASL": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "SASL_TLS": "SASL_SSL",
    "MUTUAL": "SSL",
    "BEHIND": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
}


def check_users(users: Mapping[str, str]) -> None:
    """Refuse users and passwords that Kafka's files can't hold.

    Raises:
        UsageError: with the user's name, never with the password.
    """
    for user, password in users.items():
        if not user or not password or _UNFIT.search(user + password):
            raise UsageError(
                f"user {user!r}: a name and a password for the local Kafka are one or more "
                r'printable ASCII characters without spaces and , = [ ] " \.'
            )


def properties(spec: Spec) -> str:
    """The text of server.properties."""
    settings = {
        **_PLAIN,
        **_addresses(spec.listeners),
        **_logins(spec.users),
        **_tls(spec.certificates),
        "log.dirs": str(spec.data),
        **spec.extra,
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def scram_words(users: Mapping[str, str]) -> Sequence[str]:
    """What the storage tool is told so that users can log in with SCRAM."""
    words: list[str] = []
    for user, password in users.items():
        for mechanism in SCRAM:
            words += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
    return words


def _addresses(ports: Listeners) -> dict[str, str]:
    there = dict(zip(_PROTOCOLS, ports.own, strict=True))
    told = {name: port for name, port in there.items() if name != "CONTROLLER"}
    told["BEHIND"] = ports.proxied
    return {
        "listeners": ",".join(f"{n}://{HOST}:{port}" for n, port in there.items()),
        "advertised.listeners": ",".join(
            f"{name}://{HOST}:{port}" for name, port in told.items()
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in _PROTOCOLS.items()
        ),
        "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
    }


def _logins(users: Mapping[str, str]) -> dict[str, str]:
    known = " ".join(f'user_{user}="{word}"' for user, word in users.items())
    modules = {
        "plain": f"{_LOGIN}.plain.PlainLoginModule required {known};",
        **{
            name.lower(): f"{_LOGIN}.scram.ScramLoginModule required;" for name in SCRAM
        },
        # Kafka's own unsecured tokens: whoever says who he is, is believed.
        "oauthbearer": f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";',
    }
    found = {}
    for listener in ("sasl", "sasl_tls"):
        found[f"listener.name.{listener}.sasl.enabled.mechanisms"] = ",".join(
            name.upper() for name in modules
        )
        for name, module in modules.items():
            found[f"listener.name.{listener}.{name}.sasl.jaas.config"] = module
    return found


def _tls(certificates: Certificates) -> dict[str, str]:
    found = {"listener.name.mutual.ssl.client.auth": "required"}
    for listener in ("tls", "sasl_tls", "mutual"):
        start = f"listener.name.{listener}.ssl"
        found |= {
            f"{start}.keystore.type": "PEM",
            f"{start}.keystore.location": str(keystore(certificates)),
            f"{start}.truststore.type": "PEM",
            f"{start}.truststore.location": str(certificates.ca),
        }
    return found


def keystore(certificates: Certificates) -> Path:
    """The file that holds the server's key and certificate in one, as Kafka wants them."""
    return certificates.server.with_name("keystore.pem")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\")
