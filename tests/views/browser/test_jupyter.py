"""Charts and tables in JupyterLab: what a page shows is what the kernel has.

One notebook in one page for the whole file; the tests follow its life from the first hello to
a reload without a kernel.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.views.browser.lab import Lab, LabPage, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

SETUP = """
import altair as alt, polars as pl
from streamlab.views.chart import rolling
from streamlab.views.encode import page_values
from streamlab.views.table import LiveTable
from tests.views.browser.fake import Odd, ThreadPost, Trades, Windows, trades
from tests.views.fakes import FakeFrame

post = ThreadPost()
live, windows, odd = Trades(1_500), Windows(400), Odd()
empty = FakeFrame(dict(trades(0, 0).schema), time="time")
charts = {}

def show(name, chart):
    charts[name] = rolling(chart, post=post)
    return charts[name]

def rows(frame, *columns):
    values = [page_values(frame.df[name]) for name in columns]
    return sorted(map(list, zip(*values)), key=str)

def line(frame, x="time", y="price"):
    return alt.Chart(frame).mark_line().encode(x=x, y=y, color="symbol")
"""
CELLS = (
    SETUP,
    'show("live", line(live).interactive(bind_y=False))',
    'show("windows", line(windows, "window_start", "vwap"))',
    'show("odd", alt.Chart(odd).mark_point(tooltip={"content": "data"}).encode(x="f:Q"))',
    'show("empty", line(empty).properties(title="prices of all symbols"))',
    "table = LiveTable(windows, post=post); table",
    "import time; time.sleep(3)",
)
READY = "document.querySelectorAll('[data-streamlab=ready]').length === 5"
TRADES = ("time", "price", "symbol")
VWAP = ("window_start", "symbol", "vwap")


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[LabPage]:
    page = lab.open(write_notebook(lab.folder, "views.ipynb", *CELLS))
    for cell in range(len(CELLS) - 1):
        page.run_cell(cell)
    assert not page.failures(), page.failures()
    page.wait_for(READY)
    yield page
    page.close()


def in_page(page: LabPage, name: str, *columns: str) -> list[Any]:
    """The rows of a chart as its Vega view holds them; a Date as its milliseconds."""
    key = page.ask(f"charts[{name!r}].key")
    rows: list[Any] = page.page.evaluate(
        """([key, columns]) => [...globalThis.__streamlab.charts.get(key).views][0].view
          .data('live_0').map((row) => columns.map((name) =>
            row[name] instanceof Date ? +row[name]
              : Number.isNaN(row[name]) ? 'NaN' : row[name]))""",
        [key, list(columns)],
    )
    return rows


def settle(check: Callable[[], bool], seconds: float = 20) -> bool:
    """Ask again until it holds; the page is a few frames behind the kernel."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return check()


def same(page: LabPage, name: str, frame: str, *columns: str) -> bool:
    """Whether the page's rows come to equal the kernel's, value by value."""

    def check() -> bool:
        asked = ", ".join(map(repr, columns))
        there = page.ask(f"rows({frame}, {asked})")
        here = in_page(page, name, *columns)
        return len(here) >= 1_000 and key(here) == key(there)

    return settle(check)


def key(rows: list[Any]) -> list[Any]:
    """Rows in an order both sides agree on; 1 and 1.0 are one value."""
    return sorted(
        rows, key=lambda row: [(value is None, str(value)) for value in plain(row)]
    )


def plain(row: list[Any]) -> list[Any]:
    return [float(v) if isinstance(v, int) else v for v in row]


def frames(page: LabPage, name: str) -> int:
    """How many messages the page has drawn for a chart."""
    count: int = page.page.evaluate(
        "(key) => globalThis.__streamlab.charts.get(key).frames",
        page.ask(f"charts[{name!r}].key"),
    )
    return count


def wait_for_frames(page: LabPage, name: str, enough: int) -> None:
    """Wait until the page has drawn `enough` messages in all."""
    assert settle(lambda: frames(page, name) >= enough)


