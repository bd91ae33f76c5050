"""A process with open windows that is killed again and again: each window comes, and comes whole."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.faults.lab import KINDS, Producing, Where, everything, make, put, until
from tests.faults.produce import BATCH, STEP_MS, payload

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]
LANES, KILLS, PARTITIONS, SEED = 2, 25, 3, 5
SECOND_MS = 1_000
Windows = dict[tuple[int, str], tuple[int, float]]


class Lane:
    """One group: a process that follows the topic, and its successors."""

    def __init__(self, url: str, group: str, folder: Path) -> None:
        self.file = folder / f"{group}.jsonl"
        self.commits = 0
        words = ["-m", "tests.faults.follow", url, group, str(self.file)]
        self._words = [sys.executable, *words]
        self._chance = random.Random(f"{SEED} {group}")  # noqa: S311 (no secret)

    def live_and_die(self) -> None:
        """Be killed at a random moment: before anything is read, or while it goes on."""
        with self._begin() as child:
            assert child.stdout is not None
            if self._chance.random() < 0.2:
                _pass(self._chance.uniform(0, 2))
            elif child.stdout.readline():
                _pass(self._chance.uniform(0, 0.4))
            child.kill()
            self.commits += len(child.stdout.read().splitlines())

    def live_until(self, there: set[tuple[int, str]]) -> None:
        """Live until the file has all these windows."""
        with self._begin() as child:
            until(
                lambda: there <= {*self.keys()},
                lambda: (child.poll(), sorted(there - {*self.keys()})[:5]),
            )
            child.kill()

    def rows(self) -> list[list[Any]]:
        """What the file holds; a line that is just being written is left out."""
        whole, _, _ = self.file.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def keys(self) -> Iterable[tuple[int, str]]:
        """The windows in the file."""
        return ((start, symbol) for start, symbol, *_ in self.rows())

    def _begin(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._words, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )


ROOT = Path(__file__).parents[2]


def _pass(seconds: float) -> None:
    """Let time go by: what happens meanwhile is for chance to say."""
    threading.Event().wait(seconds)


def batch(ids: Iterable[int]) -> Windows:
    """The windows by plain polars."""
    rows = pl.DataFrame([json.loads(payload(number)) for number in ids])
    start = (pl.col("time") // (10 * SECOND_MS) * (10 * SECOND_MS)).alias("start")
    found = rows.group_by(start, "symbol").agg(pl.len(), pl.col("price").sum())
    return {(at, symbol): (n, total) for at, symbol, n, total in found.iter_rows()}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue({"redis": "valkey", "kafka": "kafka"}[request.param])


def test_windows_of_a_process_killed_fifty_times_equal_the_batch_answer(
    server: Any, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    kind = server.url.partition(":")[0]
    where = Where(kind, server.port, name, PARTITIONS)
    make(where)
    lanes = [Lane(f"{server.url}/{name}", f"g{n}", tmp_path) for n in range(LANES)]

    def go(lane: Lane) -> None:
        for _ in range(KILLS):
            lane.live_and_die()

    with Producing(where, tmp_path / "acknowledged", pause_s=0.02) as producing:
        # A partition that is empty when reading begins would hold no window open.
        producing.goes_on(BATCH)
        with ThreadPoolExecutor(LANES) as pool:
            list(pool.map(go, lanes))
        sent = producing.finish()
    # Later than all by three windows, in each partition: they close what went before.
    beyond = sent + 30 * SECOND_MS // STEP_MS
    put(where, range(beyond, beyond + PARTITIONS))
    answer = batch(range(sent))
    for lane in lanes:
        lane.live_until(set(answer))

    assert sorted(r.id for r in everything(where))[:-PARTITIONS] == [*range(sent)]
    for lane in lanes:
        assert lane.commits > KILLS
        for start, symbol, n, total, partial in lane.rows():
            assert (n, total) == answer[start, symbol], (start, symbol)
            assert not partial
