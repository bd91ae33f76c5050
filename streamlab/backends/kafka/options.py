"""What a Kafka URL and its options say, checked once.

Options are written as aiokafka writes them (`security_protocol`, `sasl_plain_username`) or as
librdkafka and the Java clients do (`security.protocol`, `sasl.username`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from streamlab.backends.base import Options
from streamlab.backends.kafka import logs as kafka_logs
from streamlab.backends.kafka.spelling import FORBIDDEN, canonical
from streamlab.backends.kafka.tls import Certificates
from streamlab.backends.kafka.values import (
    acks,
    compression,
    endpoint,
    flag,
    isolation,
    mechanism,
    number,
    protocol,
    secret,
    text,
    timeout,
    token_provider,
)
from streamlab.errors import UnknownNameError, UrlError, UsageError
from streamlab.uri import Secret, StreamUrl
from streamlab.veil import Veiled

_PORT = 9092
_Reader = Callable[[object], object]
# How we log in and whom we trust.
_LOGIN: Mapping[str, _Reader] = {
    "client_id": text,
    "connect_timeout": timeout,
    "sasl_mechanism": mechanism,
    "sasl_oauth_token_provider": token_provider,
    "sasl_plain_password": secret,
    "sasl_plain_username": text,
    "security_protocol": protocol,
    "ssl_cafile": text,
    "ssl_certfile": text,
    "ssl_check_hostname": endpoint,
    "ssl_keyfile": text,
    "ssl_password": secret,
    "ssl_verify": flag,
}
# What goes to aiokafka's clients as it is.
_COMMON: Mapping[str, _Reader] = {
    "connections_max_idle_ms": number,
    "metadata_max_age_ms": number,
    "request_timeout_ms": number,
    "retry_backoff_ms": number,
}
_CONSUMING: Mapping[str, _Reader] = {
    "check_crcs": flag,
    "client_rack": text,
    "fetch_max_bytes": number,
    "fetch_max_wait_ms": number,
    "fetch_min_bytes": number,
    "heartbeat_interval_ms": number,
    "isolation_level": isolation,
    "max_partition_fetch_bytes": number,
    "max_poll_interval_ms": number,
    "rebalance_timeout_ms": number,
    "session_timeout_ms": number,
}
_PRODUCING: Mapping[str, _Reader] = {
    "acks": acks,
    "compression_type": compression,
    "enable_idempotence": flag,
    "linger_ms": number,
    "max_batch_size": number,
    "max_request_size": number,
    "transaction_timeout_ms": number,
}
_READ: Mapping[str, _Reader] = {**_LOGIN, **_COMMON, **_CONSUMING, **_PRODUCING}
_FETCH_WAIT_MS = 500
# A fetch is decoded and freed as a whole: beyond 1 MB it only costs memory and delay.
_FETCH: Mapping[str, object] = {
    "fetch_max_bytes": 4 << 20,
    "fetch_max_wait_ms": _FETCH_WAIT_MS,
    "max_partition_fetch_bytes": 1 << 20,
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    # Which record is next is ours to say: we count what is lost.
    "auto_offset_reset": "none",
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """How to reach a cluster, and what to tell aiokafka's clients.

    Attributes:
        place: the cluster as shown to people.
        hosts: (host, port) of the brokers to ask first.
        tls: whether we speak TLS.
        sasl: how we log in; None if we don't.
        user: who we are; None for nobody.
        client_id: what we call ourselves.
        connect_timeout: seconds for a broker to let us in.
        isolation_level: "read_committed" or "read_uncommitted".
    """

    place: str
    hosts: tuple[tuple[str, int], ...]
    tls: bool = False
    sasl: str | None = None
    user: str | None = None
    client_id: str = "streamlab"
    isolation_level: str = "read_committed"
    connect_timeout: float = 5.0
    password: Secret | None = None
    tokens: AbstractTokenProvider | None = None
    certificates: Certificates = field(default_factory=Certificates)
    options: Mapping[str, object] = field(default_factory=dict)
    _known: list[tuple[str, int]] = field(default_factory=list)

    def __repr__(self) -> str:
        # Passwords live in here: nothing but the place may reach a traceback.
        return f"Settings({self.place!r})"

    @property
    def address(self) -> str:
        """Hosts and ports, for the status line."""
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    @property
    def security_protocol(self) -> str:
        """Kafka's word for TLS or not, log in or not."""
        if self.sasl:
            return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"
        return "SSL" if self.tls else "PLAINTEXT"

    @property
    def fetch_wait(self) -> float:
        """Seconds for which a broker may keep a question for records that aren't there yet."""
        return int(str(self.options.get("fetch_max_wait_ms", _FETCH_WAIT_MS))) / 1000

    async def ready(self) -> None:
        """Read the certificates, off the loop: to be awaited before `common` and its like.

        Raises:
            TlsError: a certificate or key file can't be used.
        """
        if self.tls:
            await self.certificates.load(self.place)

    def common(self) -> dict[str, Any]:
        """Arguments that every client of aiokafka takes; after `ready`."""
        chosen: dict[str, Any] = {
            "bootstrap_servers": self._servers(),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": 20_000,
            **self._among(_COMMON),
        }
        if self.tls:
            chosen["ssl_context"] = self.certificates.context
        if self.sasl:
            chosen |= {
                "sasl_mechanism": self.sasl,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password and Veiled(self.password.reveal()),
                "sasl_oauth_token_provider": self.tokens,
            }
        return chosen

    def consuming(self) -> dict[str, Any]:
        """Arguments for AIOKafkaConsumer, but the group; after `ready`."""
        return {**self.common(), **_FETCH, **self._among(_CONSUMING)}

    def producing(self) -> dict[str, Any]:
        """Arguments for AIOKafkaProducer, but the transactional id; after `ready`."""
        chosen = self._among(_PRODUCING)
        weak = chosen.get("acks", "all") not in ("all", -1)
        chosen.setdefault("enable_idempotence", not weak)
        chosen.setdefault("acks", "all")
        return {**self.common(), **chosen}

    def answered(self, host: str, port: int) -> None:
        """Ask this broker first from now on: aiokafka waits long for one that is silent."""
        self._known[:] = [(host, port)]

    def _servers(self) -> list[str]:
        places = dict.fromkeys([*self._known, *self.hosts])
        return [f"{host}:{port}" for host, port in places]

    def _among(self, names: Mapping[str, _Reader]) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if name in names}