def grow(page: LabPage, frame: str, times: int) -> None:
    page.ask(f"[{frame}.grow() for _ in range({times})] and None")


def test_an_append_chart_holds_the_kernels_rows(page: LabPage):
    grow(page, "live", 25)

    assert same(page, "live", "live", *TRADES)


def test_a_keyed_chart_holds_the_kernels_rows(page: LabPage):
    grow(page, "windows", 25)

    assert same(page, "windows", "windows", *VWAP)


def test_every_type_of_column_is_read_as_it_was_written(page: LabPage):
    columns = page.ask("odd.df.columns")
    expected = page.ask("[list(r) for r in zip(*(page_values(s) for s in odd.df))]")
    nan = expected[1][columns.index("f")]

    shown = in_page(page, "odd", *columns)

    assert nan is None  # as JSON has it; the page holds a NaN
    expected[1][columns.index("f")] = "NaN"
    assert [list(map(type_free, row)) for row in shown] == [
        list(map(type_free, row)) for row in expected
    ]


def type_free(value: Any) -> Any:
    whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    return int(value) if whole else value


def test_an_update_of_ten_rows_takes_at_most_four_kilobytes(page: LabPage):
    drawn, received = frames(page, "live"), sum(page.received)
    before = page.ask("live.count")

    page.ask("globals().update(end=post.every(0.1, live.grow))")
    wait_for_frames(page, "live", drawn + 20)
    page.ask("end()")

    # By the rows that were sent, not by what was drawn: a slow page draws several as one.
    updates = (page.ask("live.count") - before) / 10
    assert updates >= 20
    assert (
        sum(page.received) - received
    ) / updates <= 4_000  # answers and all else included


def test_labels_stay_inside_the_canvas_after_an_empty_start(page: LabPage):
    page.ask(
        'empty.push(trades(0, 50).with_columns(symbol=pl.lit("a rather long symbol name")))'
    )
    assert settle(lambda: len(in_page(page, "empty", "price")) == 50)

    inside = page.page.evaluate(
        """async (key) => {
          const { view } = [...globalThis.__streamlab.charts.get(key).views][0];
          await view.runAsync();
          const canvas = view.container().querySelector('canvas');
          const scale = canvas.width / canvas.clientWidth;
          const [ox, oy] = view.origin();
          const bad = [];
          let texts = 0;
          (function walk(item, x, y) {
            for (const child of item.items ?? []) {
              const group = child.marktype === undefined && child.items;
              if (item.marktype === 'text' && child.text && child.opacity !== 0) {
                texts += 1;
                const { x1, x2, y1, y2 } = child.bounds;
                const box = [x1 + x, y1 + y, x2 + x, y2 + y];
                if (box[0] < -1 || box[1] < -1 || box[2] > canvas.clientWidth + 1
                    || box[3] > canvas.clientHeight + 1) bad.push([child.text, ...box]);
              }
              walk(child, x + (group ? child.x ?? 0 : 0), y + (group ? child.y ?? 0 : 0));
            }
          })(view.scenegraph().root, ox, oy);
          return { texts, bad, scale };
        }""",
        page.ask("charts['empty'].key"),
    )

    assert inside["texts"] > 10
    assert inside["bad"] == []


