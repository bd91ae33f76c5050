"""Texts that are used as they are and never shown."""

from __future__ import annotations

import pytest

from streamlab.topics import brokers
from streamlab.uri import parse
from streamlab.veil import Veiled, veiled


def test_a_veiled_text_is_the_text_and_shows_nothing() -> None:
    word = Veiled("canary")

    assert word == "canary"
    assert f"{word}!" == "canary!"
    assert word.encode() == b"canary"
    assert repr(word) == repr([word])[1:-1] == f"{word!r}" == "***"


@pytest.mark.parametrize(
    "name",
    ["password", "sasl.password", "sasl_plain_pasword", "ssl.key.password", "token"],
)
def test_options_that_sound_secret_are_veiled_whatever_they_hold(name: str) -> None:
    for value in ("canary", ["canary"], b"canary", {"canary": 1}):
        assert repr(veiled({name: value})) == f"{{{name!r}: ***}}"
    assert veiled({name: "canary"}) == {name: "canary"}


def test_other_options_and_functions_stay_as_they_are() -> None:
    given = {"client_name": "ann", "db": 3, "sasl_oauth_token_provider": parse}

    assert veiled(given) == given
    assert "'ann'" in repr(veiled(given))
    assert veiled(None) == {}


def test_connections_with_different_passwords_are_not_shared() -> None:
    def connection(url: str, **options: object) -> object:
        return brokers.connection_for(parse(url), veiled(options))

    one = connection("redis://h/0/", password="a")  # noqa: S106
    same = connection("redis://h/0/", password="a")  # noqa: S106
    other = connection("redis://h/0/", password="b")  # noqa: S106

    assert one is same
    assert one is not other
    assert connection("redis://:a@h/0/") is not connection("redis://:b@h/0/")
