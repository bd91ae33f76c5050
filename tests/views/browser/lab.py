"""Drives a JupyterLab of its own in Chromium: server, folders, browser profile, port.

with Lab(folder) as lab:
    page = lab.open(write_notebook(folder, "chart.ipynb", "1 + 1"))
    page.run_all()
    assert page.outputs() == ["2"]
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS: dict[str, dict[str, Any]] = {
    # A news pop-up would cover the page; off-screen cells must stay in the document.
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
START_SECONDS = 60
NOTEBOOK = """
const notebook = [...window.jupyterapp.shell.widgets('main')].find((w) => w.sessionContext);
"""


def chromium() -> str | None:
    """Where Chromium is, or None."""
    named = os.environ.get("STREAMLAB_CHROMIUM")
    found = [
        named,
        "/usr/bin/chromium",
        shutil.which("chromium"),
        shutil.which("google-chrome"),
    ]
    return next((path for path in found if path and Path(path).exists()), None)


def missing() -> str:
    """What a browser test lacks here, in words; "" if nothing."""
    if chromium() is None:
        return "Chromium is not installed (set STREAMLAB_CHROMIUM to its path)"
    try:
        import playwright.sync_api  # noqa: F401
    except ModuleNotFoundError:
        return "playwright is not installed"
    return ""


def write_notebook(folder: Path, name: str, *cells: str) -> str:
    """Write a notebook of code cells; returns its name."""
    body: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{at}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": cell.strip("\n"),
        }
        for at, cell in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "cells": body,
    }
    (folder / name).write_text(json.dumps(notebook))
    return name


class Lab:
    """A JupyterLab server and a browser, both ended with the block."""

    def __init__(
        self, folder: Path, *, dark: bool = False, env: dict[str, str] | None = None
    ) -> None:
        """Prepare; nothing starts before the block is entered.

        Args:
            folder: with the notebooks; the server's root and the kernels' directory.
            dark: use JupyterLab's dark theme.
            env: further environment variables for the server and its kernels.
        """
        self.folder, self._env = folder, env or {}
        self._settings = dict(SETTINGS)
        if dark:
            name = "@jupyterlab/apputils-extension:themes"
            self._settings[name] = {"theme": "JupyterLab Dark"}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            own = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(
                        prefix="lab-", ignore_cleanup_errors=True
                    )
                )
            )
            self.base = f"http://127.0.0.1:{_free_port()}"
            server = self._start_server(own)
            stack.callback(_end, server)
            _await_server(self.base, server, own / "server.log")
            self._context = self._start_browser(own, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def open(self, name: str) -> LabPage:
        """Open a notebook in a new browser page and wait until its kernel is ready."""
        page = LabPage(self._context.new_page(), self.base)
        page.goto(name)
        return page

    def _start_server(self, own: Path) -> subprocess.Popen[bytes]:
        for name, values in self._settings.items():
            package, file = name.split(":")
            place = own / "settings" / package
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{file}.jupyterlab-settings").write_text(json.dumps(values))
        env = {
            **os.environ,
            **self._env,
            "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
            "JUPYTER_CONFIG_DIR": str(own / "config"),
            "JUPYTER_DATA_DIR": str(own / "data"),
            "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
            "IPYTHONDIR": str(own / "ipython"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        port = self.base.rsplit(":", 1)[1]
        args = [
            "--no-browser",
            "--allow-root",
            f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            "--ServerApp.ip=127.0.0.1",
            "--IdentityProvider.token=",
            "--ServerApp.password=",
            "--ServerApp.disable_check_xsrf=True",
            "--LabApp.expose_app_in_browser=True",
            f"--ServerApp.root_dir={self.folder}",
        ]
        with (own / "server.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jupyter", "lab", *args],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _start_browser(self, own: Path, stack: contextlib.ExitStack) -> Any:
        from playwright.sync_api import sync_playwright

        driver = stack.enter_context(sync_playwright())
        context = driver.chromium.launch_persistent_context(
            str(own / "profile"),
            executable_path=chromium(),
            headless=True,
            args=CHROMIUM_ARGS,
            viewport={"width": 1280, "height": 1000},
        )
        stack.callback(context.close)
        return context


class LabPage:
    """One browser page with one notebook.

    Attributes:
        page: playwright's page.
        errors: console errors and uncaught exceptions, as text.
        strangers: requests that left the server's origin.
        received: payload sizes of websocket frames from the server, in bytes.
    """

    def __init__(self, page: Any, base: str) -> None:
        """Listen to the page from its first request on."""
        self.page, self._base = page, base
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.received: list[int] = []
        page.set_default_timeout(START_SECONDS * 1000)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("request", self._request)
        page.on("websocket", lambda socket: socket.on("framereceived", self._frame))

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(
            (self._base, "blob:", "data:", self._base.replace("http", "ws"))
        ):
            self.strangers.append(request.url)

    def _frame(self, payload: str | bytes) -> None:
        self.received.append(len(payload))

    def goto(self, name: str) -> None:
        """Open the notebook `name` in a workspace of its own."""
        self.page.goto(f"{self._base}/lab/workspaces/w{time.time_ns()}/tree/{name}")
        self.ready()

    def reload(self) -> None:
        """Reload the page; the kernel lives on."""
        self.page.reload()
        self.ready()

    def ready(self) -> None:
        """Wait until the notebook is there and its kernel idle: earlier, commands get lost."""
        self.page.wait_for_function("() => window.jupyterapp?.restored !== undefined")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", state="attached")
        self.page.wait_for_function(
            f"""() => {{ {NOTEBOOK}
              const kernel = notebook?.sessionContext?.session?.kernel;
              return kernel?.status === 'idle' && kernel.connectionStatus === 'connected'; }}"""
        )

    def command(self, name: str, *, wait: bool = True, seconds: float = 120) -> None:
        """Execute one of JupyterLab's commands; waiting is until it is done."""
        self.page.evaluate(
            """(name) => { window.__done = false;
              window.jupyterapp.commands.execute(name)
                .then(() => (window.__done = true), (error) => (window.__done = String(error))); }""",
            name,
        )
        if wait:
            self.settle(seconds)

    def settle(self, seconds: float = 120) -> None:
        """Wait until the last command is done."""
        self.page.wait_for_function("() => window.__done", timeout=seconds * 1000)

    def run_all(self, *, wait: bool = True, seconds: float = 120) -> None:
        """Run every cell. Fails if one shows an error, for then the rest did not run."""
        self.command("notebook:run-all-cells", wait=wait, seconds=seconds)
        if wait:
            assert not self.failures(), self.failures()

    def run_cell(self, at: int, *, wait: bool = True, seconds: float = 120) -> None:
        """Run one cell."""
        self.page.evaluate(
            f"(at) => {{ {NOTEBOOK} notebook.content.activeCellIndex = at; notebook.content.deselectAll(); }}",
            at,
        )
        self.command("notebook:run-cell", wait=wait, seconds=seconds)

    def save(self) -> None:
        """Save the notebook."""
        self.command("docmanager:save")

    def ask(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, by way of JSON; not in a cell."""
        text = self.page.evaluate(
            f"""async (code) => {{ {NOTEBOOK}
              const kernel = notebook.sessionContext.session.kernel;
              const future = kernel.requestExecute({{code, store_history: false}});
              let text = ''; let failed = '';
              future.onIOPub = (message) => {{
                if (message.header.msg_type === 'stream') text += message.content.text;
                if (message.header.msg_type === 'error') failed = message.content.evalue;
              }};
              await future.done;
              if (failed) throw new Error(failed);
              return text; }}""",
            f"import json as _json; print(_json.dumps({expression}))",
        )
        return json.loads(text)

    def outputs(self) -> list[str]:
        """The text each cell shows."""
        texts: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll('.jp-Cell')].map((cell) =>
              [...cell.querySelectorAll('.jp-OutputArea-output')].map((out) => out.innerText).join('\\n'))"""
        )
        return texts

    def failures(self) -> list[str]:
        """The errors, and what was written to stderr, on show."""
        kinds = ("application/vnd.jupyter.error", "application/vnd.jupyter.stderr")
        these = ", ".join(
            f'.jp-OutputArea-output[data-mime-type="{kind}"]' for kind in kinds
        )
        texts: list[str] = self.page.evaluate(
            "(these) => [...document.querySelectorAll(these)].map((out) => out.innerText)",
            these,
        )
        return texts

    def wait_for(self, condition: str, *, seconds: float = 30) -> Any:
        """Wait until a JavaScript expression is true; returns its value."""
        handle = self.page.wait_for_function(
            f"() => {condition}", timeout=seconds * 1000
        )
        return handle.json_value()

    def screenshot(self, path: str | Path) -> None:
        """Take a picture of what the window shows."""
        self.page.screenshot(path=str(path))

    def close(self) -> None:
        """Close the page."""
        self.page.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_server(base: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS * 5):
        if server.poll() is not None:
            break
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{base}/api/status", timeout=1),  # noqa: S310 - our own
        ):
            return
        time.sleep(0.2)
    raise RuntimeError(
        f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}"
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its kernels: they are one process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(10)
