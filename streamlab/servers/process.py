"""A server process that ends with its owner.

Beside the server a small shell waits on a pipe that only this process holds: however this process
ends, kill -9 included, the pipe closes and the shell ends the server.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError
from streamlab.servers.ports import HOST, PortTakenError, is_taken

_LOG_LINES = 3
# A line tells the shell to let the server be; the end of the pipe, that its owner is gone.
_WATCH = 'read -r word || { kill -"$1" "$0" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"; }'


class LocalServer(ABC):
    """A running server on 127.0.0.1, ended by `close` or `with`.

    Attributes:
        host, port: where it listens; both stay the same over restarts.
        dir: its folder; removed on close if it was made here.
    """

    title: ClassVar[str] = "the server"
    start_s: ClassVar[float] = 15.0
    stop_s: ClassVar[float] = 5.0

    def __init__(self, port: int, folder: Path | None) -> None:
        """Take `folder`, or make one that lives as long as the server; start nothing yet."""
        self._temporary = folder is None
        prefix = f"streamlab-{self.title.lower()}-"
        self.dir = folder or Path(tempfile.mkdtemp(prefix=prefix))
        self.host = HOST
        self.port = port
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The broker's URL, without a topic and without a password."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What to run."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves by now."""

    def _ports(self) -> Sequence[int]:
        """Every port it will listen on."""
        return (self.port,)

    @property
    def pid(self) -> int | None:
        """The server's process, None while there is none."""
        return None if self._server is None else self._server.pid

    @property
    def log(self) -> Path:
        """The file that holds what the server printed, over all its starts."""
        return self.dir / "server.log"

    def kill(self) -> None:
        """End it as kill -9 does: nothing is saved, nobody is told."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it hang: connections stay open, and nobody answers until `thaw`."""
        if self._server is not None:
            self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        if self._server is not None:
            self._server.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same port and folder, ending it first if it runs."""
        self._end()
        self._start()

    def close(self) -> None:
        """End it and remove its folder; may be called twice."""
        # Nobody will read what a temporary server would still save.
        self._end(signal.SIGKILL if self._temporary else signal.SIGTERM)
        if self._temporary:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self) -> None:
        """The first start: leaves nothing behind if it fails."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        for port in self._ports():
            if is_taken(port):
                raise PortTakenError(self.title, port)
        # Sessions of their own: a Ctrl-C, or a notebook's interrupt, is not for them.
        with self.log.open("ab") as log:
            begin = log.tell()
            self._server = subprocess.Popen(  # noqa: S603 (our own words)
                self._command(),
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(  # noqa: S603 (our own words)
            ["/bin/sh", "-c", _WATCH, str(self._server.pid), *self._last_wishes()],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._await_answer(self._server, begin)

    def _last_wishes(self) -> tuple[str, str]:
        """The signal that ends an orphan, and the folder to remove after it."""
        return ("KILL", str(self.dir)) if self._temporary else ("TERM", "")

    def _await_answer(self, server: subprocess.Popen[bytes], begin: int) -> None:
        last = SYSTEM.running() + self.start_s
        try:
            while SYSTEM.running() < last and server.poll() is None:
                if self._answers() and server.poll() is None:
                    return
                time.sleep(0.01)
        except BaseException:
            self._end(signal.SIGKILL)
            raise
        self._end(signal.SIGKILL)
        printed = self.printed(begin)
        if "already in use" in printed:
            raise PortTakenError(self.title, self.port)
        lines = printed.splitlines()[-_LOG_LINES:]
        raise BrokerError(
            f"{self.title} did not start on port {self.port}. "
            f"Its log: {' | '.join(lines) or '(empty)'}"
        )

    def printed(self, begin: int = 0) -> str:
        """What the server printed, from byte `begin` of its log on."""
        try:
            return self.log.read_bytes()[begin:].decode(errors="replace")
        except OSError:
            return ""

    def _end(self, how: signal.Signals = signal.SIGTERM) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                watcher.communicate(b"over\n", self.stop_s)
        server, self._server = self._server, None
        if server is not None:
            server.send_signal(how)
            try:
                server.wait(self.stop_s)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(self.stop_s)
