"""`streamlab demo --headless`: the first notebook without a browser, and what it leaves behind."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamlab.errors import MissingExtraError, StreamlabError
from streamlab.replay import VARIABLE, Market

NOTEBOOK = "01_first_topic.ipynb"
CELL_SECONDS = 60
# Run after the last cell, in the notebook's own kernel: what it has, and its last picture.
SUMMARY = """
import base64, json
from streamlab import headless as _headless
print(_headless.MARK + json.dumps(_headless.summary()))
"""
MARK = "streamlab-summary:"


class DemoFailedError(StreamlabError):
    """The demo's notebook did not run to its end."""


def notebooks() -> Path:
    """The folder of the notebooks: in a checkout beside the package, in a wheel inside it."""
    package = Path(__file__).parent
    for folder in (package.parent / "notebooks", package / "notebooks"):
        if (folder / NOTEBOOK).is_file():
            return folder
    raise DemoFailedError(f"{NOTEBOOK} is missing from this installation.")


def run(out: Path, *, speed: float, console: Console) -> int:
    """Run the notebook, write its files to `out`, print the summary; 0 if all went well."""
    out.mkdir(parents=True, exist_ok=True)
    nbformat = _optional("nbformat")
    source = notebooks() / NOTEBOOK
    notebook = nbformat.read(source, as_version=4)
    with console.status("starting the broker …"):
        market = Market(speed=speed)
    try:
        with _environment(VARIABLE, market.url):
            found = _execute(notebook, source.parent, console)
    finally:
        market.close()
    _write(notebook, found, out, source.stem)
    console.print(_table(found))
    console.print(
        f"Wrote {', '.join(sorted(path.name for path in out.iterdir()))} to {out}"
    )
    return 0


def _optional(library: str) -> Any:
    """A library of the demo's extra.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(library)
    except ModuleNotFoundError:
        what = "streamlab demo --headless"
        raise MissingExtraError(what, library=library, extra="demo") from None


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for the kernel to inherit."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _execute(notebook: Any, folder: Path, console: Console) -> dict[str, Any]:
    """All cells in order, then the summary in the same kernel."""
    nbformat, nbclient = _optional("nbformat"), _optional("nbclient")
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}}
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with client.setup_kernel(), Progress(*columns, console=console) as progress:
        cells = notebook.cells
        task = progress.add_task("running the notebook", total=len(cells))
        for index, cell in enumerate(cells):
            try:
                client.execute_cell(cell, index)
            except nbclient.exceptions.CellExecutionError as error:
                raise DemoFailedError(f"cell {index + 1} failed: {error}") from None
            progress.advance(task)
        last = nbformat.v4.new_code_cell(SUMMARY)
        cells.append(last)
        client.execute_cell(last, len(cells) - 1)
        cells.pop()
    notebook.metadata.pop(
        "widgets", None
    )  # pictures are in the outputs; models are not
    for output in last.outputs:
        text = output.get("text", "")
        if MARK in text:
            found: dict[str, Any] = json.loads(text.split(MARK, 1)[1])
            return found
    raise DemoFailedError(f"the notebook left no summary: {last.outputs}")


def summary() -> dict[str, Any]:
    """What the kernel's streams have done, and the last chart as a picture."""
    from streamlab.live.cells import CELLS
    from streamlab.live.frame import running
    from streamlab.live.plotting import Shown
    from streamlab.plans.nodes import Window
    from streamlab.views.chart import RollingChart

    frames = running()
    sources = [frame for frame in frames if frame.source is frame]
    windows = [frame for frame in frames if isinstance(frame.plan, Window)]
    shown = [e.thing.widget for e in CELLS.entries if isinstance(e.thing, Shown)]
    charts = [widget for widget in shown if isinstance(widget, RollingChart)]
    picture = charts[-1].to_png() if charts else b""
    return {
        "received": sum(frame.stats.received for frame in sources),
        "rate": sum(frame.status().rate for frame in sources),
        "windows": sum(len(frame) for frame in windows),
        "late": sum(frame.stats.late for frame in windows),
        "rejected": sum(frame.stats.rejected for frame in sources),
        "png": base64.b64encode(picture).decode(),
    }


def _write(notebook: Any, found: dict[str, Any], out: Path, stem: str) -> None:
    """The executed notebook, a page of it, and the picture of its last chart."""
    nbformat, nbconvert = _optional("nbformat"), _optional("nbconvert")
    if not found["png"]:
        raise DemoFailedError("the notebook showed no chart.")
    nbformat.write(notebook, out / f"{stem}.ipynb")
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    (out / f"{stem}.html").write_text(page, encoding="utf-8")
    (out / f"{stem}.png").write_bytes(base64.b64decode(found["png"]))


def _table(found: dict[str, Any]) -> Table:
    """The summary, for the terminal."""
    table = Table("received", "rate", "windows", "late", "rejected")
    table.add_row(
        f"{found['received']:,}",
        f"{found['rate']:.0f}/s",
        f"{found['windows']:,}",
        f"{found['late']:,}",
        f"{found['rejected']:,}",
    )
    return table
