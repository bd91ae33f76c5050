"""Other people's tools on the same job, each in a virtual environment of its own.

The job: mean and count by symbol and second of a topic's JSON trades, from its first record to
its last. A script `peers/<tool>.py` is given the broker's address, the topic and how many records
there are; it prints one line of JSON: `seconds` from before it connects until all records are
in its result, and `n`, their number there. Importing, and starting a JVM, are not counted.

Environments are made at the first run, in `~/.cache/streamlab/peers` or where
`STREAMLAB_PEERS` says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

# What each is installed from; the job is given as it does it best.
PEERS = {
    "deephaven": ("deephaven-server",),
    "streamz": ("streamz", "confluent-kafka"),
    "pathway": ("pathway",),
    "quix": ("quixstreams",),
    "bytewax": ("bytewax", "confluent-kafka"),
}
INSTALL_S, RUN_S = 900, 300
HERE = Path(__file__).parent / "peers"


class Told(NamedTuple):
    """What became of a run: million records a second, or why there is none."""

    speed: float | None
    reason: str = ""


def home() -> Path:
    """Where the environments are."""
    return Path(
        os.environ.get("STREAMLAB_PEERS", "~/.cache/streamlab/peers")
    ).expanduser()


def run(name: str, address: str, topic: str, records: int) -> Told:
    """Install if need be, then run."""
    try:
        python = installed(name)
        words = [str(python), str(HERE / f"{name}.py"), address, topic, str(records)]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
            cwd=home(),
        )
    except subprocess.TimeoutExpired as error:
        return Told(None, f"not done after {error.timeout:.0f} s")
    except subprocess.CalledProcessError as error:
        return Told(None, f"not installed: {last_line(error.stderr)}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return Told(None, f"failed ({done.returncode}): {last_line(done.stderr)}")
    said = json.loads(lines[-1])
    if said["n"] != records:
        return Told(None, f"counted {said['n']:,} records of {records:,}")
    return Told(records / said["seconds"] / 1e6)


def installed(name: str) -> Path:
    """The interpreter that has the tool."""
    place = home() / name
    python, mark = place / "bin" / "python", place / "installed"
    if not mark.exists():
        home().mkdir(parents=True, exist_ok=True)
        make = [sys.executable, "-m", "venv", str(place)]
        pip = [str(python), "-m", "pip", "install", "-q", *PEERS[name]]
        for words in (make, pip):
            subprocess.run(
                words, capture_output=True, text=True, timeout=INSTALL_S, check=True
            )
        mark.touch()
    return python


def last_line(text: str | None) -> str:
    lines = [line for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no word of why"
