"""Every notebook runs top to bottom on the embedded broker, twice in one kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

nb: Any = nbformat  # its functions are not typed
FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STREAMS = "from streamlab.live.frame import running; print(len(running()))"


def execute(client: nbclient.NotebookClient, notebook: Any) -> None:
    for index, cell in enumerate(notebook.cells):
        client.execute_cell(cell, index)


def printed(client: nbclient.NotebookClient, notebook: Any, code: str) -> str:
    cell = nb.v4.new_code_cell(code)
    notebook.cells.append(cell)
    client.execute_cell(cell, len(notebook.cells) - 1)
    notebook.cells.pop()
    return "".join(output.get("text", "") for output in cell.outputs)


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_twice_in_one_kernel_and_the_second_run_replaces_the_first(
    path: Path,
) -> None:
    notebook = nb.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=60, resources={"metadata": {"path": FOLDER}}
    )

    with client.setup_kernel():
        execute(client, notebook)
        after_one = printed(client, notebook, STREAMS)
        execute(client, notebook)
        after_two = printed(client, notebook, STREAMS)

    assert int(after_one) > 0
    assert after_two == after_one


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nb.read(path, as_version=4)

    assert [cell for cell in notebook.cells if cell.get("outputs")] == []
    assert not notebook.metadata.get("widgets")
