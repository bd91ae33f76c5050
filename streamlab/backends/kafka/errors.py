"""A Kafka broker's refusals and a socket's failures, in our own words."""

from __future__ import annotations

import ssl

from aiokafka import errors as aio

from streamlab.backends.kafka.options import Settings
from streamlab.backends.kafka.values import TokenError
from streamlab.errors import (
    AuthError,
    BrokerError,
    ConnectError,
    GroupBusyError,
    PermissionDeniedError,
    TlsError,
    TopicNotFoundError,
)

# The broker did not take who we say we are.
LOGIN = (
    aio.AuthenticationFailedError,
    aio.AuthenticationMethodNotSupported,
    aio.IllegalSaslStateError,
    aio.SaslAuthenticationFailed,
    aio.UnsupportedSaslMechanismError,
)
# What passes by itself: leaders move, brokers start, the network comes back.
_PASSING = (
    aio.GroupCoordinatorNotAvailableError,
    aio.GroupLoadInProgressError,
    aio.KafkaConnectionError,
    aio.KafkaTimeoutError,
    aio.KafkaUnavailableError,
    aio.LeaderNotAvailableError,
    aio.NoBrokersAvailable,
    aio.NodeNotReadyError,
    aio.NotControllerError,
    aio.NotCoordinatorForGroupError,
    aio.NotLeaderForPartitionError,
    aio.RequestTimedOutError,
    aio.StaleMetadata,
    OSError,
    TimeoutError,
)
_SHARED = (
    aio.IllegalGenerationError,
    aio.RebalanceInProgressError,
    aio.UnknownMemberIdError,
)
_DENIED = (
    aio.ClusterAuthorizationFailedError,
    aio.GroupAuthorizationFailedError,
    aio.TopicAuthorizationFailedError,
    aio.TransactionalIdAuthorizationFailed,
)


def translate(
    settings: Settings,
    error: BaseException,
    *,
    topic: str = "",
    group: str = "",
    right: str = "READ",
) -> BrokerError:
    """The error for what aiokafka raised; ours pass through.

    Args:
        settings: of the connection.
        error: what was caught.
        topic: the one in question, or "".
        group: the one in question, or "".
        right: what a user lacks who is refused the topic.

    Returns:
        A ConnectError for what passes by itself, so that readers try again.
    """
    if isinstance(error, BrokerError):
        return error
    if isinstance(error, _DENIED):
        return _denied(settings, error, topic, group, right)
    if isinstance(error, _SHARED):
        return GroupBusyError(
            f"group {group!r} on {settings.place} has members that share it: "
            "it can't be had alone"
        )
    return _failure(settings, error, topic)


def _failure(settings: Settings, error: BaseException, topic: str) -> BrokerError:
    place = settings.place
    what = f"{topic!r} on {place}" if topic else place
    if isinstance(error, LOGIN):
        return refused_login(settings, error)
    if isinstance(error, ssl.SSLError):
        return tls_failed(settings, error)
    if isinstance(error, aio.UnknownTopicOrPartitionError):
        return TopicNotFoundError(f"no topic {topic!r} on {place}")
    if isinstance(error, _PASSING):
        return ConnectError(f"{place} does not answer: {reason(error)}")
    fenced = isinstance(error, (aio.ProducerFenced, aio.InvalidProducerEpoch))
    said = "another writer of the same id has taken over" if fenced else reason(error)
    return BrokerError(f"{what} refused: {said}")


def refused_login(settings: Settings, error: BaseException) -> AuthError:
    """The error for a user, password, token or mechanism that the broker didn't take."""
    place = settings.place
    if isinstance(error, aio.IllegalSaslStateError):
        return AuthError(f"{place} lets in anybody: leave user and password out")
    if isinstance(error, aio.UnsupportedSaslMechanismError):
        found = str(error).rpartition(":")[2].strip(" []'")
        there = f": it takes {found}" if found else ""
        return AuthError(
            f"{place} does not take {settings.sasl}{there}. "
            'Name the mechanism: options={"sasl_mechanism": …}.'
        )
    if isinstance(error, TokenError):
        return AuthError(f"{place}: no token to log in with: {error}")
    if settings.sasl == "OAUTHBEARER":
        return AuthError(f"{place} refused the token of sasl_oauth_token_provider")
    return AuthError(f"wrong user or password for user {settings.user} on {place}")


def wants_login(settings: Settings) -> AuthError:
    """The error for a broker that hangs up on somebody without a name."""
    scheme, _, rest = settings.place.partition("://")
    return AuthError(
        f"{settings.place} hangs up on us: it wants a user and password, "
        f"{scheme}://$USER:$PASSWORD@{rest}/…"
    )


def tls_failed(settings: Settings, error: BaseException) -> TlsError:
    """The error for a TLS connection that came to nothing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsError(
            f"{settings.place}: the certificate was refused: {error.verify_message}. "
            'A private authority: options={"ssl_cafile": "ca.pem"}.'
        )
    if isinstance(error, ssl.SSLError) and "CERTIFICATE" in (error.reason or ""):
        return wants_certificate(settings)
    return no_tls(settings)


def wants_certificate(settings: Settings) -> TlsError:
    """The error for a broker that takes nobody without a certificate of their own."""
    return TlsError(
        f"{settings.place} wants a certificate of ours, or refused the one it got: "
        'options={"ssl_certfile": "me.pem", "ssl_keyfile": "me.key"}'
    )


def no_tls(settings: Settings) -> TlsError:
    """The error for TLS against a plain port."""
    plain = settings.place.replace("kafka+ssl://", "kafka://", 1)
    return TlsError(f"this URL says TLS and {settings.place} doesn't speak it: {plain}")


def speaks_tls(settings: Settings) -> TlsError:
    """The error for a plain connection to a TLS port."""
    secure = settings.place.replace("kafka://", "kafka+ssl://", 1)
    return TlsError(f"the broker speaks TLS, this URL doesn't: {secure}")


def _denied(
    settings: Settings, error: BaseException, topic: str, group: str, right: str
) -> PermissionDeniedError:
    who = f"user {settings.user}" if settings.user else "an unnamed user"
    place = settings.place
    if isinstance(error, aio.GroupAuthorizationFailedError):
        said = f'join group "{group}" on {place} (missing right: READ on the GROUP)'
    elif isinstance(error, aio.TopicAuthorizationFailedError):
        verb = {"WRITE": "write to", "READ": "read"}.get(right, "look at")
        said = f'{verb} "{topic}" on {place} (missing right: {right})'
    elif isinstance(error, aio.TransactionalIdAuthorizationFailed):
        said = (
            f"write transactions on {place} (missing right: WRITE on TRANSACTIONAL_ID)"
        )
    else:
        said = f"do that on {place} (missing right on the CLUSTER)"
    return PermissionDeniedError(f"{who} may not {said}")


def reason(error: BaseException) -> str:
    """What went wrong, in one short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(error).strip()
    # aiokafka's own classes say "[Error 7] RequestTimedOutError: …".
    text = text.partition("] ")[2] or text if text.startswith("[Error") else text
    return text or type(error).__name__
