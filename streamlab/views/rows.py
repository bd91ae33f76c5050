"""The newest rows of a frame as text: what its table shows, in the page and on paper."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

import polars as pl

from streamlab.changes import CLOSED
from streamlab.observed import Observed, Status
from streamlab.views import words
from streamlab.views.failure import failure_text
from streamlab.views.status import status_line

ROWS, COLUMNS = 20, 12


class Head(NamedTuple):
    """One column of the table: its name, its type, and whether it holds numbers."""

    name: str
    type: str
    right: bool


class Table(NamedTuple):
    """What a table shows.

    Attributes:
        heads: the columns, 12 at most.
        rows: newest first, 20 at most; None is null.
        size: how much of the frame that is.
    """

    heads: list[Head]
    rows: list[list[str | None]]
    size: str


def newest(frame: pl.DataFrame) -> Table:
    """The newest rows of a frame that is in order, newest first."""
    part = frame[:, :COLUMNS].tail(ROWS).reverse()
    heads = [
        Head(series.name, words.type_name(series.dtype), series.dtype.is_numeric())
        for series in part
    ]
    columns = [
        _closed(series) if _is_closed(series) else words.cells(series)
        for series in part
    ]
    rows = [list(row) for row in zip(*columns, strict=True)]
    of = f"{len(rows)} of " if frame.height > len(rows) else ""
    hidden = frame.width - len(heads)
    shown = f"{len(heads)} of " if hidden else ""
    size = f"{of}{words.number(frame.height)} rows · {shown}{frame.width} columns"
    return Table(heads, rows, size)


def _is_closed(series: pl.Series) -> bool:
    return series.name == CLOSED and series.dtype == pl.Boolean


def _closed(series: pl.Series) -> list[str | None]:
    signs = {True: "●", False: "◌"}
    return [None if value is None else signs[value] for value in series.to_list()]


def table_text(observed: Observed) -> str:
    """A frame as it stands, as plain text."""
    status = observed.status()
    table = newest(observed.snapshot().df)
    lines = [title(observed)]
    if (failure := observed.failure()) is not None:
        lines.append(failure_text(observed.name, failure))
    if table.heads:
        lines += [*_aligned(table), table.size]
    return "\n".join([*lines, status_line(status)])


def title(observed: Observed) -> str:
    """The frame's name and its steps."""
    return f"{observed.name} · {observed.steps}" if observed.steps else observed.name


def _aligned(table: Table) -> list[str]:
    columns = [
        [
            head.name,
            head.type,
            *("null" if (cell := row[at]) is None else cell for row in table.rows),
        ]
        for at, head in enumerate(table.heads)
    ]
    widths = [max(map(len, column)) for column in columns]
    padded = [
        [cell.rjust(width) if head.right else cell.ljust(width) for cell in column]
        for column, width, head in zip(columns, widths, table.heads, strict=True)
    ]
    return ["   ".join(line).rstrip() for line in zip(*padded, strict=True)]


def table_html(observed: Observed) -> str:
    """A frame as it stands, as HTML without scripts: what a saved notebook shows."""
    table = newest(observed.snapshot().df)
    parts = [f"<div><b>{escape(observed.name)}</b> {_steps(observed)}</div>"]
    if (failure := observed.failure()) is not None:
        parts.append(f"<pre>{escape(failure_text(observed.name, failure))}</pre>")
    if table.heads:
        parts += [_grid(table), f"<div><small>{escape(table.size)}</small></div>"]
    parts.append(f"<div><small>{escape(_line(observed.status()))}</small></div>")
    return f"<div>{''.join(parts)}</div>"


def _steps(observed: Observed) -> str:
    return f"· {escape(observed.steps)}" if observed.steps else ""


def _line(status: Status) -> str:
    return status_line(status).replace("   ", " · ")


def _grid(table: Table) -> str:
    align = ["right" if head.right else "left" for head in table.heads]

    def line(tag: str, cells: list[str]) -> str:
        return (
            "<tr>"
            + "".join(
                f'<{tag} style="text-align:{side};white-space:pre">{escape(cell)}</{tag}>'
                for cell, side in zip(cells, align, strict=True)
            )
            + "</tr>"
        )

    top = line("th", [head.name for head in table.heads])
    types = line("td", [head.type for head in table.heads])
    body = "".join(
        line("td", ["null" if cell is None else cell for cell in row])
        for row in table.rows
    )
    return f"<table><thead>{top}{types}</thead><tbody>{body}</tbody></table>"
