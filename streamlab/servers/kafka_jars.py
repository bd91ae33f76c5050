"""What a local Kafka runs on: Java, and Kafka's own jars, fetched once with Maven.

The jars are kept in `~/.cache/streamlab/kafka-<version>` (or under `XDG_CACHE_HOME`).
`STREAMLAB_KAFKA_LIBS` names another folder: one for the cache, or the `libs` of a Kafka that is
there already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamlab.errors import BrokerError

VERSION = "4.1.0"
VARIABLE = "STREAMLAB_KAFKA_LIBS"
NEED_JAVA = (
    "a local Kafka needs Java 17 or newer, and there is no 'java' here: "
    "apt-get install default-jre-headless"
)
NEED_MAVEN = (
    "a local Kafka fetches its jars with Maven, once, and there is no 'mvn' here: "
    f"apt-get install maven. Or name the libs folder of a Kafka {VERSION} "
    f"in {VARIABLE}."
)
_SERVER = "kafka_2.13-*.jar"
_FETCH_S = 600.0
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>streamlab</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies>
<dependency>
  <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
  <version>{VERSION}</version>
</dependency>
<dependency>
  <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
  <version>2.24.3</version>
</dependency>
</dependencies>
</project>
"""


def lacks() -> str:
    """What is missing for a local Kafka, and how to get it; "" if nothing is."""
    if _java() is None:
        return NEED_JAVA
    if shutil.which("mvn") is None and not _is_filled(_wanted()):
        return NEED_MAVEN
    return ""


def java() -> str:
    """The Java to run.

    Raises:
        BrokerError: there is none.
    """
    found = _java()
    if found is None:
        raise BrokerError(NEED_JAVA)
    return found


def jars() -> Path:
    """The folder of Kafka's jars, fetched if this is the first time.

    Raises:
        BrokerError: they are not there and Maven is missing or fails.
    """
    wanted = _wanted()
    if _is_filled(wanted):
        return wanted
    if shutil.which("mvn") is None:
        raise BrokerError(NEED_MAVEN)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with _alone(wanted.parent):
        if not _is_filled(wanted):
            _fetch(wanted)
    return wanted


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    if home and (there := shutil.which("java", path=str(Path(home) / "bin"))):
        return there
    return shutil.which("java")


def cache() -> Path:
    """The folder for what is made once on this machine."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "streamlab"


def _wanted() -> Path:
    given = os.environ.get(VARIABLE)
    if given:
        folder = Path(given).expanduser().resolve()
        return folder if _is_filled(folder) else folder / f"kafka-{VERSION}"
    return cache() / f"kafka-{VERSION}"


def _is_filled(folder: Path) -> bool:
    return any(folder.glob(_SERVER))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: Maven's own store is not made for two."""
    import fcntl  # not there on Windows, where the rest of this package is imported too

    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(wanted: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix=".fetching-", dir=wanted.parent))
    try:
        (work / "pom.xml").write_text(_POM)
        libs = work / "libs"
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={libs}")
        words = ["mvn", "-q", "-B", "-f", str(work / "pom.xml"), *goal]
        done = subprocess.run(  # noqa: S603 (our own words)
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCH_S,
            check=False,
        )
        if done.returncode or not _is_filled(libs):
            raise BrokerError(
                f"Maven could not fetch Kafka {VERSION}'s jars. It said: {_why(done)}"
            )
        # Whole or not at all: a folder that is there is complete.
        libs.rename(wanted)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _why(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).splitlines()
    errors = [line for line in lines if "ERROR" in line] or lines or ["nothing"]
    return errors[0]
