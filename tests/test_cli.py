"""The command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def streamlab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamlab", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(("command", "word"), [("demo", "--speed"), ("doctor", "URL")])
def test_every_command_has_help_and_appears_in_the_readme(
    command: str, word: str
) -> None:
    done = streamlab(command, "--help")

    assert done.returncode == 0
    assert word in done.stdout
    assert f"streamlab {command}" in README.read_text("utf-8")


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_headless_demo_writes_its_files_and_says_what_happened(
    tmp_path: Path,
) -> None:
    done = streamlab("demo", "--headless", "--out", str(tmp_path), "--speed", "2")

    assert done.returncode == 0, done.stderr
    notebook = json.loads((tmp_path / "01_first_topic.ipynb").read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert (tmp_path / "01_first_topic.png").read_bytes().startswith(b"\x89PNG")
    assert "<img" in (tmp_path / "01_first_topic.html").read_text("utf-8")
    for heading in ("received", "rate", "windows", "late", "rejected"):
        assert heading in done.stderr


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_failing_notebook_makes_the_headless_demo_fail_with_its_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import streamlab.headless as h\nh.SUMMARY = 'raise KeyError(42)'\n"
    )

    done = streamlab(
        "demo", "--headless", "--out", str(tmp_path), PYTHONPATH=str(tmp_path)
    )

    assert done.returncode != 0
    assert "KeyError" in done.stderr


def test_a_speed_of_nothing_is_refused_in_words() -> None:
    done = streamlab("demo", "--speed", "0")

    assert done.returncode != 0
    assert "--speed must be greater than 0" in done.stderr
