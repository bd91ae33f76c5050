"""The command line: `streamlab demo` and `streamlab doctor`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from streamlab.errors import MissingExtraError, StreamlabError

app = cyclopts.App(
    name="streamlab",
    help="Live topics as polars frames and moving charts, in a notebook.",
    version_flags=["--version"],
)


@app.command
def demo(
    *,
    speed: Annotated[float, Parameter(help="times the recorded pace")] = 1.0,
    headless: Annotated[
        bool, Parameter(help="run the notebook without a browser", negative="")
    ] = False,
    out: Annotated[Path, Parameter(help="where --headless writes its files")] = Path(
        "demo-out"
    ),
    port: Annotated[int, Parameter(help="JupyterLab's port; 0 takes a free one")] = 0,
    browser: Annotated[bool, Parameter(help="open a browser window")] = True,
) -> int:
    """Replay recorded trades into a real broker and open the first notebook on them.

    With --headless the same notebook runs without a browser: DIR then holds the executed
    notebook, an HTML page and a PNG of its last chart.
    """
    if speed <= 0:
        raise SystemExit("streamlab demo: --speed must be greater than 0.")
    if headless:
        from streamlab.headless import run

        return run(out, speed=speed, console=Console(stderr=True))
    return _lab(speed, port, browser=browser)


@app.command
def doctor(
    url: Annotated[str | None, Parameter(help="a broker or a topic to try")] = None, /
) -> int:
    """Say what is installed here, what each part is for, and how Kafka is read.

    It connects to nothing, unless a URL is given: then it tries that broker, and says how far one
    gets: address, TLS, login, topics.
    """
    from streamlab.doctor import run

    return run(url, Console())


def _lab(speed: float, port: int, *, browser: bool) -> int:
    """Run JupyterLab until it ends."""
    from streamlab.headless import NOTEBOOK, notebooks
    from streamlab.replay import VARIABLE, Market

    console = Console(stderr=True)
    if find_spec("jupyterlab") is None:
        raise MissingExtraError("streamlab demo", library="jupyterlab", extra="demo")
    with console.status("starting the broker …"):
        market = Market(speed=speed)
    try:
        console.print(
            f"Recorded trades arrive at [bold]{market.url}[/]; Ctrl-C ends all."
        )
        command = [
            *(sys.executable, "-m", "jupyterlab", f"--port={port}"),
            f"--ServerApp.root_dir={notebooks()}",
            f"--LabApp.default_url=/lab/tree/{NOTEBOOK}",
            *([] if browser else ["--no-browser"]),
            *(["--allow-root"] if _is_root() else []),
        ]
        environment = {**os.environ, VARIABLE: market.url}
        with subprocess.Popen(command, env=environment) as lab:  # noqa: S603 - our own
            with contextlib.suppress(KeyboardInterrupt):
                return lab.wait()
            return lab.wait()
    finally:
        market.close()


def _is_root() -> bool:
    """Whether Jupyter would refuse to run without --allow-root (containers)."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def main() -> None:
    """The entry point of the `streamlab` command."""
    try:
        code = app()
    except StreamlabError as error:
        Console(stderr=True).print(f"[red]✖[/] {type(error).__name__}: {error}")
        raise SystemExit(1) from None
    raise SystemExit(code or 0)
