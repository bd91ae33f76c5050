"""Kafka's classes as the JVM likes them best: read once, kept beside the jars, mapped ever after.

With the archive a broker is up in 1 s instead of 2.2 s, and the folder is prepared in 0.3 s instead
of 1 s. It is made by letting a broker run once and end politely; without it all works, slower.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from streamlab.servers.kafka_jars import VERSION, cache


def place(java: str, jars: Path) -> Path:
    """Where the archive for this Java and these jars is, or will be."""
    binary = Path(java).resolve()
    told = repr((str(binary), binary.stat().st_mtime_ns, str(jars)))
    digest = hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
    return cache() / f"kafka-{VERSION}-{digest}.jsa"


def flags(archive: Path) -> Sequence[str]:
    """What the JVM is told to use an archive; nothing if there is none."""
    # An empty one says: this Java makes none, don't try again.
    there = archive.exists() and archive.stat().st_size
    return (f"-XX:SharedArchiveFile={archive}",) if there else ()


def writes(archive: Path) -> Sequence[str]:
    """What the JVM is told to write an archive when it ends."""
    return (f"-XX:ArchiveClassesAtExit={archive}",)


def make(archive: Path, run: Callable[[Path], None]) -> None:
    """Make the archive by `run`, which lets a broker run once and write it to a path."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".making-") as folder:
        made = Path(folder) / archive.name
        run(made)
        made.touch()
        # Whole or not at all, also when two make it at once.
        made.replace(archive)