def test_a_zoom_stays_while_rows_come(page: LabPage):
    def domain() -> list[float]:
        found: list[float] = page.page.evaluate(
            "(key) => [...globalThis.__streamlab.charts.get(key).views][0].view.scale('x').domain().map(Number)",
            page.ask("charts['live'].key"),
        )
        return found

    before = domain()
    canvas = page.page.locator(".sl-canvas canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.page.mouse.move(box["x"] + 300, box["y"] + 120)
    page.page.mouse.wheel(0, -240)
    assert settle(lambda: domain() != before)
    zoomed = domain()

    for _ in range(3):
        drawn = frames(page, "live")
        grow(page, "live", 1)
        wait_for_frames(page, "live", drawn + 1)

    assert domain() == zoomed
    page.page.mouse.dblclick(box["x"] + 300, box["y"] + 120)
    assert settle(lambda: domain() != zoomed)


def test_frames_go_on_while_a_cell_sleeps(page: LabPage):
    page.ask("globals().update(end=post.every(0.1, live.grow))")
    before = frames(page, "live")

    page.run_cell(len(CELLS) - 1)  # returns when the cell is done
    drawn = frames(page, "live") - before
    page.ask("end()")

    assert drawn >= 15


def test_a_page_that_freezes_gets_eight_frames_and_catches_up(page: LabPage):
    page.ask("globals().update(end=post.every(0.05, live.grow))")
    before = page.ask("charts['live']._pump.pages.seq")

    page.page.evaluate(
        "() => { const end = performance.now() + 4000; while (performance.now() < end); }"
    )
    sent = page.ask("[charts['live']._pump.pages.seq, live.count]")
    page.ask("end()")

    assert sent[0] - before <= 8 + 6  # and what came before it froze and after it woke
    assert same(page, "live", "live", *TRADES)


def test_the_buttons_do_what_they_say(page: LabPage):
    box = page.page.locator(".sl-table")
    box.scroll_into_view_if_needed()

    box.get_by_role("button", name="Freeze").click()
    assert "❄ view frozen" in box.inner_text()
    box.get_by_role("button", name="Go on").click()
    assert settle(lambda: "● live" in box.inner_text())
    box.get_by_role("button", name="Stop source…").click()
    assert "3 frames hang on it" in box.inner_text()
    assert page.ask("windows.stops") == 0
    box.get_by_role("button", name="Stop", exact=True).click()

    assert settle(lambda: "■ stopped" in box.inner_text())
    assert page.ask("windows.stops") == 1
    assert box.get_by_role("button").count() == 0


def test_after_stop_the_page_still_holds_the_kernels_rows(page: LabPage):
    page.ask("live.stop_source()")

    assert settle(lambda: any("■ stopped" in text for text in page.outputs()))
    assert same(page, "live", "live", *TRADES)
    assert same(page, "windows", "windows", *VWAP)


def test_after_a_reload_of_the_saved_notebook_all_is_there_again(page: LabPage):
    page.save()
    page.reload()
    page.wait_for(READY)

    assert same(page, "live", "live", *TRADES)
    assert same(page, "windows", "windows", *VWAP)
    grow(page, "live", 3)
    assert same(page, "live", "live", *TRADES)


def test_a_closed_chart_keeps_its_picture(page: LabPage):
    page.ask("charts['empty'].close()")

    assert settle(
        lambda: page.page.locator(".sl-chart .sl-button:visible").count() == 3
    )
    assert page.page.locator(".sl-chart canvas").count() == 4


def test_without_its_kernel_the_last_picture_is_marked_as_frozen(page: LabPage):
    page.page.evaluate(
        """() => [...window.jupyterapp.shell.widgets('main')].find((w) => w.sessionContext)
          .sessionContext.session.kernel.restart()"""
    )

    assert settle(lambda: sum("(kernel gone)" in text for text in page.outputs()) >= 4)
    assert page.page.locator(".sl-chart canvas").count() == 4


def test_elsewhere_a_saved_notebook_shows_pictures_and_a_table(page: LabPage, lab: Lab):
    saved = (lab.folder / "views.ipynb").read_text()
    # Changed by another hand, it is not trusted, like one that comes by mail.
    (lab.folder / "copy.ipynb").write_text(
        saved.replace("import altair", "import  altair")
    )

    copy = lab.open("copy.ipynb")

    assert settle(lambda: copy.page.locator(".jp-OutputArea-output img").count() == 3)
    assert any("window_start" in text for text in copy.outputs())
    assert copy.errors == []
    assert copy.strangers == []
    copy.close()


def test_nothing_was_asked_of_other_hosts_and_no_error_was_logged(page: LabPage):
    assert page.strangers == []
    assert page.errors == []
