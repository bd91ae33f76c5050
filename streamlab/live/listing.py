"""What `sl.streams()` shows: a row per source, the frames on it below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlab.live.asking import ancestors
from streamlab.live.sharing import group_words
from streamlab.views.streams import StreamRow, StreamsInfo, streams_html, streams_text


class Listing:
    """The running streams at one moment; a notebook shows it as a table."""

    def __init__(self, frames: Sequence[Any]) -> None:
        """Look at `frames` now."""
        self.info = _info(frames)

    def __repr__(self) -> str:
        return streams_text(self.info)

    def _repr_html_(self) -> str:
        return streams_html(self.info)


def _info(frames: Sequence[Any]) -> StreamsInfo:
    sources = [frame for frame in frames if frame.source is frame]
    rows: list[StreamRow] = []
    for source in sources:
        family = [frame for frame in frames if frame.source is source]
        rows.extend(_row(frame) for frame in sorted(family, key=_depth))
    feeds = [source._feed for source in sources]  # noqa: SLF001 - one noun in two modules
    return StreamsInfo(
        rows=tuple(rows),
        connections=sum(not feed.finished for feed in feeds),
        held_bytes=sum(feed.pipeline.budget.held for feed in feeds),
        budget_bytes=sum(feed.pipeline.budget.limit for feed in feeds),
    )


def _depth(frame: Any) -> int:
    return len(ancestors(frame))


def _row(frame: Any) -> StreamRow:
    from streamlab.live.cells import CELLS
    from streamlab.live.plotting import Shown

    cell = frame.entry.cell
    views = sum(
        isinstance(e.thing, Shown) and any(f is frame for f in e.thing.needs())
        for e in CELLS.entries
    )
    return StreamRow(
        name=frame.name,
        depth=_depth(frame),
        cell=None if cell is None else cell.number,
        url="" if _depth(frame) else f"{frame._topic.place}/{frame._topic.name}",  # noqa: SLF001
        status=frame.status(),
        views=views,
        group="" if _depth(frame) else group_words(frame._feed),  # noqa: SLF001
    )
