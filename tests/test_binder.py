"""What Binder would do: a fresh environment by the words of `binder/`, then the notebooks."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
RUN = """
import sys, nbformat
from pathlib import Path
from nbclient import NotebookClient
for path in sorted(Path("notebooks").glob("*.ipynb")):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": "notebooks"}}).execute()
    print("ran", path.name)
"""


def run(*command: str | Path, cwd: Path, seconds: int) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as Binder gets it: no build, no environment, no cache."""
    folder = tmp_path_factory.mktemp("binder") / "project"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "__pycache__", "node_modules", "*.egg-info", ".*_cache"
    )
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.timeout(900)
def test_the_notebooks_run_in_what_binder_installs(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"

    requirements = clone / "binder" / "requirements.txt"
    run(
        python, "-m", "pip", "install", "-q", "-r", requirements, cwd=clone, seconds=600
    )
    shutil.rmtree(clone / "streamlab")  # what is installed must be enough
    ran = run(python, "-c", RUN, cwd=clone, seconds=240)

    assert ran.split("\n")[0] == "ran 01_first_topic.ipynb"
    assert ran.count("ran ") == len(list((ROOT / "notebooks").glob("*.ipynb")))


def test_binder_opens_the_first_notebook() -> None:
    start = (BINDER / "start").read_text("utf-8")
    line = next(text for text in start.splitlines() if text.startswith("exec"))
    words = shlex.split(line.replace('"$@"', "jupyter-lab"))

    assert words[1] == "jupyter-lab"
    opened = words[2].removeprefix("--ServerApp.default_url=/lab/tree/")
    assert (ROOT / opened).is_file()
    assert os.access(BINDER / "start", os.X_OK)


def test_binders_python_is_one_that_the_package_supports() -> None:
    named = (BINDER / "runtime.txt").read_text("utf-8").strip()
    minor = int(named.removeprefix("python-3."))

    assert minor >= 11
    assert sys.version_info >= (3, 11)
