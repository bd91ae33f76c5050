"""Kafka's options in three spellings, without a broker."""

from __future__ import annotations

from typing import Any

import pytest

from streamlab import uri
from streamlab.backends.kafka.options import Settings, settings
from streamlab.errors import UnknownNameError, UrlError, UsageError
from streamlab.uri import Secret

CANARY = "c4nary-pa55word"


def read(url: str, **options: object) -> Settings:
    return settings(uri.parse(url), options)


def test_a_bare_url_reads_what_is_committed_and_writes_without_losing() -> None:
    chosen = read("kafka://a,b:9093/t")

    assert chosen.place == "kafka://a:9092,b:9093"
    assert chosen.common()["bootstrap_servers"] == ["a:9092", "b:9093"]
    assert chosen.common()["security_protocol"] == "PLAINTEXT"
    assert chosen.consuming()["isolation_level"] == "read_committed"
    assert chosen.consuming()["enable_auto_commit"] is False
    assert chosen.producing()["acks"] == "all"
    assert chosen.producing()["enable_idempotence"] is True


@pytest.mark.parametrize(
    ("url", "protocol", "mechanism"),
    [
        ("kafka://h", "PLAINTEXT", None),
        ("kafka+ssl://h", "SSL", None),
        ("kafka://u:p@h", "SASL_PLAINTEXT", "PLAIN"),
        ("kafka+ssl://u:p@h", "SASL_SSL", "PLAIN"),
        (
            "kafka://u:p@h?sasl.mechanism=SCRAM-SHA-512",
            "SASL_PLAINTEXT",
            "SCRAM-SHA-512",
        ),
        ("kafka://u:p@h?security_protocol=SASL_SSL", "SASL_SSL", "PLAIN"),
        ("kafka+ssl://h?security.protocol=plaintext", "PLAINTEXT", None),
    ],
)
def test_url_and_options_say_how_to_log_in(
    url: str, protocol: str, mechanism: str | None
) -> None:
    chosen = read(url)

    assert chosen.security_protocol == protocol
    assert chosen.sasl == mechanism


def test_options_are_read_in_every_spelling() -> None:
    ours: dict[str, Any] = {
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "etl",
        "sasl_plain_password": "p",
        "fetch_max_bytes": 1000,
        "max_partition_fetch_bytes": 500,
        "compression_type": "zstd",
        "linger_ms": 5,
        "client_id": "me",
    }
    dotted: dict[str, Any] = {
        "sasl.mechanisms": "SCRAM-SHA-256",
        "sasl.username": "etl",
        "sasl.password": "p",
        "fetch.max.bytes": "1000",
        "fetch.message.max.bytes": "500",
        "compression.codec": "zstd",
        "queue.buffering.max.ms": "5",
        "client.id": "me",
    }

    first, second = read("kafka://h", **ours), read("kafka://h", **dotted)

    assert first.consuming() == second.consuming()
    assert first.producing() == second.producing()
    assert first.consuming()["max_partition_fetch_bytes"] == 500
    assert first.producing()["linger_ms"] == 5
    assert first.user == "etl"
    assert first.password == Secret("p")


def test_java_words_for_tls_are_understood() -> None:
    chosen = read(
        "kafka+ssl://h",
        **{
            "ssl.endpoint.identification.algorithm": "",
            "enable.ssl.certificate.verification": "false",
        },
    )

    context = chosen.certificates.context

    assert not context.check_hostname
    assert context.verify_mode == 0


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("group.id", "g", "group= of live()"),
        ("group_id", "g", "group= of live()"),
        ("bootstrap.servers", "h", "write the hosts in the URL"),
        ("auto.offset.reset", "latest", "start= of live"),
        ("value_deserializer", bytes, "format= of sl.topic()"),
        ("enable.auto.commit", True, "a group commits what was really done with"),
        ("sasl.jaas.config", "x", "write sasl.username and sasl.password"),
    ],
)
def test_what_is_ours_to_set_says_where_it_is_said(
    option: str, value: object, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read("kafka://h", **{option: value})

    assert str(caught.value).startswith(f"Kafka option {option!r} is not set here: ")
    assert said in str(caught.value)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'fetch.max.byte'.*'fetch_max_bytes'"):
        read("kafka://h", **{"fetch.max.byte": 1})


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("linger.ms", "soon", "write a number from 0 up"),
        ("linger_ms", True, "write a number from 0 up"),
        ("isolation.level", "dirty", "there are: read_committed, read_uncommitted"),
        ("acks", 2, 'write "all", 1 or 0'),
        ("check_crcs", "maybe", "write True or False"),
        ("sasl_mechanism", "GSSAPI", "there are: PLAIN"),
        ("sasl_oauth_token_provider", "token", "give a function that returns a token"),
    ],
)
def test_a_value_that_makes_no_sense_says_what_would(
    option: str, value: object, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read("kafka://u:p@h", **{option: value})

    assert said in str(caught.value)


def test_the_same_option_in_two_spellings_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'client_id' and 'client.id' are the same"):
        read("kafka://h", **{"client_id": "a", "client.id": "b"})


def test_a_login_that_is_not_whole_is_refused_before_connecting() -> None:
    with pytest.raises(UsageError, match="PLAIN needs user and password"):
        read("kafka://etl@h")
    with pytest.raises(UsageError, match="OAUTHBEARER needs a function"):
        read("kafka://h", sasl_mechanism="OAUTHBEARER")


def test_fewer_acknowledgements_give_up_idempotence_and_nothing_else() -> None:
    chosen = read("kafka://h", acks=1).producing()

    assert (chosen["acks"], chosen["enable_idempotence"]) == (1, False)


def test_a_path_before_the_topic_is_refused() -> None:
    with pytest.raises(UrlError):
        read("kafka://h/0/t")


def test_a_password_is_shown_nowhere_and_not_taken_from_the_query() -> None:
    chosen = read("kafka://h", **{"sasl.username": "u", "sasl.password": CANARY})
    url = read(f"kafka+ssl://u:{CANARY}@h", ssl_password=CANARY)

    assert CANARY not in repr(chosen) + repr(vars(chosen)) + repr(chosen.common())
    assert CANARY not in repr(vars(url)) + repr(vars(url.certificates))
    with pytest.raises(UnknownNameError) as caught:
        read(f"kafka://h?sasl.password={CANARY}")
    assert CANARY not in str(caught.value)
    with pytest.raises(UsageError) as wrong:
        read("kafka://h", sasl_plain_password=[CANARY])
    assert CANARY not in str(wrong.value)
    assert wrong.value.__cause__ is None
