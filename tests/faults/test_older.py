"""A server that is restored from an earlier copy of its files: reported, and not waited for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streamlab as sl
from streamlab.errors import BrokerError
from streamlab.records import Committed, Partition
from streamlab.runtime.loop import io
from tests.faults.lab import KINDS, Where, make, start, until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120)]
FILES = {"redis": "appendonlydir", "kafka": "data"}
MODES: list[dict[str, Any]] = [
    {},
    {"group": "r", "mode": "resumable"},
    {"group": "s", "mode": "load-balanced"},
]


class Restorable:
    """A server whose files can be copied and put back; it is killed for either."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.server = start(kind)
        self._files = self.server.dir / FILES[kind]
        self._copy = folder / "copy"

    def copy(self) -> None:
        self.server.kill()
        shutil.copytree(self._files, self._copy)
        self.server.restart()

    def restore(self) -> None:
        self.server.kill()
        shutil.rmtree(self._files)
        shutil.copytree(self._copy, self._files)
        self.server.restart()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Restorable]:
    store = Restorable(request.param, tmp_path)
    with store.server:
        yield store


def send(source: sl.Topic, first: int, count: int = 50) -> range:
    """So many ids, from `first` on."""
    ids = range(first, first + count)
    rows = [{"id": number} for number in ids]
    try:
        source.send(rows)
    except BrokerError as error:
        # Once: Kafka has forgotten how far this producer was, and takes nothing out of order.
        assert "OutOfOrderSequence" in str(error)  # noqa: PT017 (there may be none)
        source.send(rows)
    return ids


def has(live: Any, ids: range) -> bool:
    return {*ids} <= {*live.df["id"]} if live.df.width else False


def all_have(lives: list[Any], ids: range) -> None:
    until(
        lambda: all(has(live, ids) for live in lives),
        lambda: [(live.df, live.status(), live.error) for live in lives],
    )


def test_a_server_that_comes_back_older_is_read_on_and_the_loss_is_told(
    store: Restorable, name: str
) -> None:
    make(Where(store.kind, store.server.port, name, 1))
    source = sl.topic(f"{store.server.url}/{name}")
    send(source, 0)
    lives = [source.live(start="earliest", **mode) for mode in MODES]
    all_have(lives, range(50))
    for live in lives[1:]:
        live.commit()
    store.copy()
    all_have(lives, send(source, 100))
    for live in lives[1:]:
        live.commit()

    store.restore()
    alone = lives[:2]
    until(
        lambda: all(live.stats.lost for live in alone),
        lambda: [(live.stats, live.status()) for live in lives],
    )
    all_have(lives, send(source, 200))

    for live in alone:
        assert any(note.endswith(" lost") for note in live.status().notes)
        assert live.df["id"].to_list() == [
            *range(50),
            *range(100, 150),
            *range(200, 250),
        ]
    lives[1].commit()
    lives[1].stop()
    last = send(source, 300)
    again = source.live(**MODES[1])
    all_have([again], last)
    assert again.df["id"].to_list() == [*last]


def test_a_commit_beyond_the_end_is_told_and_what_comes_is_read(
    store: Restorable, name: str
) -> None:
    """A reader may have committed in the moment before it saw that the server is older."""
    make(Where(store.kind, store.server.port, name, 1))
    source = sl.topic(f"{store.server.url}/{name}")
    send(source, 0)
    beyond: Any = {"redis": "99999999999999-0", "kafka": 1_000}[store.kind]
    commit = source._connection.commit("r", {Partition(name, 0): Committed(beyond)})
    io().call(commit, twin="elsewhere")

    live = source.live(**MODES[1])
    until(lambda: live.stats.lost, lambda: (live.stats, live.status()), 20)
    new = send(source, 100)

    all_have([live], new)
    live.commit()
    live.stop(crash=True)
    again = source.live(**MODES[1])
    all_have([again], send(source, 200))
    assert not has(again, new)
    assert not again.stats.lost
