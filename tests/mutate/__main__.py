"""`python -m tests.mutate`: break each rule of the engine in turn, and see a test fail.

Each mutant is put into a copy of the package, never into the tree itself, and its tests are run
there. A mutant that no test notices has survived: a rule nobody guards. There must be none.

    python -m tests.mutate                    all of them, two at a time
    python -m tests.mutate --only watermark   those whose name or file says so
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.mutate.listed import MUTANTS
from tests.mutate.mutant import ROOT, Mutant

_LONGEST_S = 240
_TESTS_FAILED = 1
_PARTS = ("streamlab", "tests", "pyproject.toml", "README.md")
_SAY = sys.stdout.write
_clock = itertools.count(int(time.time()))


class Verdict(NamedTuple):
    """What became of a mutant: "killed", "SURVIVED", or why it could not be tried."""

    mutant: Mutant
    word: str
    seconds: float
    output: str = ""


class Copies:
    """Copies of the package and its tests, one for each that works at the same time.

    All are made at once, so that they are of one moment.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            made(folder / str(number))
            self._free.put(folder / str(number))

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A copy that nobody else has."""
        folder = self._free.get()
        try:
            yield folder
        finally:
            self._free.put(folder)


def made(folder: Path) -> None:
    """Copy what the tests need."""
    unwanted = shutil.ignore_patterns("__pycache__", "bench", ".*")
    for part in _PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=unwanted)
        else:
            shutil.copy(ROOT / part, folder / part)


def tried(mutant: Mutant, copies: Copies) -> Verdict:
    """Run the mutant's tests on a copy in which it stands."""
    begun = time.monotonic()
    with copies.one() as folder:
        try:
            code = mutant.applied(folder)
        except LookupError as error:
            return Verdict(mutant, "GONE", 0, str(error))
        place = folder / "streamlab" / mutant.file
        original = place.read_text("utf-8")
        put(place, code)
        try:
            status, output = tested(folder, mutant.tests)
        finally:
            put(place, original)
    words = {0: "SURVIVED", _TESTS_FAILED: "killed", None: "killed (stuck)"}
    crashed = status is not None and status < 0
    word = "killed (crashed)" if crashed else words.get(status, "BROKEN")
    return Verdict(mutant, word, time.monotonic() - begun, output)


def put(place: Path, code: str) -> None:
    """Write a file with a time of its own, so that no compiled one passes for it."""
    place.write_text(code, "utf-8")
    moment = next(_clock)
    os.utime(place, (moment, moment))


def tested(folder: Path, tests: Iterable[str]) -> tuple[int | None, str]:
    """pytest's exit status in the copy (None: it took too long), and the end of its output."""
    options = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=line")
    environment = {**os.environ, "PYTHONPATH": str(folder), "MUTANT": "1"}
    environment.pop("CI", None)
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={folder}", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout[-2_000:] + done.stderr[-500:]


def wanted(words: Sequence[str]) -> list[Mutant]:
    """Mutants whose name or file holds one of the words; all, if there are none."""
    return [
        each
        for each in MUTANTS
        if not words or any(w in each.name or w in each.file for w in words)
    ]


def main() -> int:
    """Try them all; the number that survived, or could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    mutants = wanted(given.only)
    with tempfile.TemporaryDirectory() as folder:
        copies = Copies(Path(folder), given.jobs)
        whole = sorted({test for each in mutants for test in each.tests})
        with copies.one() as place:
            status, output = tested(place, whole)
        if status:
            _SAY(f"the tests fail without any mutant:\n{output}\n")
            return 1
        with ThreadPoolExecutor(given.jobs) as workers:
            verdicts = []
            for verdict in workers.map(lambda m: tried(m, copies), mutants):
                verdicts.append(verdict)
                mutant = verdict.mutant
                _SAY(
                    f"{verdict.word:9} {verdict.seconds:5.1f} s  "
                    f"{mutant.file}: {mutant.name}\n"
                )
                sys.stdout.flush()
    return said(verdicts)


def said(verdicts: Sequence[Verdict]) -> int:
    """Name the survivors, and count."""
    bad = [each for each in verdicts if not each.word.startswith("killed")]
    for each in bad:
        mutant = each.mutant
        _SAY(f"\n{each.word} {mutant.file}: {mutant.name}\n  {mutant.why}\n")
        _SAY(f"  - {mutant.text.strip()}\n  + {mutant.instead.strip()}\n")
        if each.word != "SURVIVED":
            _SAY(f"{each.output}\n")
    _SAY(f"\n{len(verdicts)} mutants, {len(bad)} survivors\n")
    return len(bad)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
