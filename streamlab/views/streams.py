"""The list of running streams, as text and as HTML: a row per source, its children indented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from streamlab.observed import Status
from streamlab.views import words
from streamlab.views.card import html_table
from streamlab.views.status import state_words


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One frame in the list.

    Attributes:
        name: what the user calls it.
        depth: 0 for a source, 1 for what is derived from it, and so on.
        cell: number of the cell that made it; None outside a notebook.
        url: of its topic, redacted; "" for a derived frame.
        status: its state in numbers.
        views: tables and charts on show.
        group: for which a source commits ("billing", or "report, alone"); "" for none.
    """

    name: str
    depth: int
    cell: int | None
    url: str
    status: Status
    views: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class StreamsInfo:
    """All frames, sources before what is derived from them.

    Attributes:
        rows: one per frame.
        connections: open to brokers.
        held_bytes, budget_bytes: of all frames together.
    """

    rows: tuple[StreamRow, ...]
    connections: int
    held_bytes: int
    budget_bytes: int


_HEADINGS = ("name", "cell", "topic", "state", "rate", "lag", "kept", "views", "group")


def streams_text(info: StreamsInfo) -> str:
    """The list as plain text."""
    if not info.rows:
        return "no streams are running. sl.topic(…).live() starts one."
    rows = [_HEADINGS, *_rows(info.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "   ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, _total(info)])


def streams_html(info: StreamsInfo) -> str:
    """The list as HTML without scripts."""
    if not info.rows:
        return f"<div>{escape(streams_text(info))}</div>"
    table = html_table(_HEADINGS, _rows(info.rows))
    return f"<div>{table}<div><small>{escape(_total(info))}</small></div></div>"


def _rows(rows: Sequence[StreamRow]) -> list[tuple[str, ...]]:
    return [
        (
            "  " * row.depth + row.name,
            "" if row.cell is None else f"[{row.cell}]",
            row.url,
            state_words(row.status),
            f"{words.rate(row.status.rate)}/s",
            "" if row.status.lag_s is None else words.age(row.status.lag_s),
            f"{words.number(row.status.kept_rows)} rows, {words.size(row.status.kept_bytes)}",
            str(row.views),
            row.group,
        )
        for row in rows
    ]


def _total(info: StreamsInfo) -> str:
    frames, connections = len(info.rows), info.connections
    held = words.share_of(info.held_bytes, info.budget_bytes)
    return (
        f"{frames} frame{'s' * (frames != 1)}, {connections} connection{'s' * (connections != 1)}, "
        f"{held}"
    )
