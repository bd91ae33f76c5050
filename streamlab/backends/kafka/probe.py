"""Whether a Kafka cluster can be reached at all, and if not, why not.

aiokafka tries again and again, or says "unable to bootstrap", whatever is wrong. Here each
broker is asked once, and what stands in the way is found out by looking at its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from aiokafka import errors as aio
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from streamlab.backends.kafka import errors as kafka_errors
from streamlab.backends.kafka.options import Settings
from streamlab.errors import AuthError, BrokerError, ConnectError, TlsError

# ApiVersions, version 0: correlation 1, no client id. Whatever speaks Kafka answers it.
_HELLO = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
_LOOK_S = 2.0


async def reach(settings: Settings) -> None:
    """Come back once one of the brokers has let us in.

    Raises:
        BrokerError: none of them did: AuthError, TlsError or ConnectError; the first of
            these if several brokers say different things. Takes some seconds at most.
    """
    await settings.ready()
    failures: list[BrokerError] = []
    for host, port in settings.hosts:
        failure = await _try(settings, host, port)
        if failure is None:
            settings.answered(host, port)
            return
        failures.append(failure)
    for kind in (AuthError, TlsError):
        for failure in failures:
            if isinstance(failure, kind):
                raise failure
    raise failures[0]


async def unreachable(settings: Settings, host: str, port: int) -> ConnectError | None:
    """The error for a port that can't be connected to; None if it can."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.connect_timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        why = kafka_errors.reason(error) if str(error) else "the name server is silent"
        return ConnectError(
            f"nobody answers at {settings.place}: "
            f"from this machine the name {host} does not resolve ({why})"
        )
    names = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    try:
        async with asyncio.timeout(settings.connect_timeout):
            transport, _ = await loop.create_connection(
                asyncio.Protocol, host, port, happy_eyeballs_delay=0.25
            )
    except OSError as error:
        return ConnectError(
            f"nobody answers at {settings.place}; from this machine {host} "
            f"resolves to {', '.join(names)}, port {port} {_how(settings, error)}"
        )
    transport.abort()
    return None


async def _try(settings: Settings, host: str, port: int) -> BrokerError | None:
    """What keeps one broker from letting us in; None if it does."""
    caught: BaseException
    try:
        connection = await _connect(settings, host, port)
    except (OSError, aio.KafkaError, ssl.SSLError) as error:
        # Its frames hold the password: it must not become anybody's context.
        caught = error.with_traceback(None)
        caught.__context__ = caught.__cause__ = None
    else:
        return await _greet(settings, connection, host, port)
    if isinstance(caught, kafka_errors.LOGIN):
        return kafka_errors.refused_login(settings, caught)
    if isinstance(caught, ssl.SSLCertVerificationError):
        return kafka_errors.tls_failed(settings, caught)
    if (failure := await unreachable(settings, host, port)) is not None:
        return failure
    return await _look(settings, host, port, caught)


async def _connect(settings: Settings, host: str, port: int) -> AIOKafkaConnection:
    chosen = settings.common()
    for name in ("bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms"):
        chosen.pop(name, None)
    chosen["max_idle_ms"] = chosen.pop("connections_max_idle_ms", None)
    chosen["request_timeout_ms"] = int(settings.connect_timeout * 1000)
    return await create_conn(host, port, **chosen)


async def _greet(
    settings: Settings, connection: AIOKafkaConnection, host: str, port: int
) -> BrokerError | None:
    """Ask a first question: a broker that wants a name hangs up only now."""
    try:
        await connection.send(MetadataRequest([]))
    except (OSError, aio.KafkaError) as error:
        if settings.sasl:
            return kafka_errors.translate(settings, error)
        if isinstance(error, aio.KafkaConnectionError):
            if settings.tls:
                return kafka_errors.wants_certificate(settings)
            return kafka_errors.wants_login(settings)
        return await _look(settings, host, port, error)
    finally:
        if (closing := connection.close()) is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(closing, 1.0)
    return None


async def _look(
    settings: Settings, host: str, port: int, caught: BaseException
) -> BrokerError:
    """The error for a port that is open, and through which we did not get in."""
    if (failure := await _tls_trouble(settings, host, port, caught)) is not None:
        return failure
    hung_up = isinstance(caught, aio.KafkaConnectionError)
    if settings.sasl and hung_up and (settings.tls or await _speaks_kafka(host, port)):
        # So do brokers with a token that they can't even read.
        return kafka_errors.refused_login(settings, caught)
    if isinstance(caught, TimeoutError):
        why = f"it takes the connection and says nothing within {settings.connect_timeout:g} s"
    else:
        why = "what answers there is not Kafka, or it is just starting"
    return ConnectError(f"{settings.place}: {host}:{port} is open, but {why}")


async def _tls_trouble(
    settings: Settings, host: str, port: int, caught: BaseException
) -> BrokerError | None:
    if settings.tls and await _speaks_kafka(host, port):
        return kafka_errors.no_tls(settings)
    if not await _speaks_tls(host, port):
        return None
    if not settings.tls:
        return kafka_errors.speaks_tls(settings)
    if isinstance(caught, ssl.SSLError):
        return kafka_errors.tls_failed(settings, caught)
    return None if settings.sasl else kafka_errors.wants_certificate(settings)


async def _speaks_kafka(host: str, port: int) -> bool:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_LOOK_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(_HELLO)
            answer = await reader.readexactly(8)
    except (OSError, EOFError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
    # A length, then our correlation id; TLS would begin 15 03.
    return answer[4:] == b"\x00\x00\x00\x01"


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_LOOK_S):
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, host, port, ssl=context
            )
    except ssl.SSLError as error:
        # An alert in answer to our greeting is TLS too, only not for us.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    transport.abort()
    return True


def _how(settings: Settings, error: OSError) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return f"silent for {settings.connect_timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return kafka_errors.reason(error)
