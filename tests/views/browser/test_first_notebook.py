"""The first notebook as a newcomer meets it: JupyterLab, a real broker, real frames.

`STREAMLAB_SCREENSHOT=notebooks/lab.png` keeps the picture that the README shows.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.views.browser.lab import Lab, LabPage

ROOT = Path(__file__).parents[3]
NAME = "01_first_topic.ipynb"

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[LabPage]:
    shutil.copy(ROOT / "notebooks" / NAME, lab.folder / NAME)
    page = lab.open(NAME)
    page.run_all()
    yield page
    page.close()


def drawn(page: LabPage) -> int:
    """Messages drawn by the page's last chart."""
    count: int = page.page.evaluate(
        "(key) => globalThis.__streamlab.charts.get(key).frames", page.ask("chart.key")
    )
    return count


def rows_in_page(page: LabPage) -> list[Any]:
    rows: list[Any] = page.page.evaluate(
        """(key) => [...globalThis.__streamlab.charts.get(key).views][0].view
          .data('live_0').map((row) => [+row.window_start, row.symbol, row.vwap])""",
        page.ask("chart.key"),
    )
    return sorted(rows)


def settle(check: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return check()


def test_the_whole_notebook_runs_and_its_chart_moves(page: LabPage) -> None:
    before = drawn(page)

    assert page.failures() == []
    assert settle(lambda: drawn(page) >= before + 10)
    assert "rejected 0" in "".join(page.outputs())
    if wanted := os.environ.get("STREAMLAB_SCREENSHOT"):
        canvas = page.page.query_selector_all(".jp-Cell canvas")[-1]
        canvas.scroll_into_view_if_needed()
        page.screenshot(ROOT / wanted)


def test_the_chart_moves_while_a_cell_sleeps(page: LabPage) -> None:
    before = drawn(page)

    page.ask("__import__('time').sleep(3)")

    assert drawn(page) >= before + 10


def test_after_stop_the_page_holds_the_kernels_windows_value_by_value(
    page: LabPage,
) -> None:
    page.ask("live.stop()")
    there = page.ask(
        "sorted([t.timestamp() * 1000, s, v] for t, s, v in"
        " vwap.df.select('window_start', 'symbol', 'vwap').iter_rows())"
    )

    assert len(there) > 250
    assert settle(lambda: rows_in_page(page) == there)


def test_nothing_was_asked_of_other_hosts_and_no_error_was_logged(
    page: LabPage,
) -> None:
    assert page.strangers == []
    assert page.errors == []
