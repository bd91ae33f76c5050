"""One server and one browser for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.views.browser.lab import Lab, missing

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if lack := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no browser test can run: {lack}")
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("notebooks")
    with Lab(folder, env={"PYTHONPATH": str(ROOT)}) as lab:
        yield lab