def settings(url: StreamUrl, options: Options) -> Settings:
    """Read URL and options; an option beats the URL.

    Raises:
        UrlError: a path that is no topic.
        UnknownNameError: an option that doesn't exist, with the nearest of those that do.
        UsageError: an option's value makes no sense, or it is ours to set.
    """
    kafka_logs.hush()
    if url.path:
        raise UrlError(
            f"{url.place}: Kafka has topics only. Write {url.scheme}://host:9092/topic."
        )
    read = _given(url, options)
    user = read.get("sasl_plain_username", url.user)
    password = read.get("sasl_plain_password", url.password)
    tokens = read.get("sasl_oauth_token_provider")
    asked = str(read.get("security_protocol", ""))
    default = "OAUTHBEARER" if tokens else "PLAIN"
    wanted = bool(user or tokens or "sasl_mechanism" in read or "SASL" in asked)
    if asked and "SASL" not in asked:
        wanted = False
    sasl = str(read.get("sasl_mechanism", default)) if wanted else None
    _complete(url.place, sasl, user, password, tokens)
    return Settings(
        place=url.place,
        hosts=tuple((host.strip("[]"), port or _PORT) for host, port in url.hosts),
        tls="SSL" in asked if asked else url.scheme == "kafka+ssl",
        sasl=sasl,
        user=user,
        password=password,
        tokens=tokens,
        client_id=read.get("client_id", "streamlab"),
        connect_timeout=read.get("connect_timeout", 5.0),
        isolation_level=read.get("isolation_level", "read_committed"),
        certificates=Certificates(
            cafile=read.get("ssl_cafile"),
            certfile=read.get("ssl_certfile"),
            keyfile=read.get("ssl_keyfile"),
            password=read.get("ssl_password"),
            verify=read.get("ssl_verify", True),
            check_hostname=read.get("ssl_check_hostname", True),
        ),
        options={n: v for n, v in read.items() if n not in _LOGIN},
    )


def _given(url: StreamUrl, options: Options) -> dict[str, Any]:
    """URL query and options under aiokafka's names, read."""
    found: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for source in (url.params, options):
        here: set[str] = set()
        for asked, value in source.items():
            name = canonical(asked)
            if hint := FORBIDDEN.get(name):
                raise UsageError(f"Kafka option {asked!r} is not set here: {hint}.")
            if name not in _READ or (source is url.params and _READ[name] is secret):
                # Neither a log of URLs nor a shared notebook is a place for a password.
                raise UnknownNameError.among("Kafka option", asked, _READ)
            if name in here:
                raise UsageError(
                    f"Kafka options {spelled[name]!r} and {asked!r} are the same: give one."
                )
            here.add(name)
            spelled[name] = asked
            found[name] = _value(asked, name, value)
    return found


def _value(asked: str, name: str, value: object) -> object:
    try:
        return _READ[name](value)
    except (TypeError, ValueError) as error:
        hidden = _READ[name] in (secret, token_provider)
        shown = "" if hidden else f"={value!r}"
        raise UsageError(f"Kafka option {asked}{shown}: {error}.") from None


def _complete(
    place: str,
    sasl: str | None,
    user: str | None,
    password: Secret | None,
    tokens: object,
) -> None:
    """Refuse what aiokafka would trip over later."""
    if sasl == "OAUTHBEARER" and tokens is None:
        raise UsageError(
            f"{place}: OAUTHBEARER needs a function that returns a token: "
            'options={"sasl_oauth_token_provider": fetch_token}.'
        )
    if sasl not in (None, "OAUTHBEARER") and (not user or password is None):
        scheme, _, rest = place.partition("://")
        raise UsageError(
            f"{place}: {sasl} needs user and password: {scheme}://$USER:$PASSWORD@{rest}/…"
        )
