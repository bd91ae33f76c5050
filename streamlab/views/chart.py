"""The moving chart: an altair chart, embedded once, that live frames feed.

Four parts, from the frame to the page. A `Feed` per frame gathers changes into a `Window` of
at most so many rows. The `Pump` decides when: 15 times a second at most, and never more than
eight messages ahead of a page. This widget joins them, and one message carries all data sets.

One rule instead of locks: after `__init__`, feeds, windows and pages belong to the I/O
thread, which alone sends. Listeners and page messages come from other threads and only post.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from streamlab.clocks import SYSTEM, Clock
from streamlab.errors import MissingExtraError, UsageError
from streamlab.observed import Observed
from streamlab.views.base import Post, leave_pages, library_version, script
from streamlab.views.caption import Picture, caption
from streamlab.views.encode import encode
from streamlab.views.feed import Feed
from streamlab.views.picture import png
from streamlab.views.pump import Content, Message, Pump
from streamlab.views.spec import Compiled, compile_chart, frames_in
from streamlab.views.window import Delta

log = logging.getLogger("streamlab")
WAITING = "○ waiting for the first record"
FRAMES_PER_SECOND = 15.0
PAPER_SCALE = 1.5  # of the picture that is saved in a notebook: about 100 kB


class RollingChart(anywidget.AnyWidget):
    """An altair chart whose live frames move it. Made by `rolling`."""

    _esm = script("chart.js")
    _css = script("views.css")
    key = traitlets.Unicode().tag(sync=True)
    library = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        chart: Any,
        frames: Sequence[Observed],
        *,
        post: Post,
        rows: int | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Compile the chart, or wait for the types that only a first record can tell."""
        self._chart, self._frames, self._rows = chart, tuple(frames), rows
        self._feeds: list[Feed] = []
        self._waits: list[Callable[[], None]] = []
        self._said = ""
        self._told_spec = False
        self._pump = Pump(
            post,
            send=self._send_message,
            draw=self._draw,
            gather=self._gather,
            per_second=FRAMES_PER_SECOND,
            clock=clock,
        )
        self._compiled = compile_chart(chart, frames, rows)
        super().__init__(key=uuid4().hex, library=library_version())
        post.adopt(self)
        self.on_msg(self._on_message)
        if self._compiled:
            self._follow(self._compiled)
        else:
            self._waits = [
                frame.subscribe(lambda _: self._pump.kick()) for frame in frames
            ]

    @property
    def frames(self) -> tuple[Observed, ...]:
        """The live frames that feed it."""
        return self._frames

    def close(self) -> None:
        """Leave the frames and end the model; the page keeps the last picture."""
        if self._pump.closed:
            return
        self._pump.close()
        for feed in self._feeds:
            feed.close()
        self._stop_waiting()
        self.on_msg(self._on_message, remove=True)
        leave_pages(self)
        super().close()

    def to_png(self, path: str | Path | None = None, *, scale: float = 2.0) -> bytes:
        """The chart as it stands, as a PNG.

        Args:
            path: where to write it too.
            scale: pixels per unit of the chart's size.

        Raises:
            MissingExtraError: the picture library is not installed.
            UsageError: nothing is known yet of the frame's columns.
        """
        compiled = self._compiled or compile_chart(
            self._chart, self._frames, self._rows
        )
        if compiled is None:
            raise UsageError(
                "to_png(): no record has come yet, so the chart's types are unknown. "
                'Wait for one, or write the types: x="time:T".'
            )
        picture = png(compiled, scale)
        if path is not None:
            Path(path).write_bytes(picture)
        return picture

    def __repr__(self) -> str:
        names = ", ".join(frame.name for frame in self._frames)
        return f"RollingChart({names})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, meta = bundle if isinstance(bundle, tuple) else (bundle, {})
        if not data:
            return bundle
        data["text/plain"] = repr(self)
        if any(frame.snapshot().df.height for frame in self._frames):
            try:
                data["image/png"] = self.to_png(scale=PAPER_SCALE)
            except MissingExtraError:
                pass  # the picture is for readers without a kernel, and an extra
            except Exception:
                log.exception("no still picture of the chart")
        return data, meta

    # ------------------------------------------------------------ on the I/O thread

    def _on_message(
        self, _widget: object, message: Mapping[str, Any], _: object
    ) -> None:
        self._pump.hear(message)  # any thread: only posts

    def _send_message(self, content: Content, buffers: list[bytes]) -> None:
        self.send(content, buffers)

    def _follow(self, compiled: Compiled) -> None:
        self._feeds = [
            Feed(source, watched=lambda: self._pump.watched, kick=self._pump.kick)
            for source in compiled.sources
        ]

    def _stop_waiting(self) -> None:
        waits, self._waits = self._waits, []
        for leave in waits:
            leave()

    def _gather(self) -> None:
        if self._compiled is None:
            self._compiled = compile_chart(self._chart, self._frames, self._rows)
            if self._compiled is None:
                return
            self._stop_waiting()
            self._follow(self._compiled)
        for feed in self._feeds:
            feed.gather()

    def _draw(self, fresh: Sequence[str]) -> Message | None:
        parts: list[Content] = []
        buffers: list[bytes] = []
        for feed in self._feeds:
            for delta, address in _addressed(
                feed, fresh, others=self._pump.others(fresh)
            ):
                columns, data = encode(delta.rows)
                parts.append(
                    {
                        "name": feed.source.name,
                        "n": len(delta.ids),
                        "reset": delta.reset,
                        "columns": columns,
                        **address,
                    }
                )
                buffers += [
                    delta.ids.astype("<u4").tobytes(),
                    delta.gone.astype("<u4").tobytes(),
                    *data,
                ]
        return self._message(parts, buffers, first=bool(fresh))

    def _message(
        self, parts: list[Content], buffers: list[bytes], *, first: bool
    ) -> Message | None:
        content: Content = {"t": "d", "parts": parts}
        words = self._caption()
        if first or words != self._said:
            self._said = content["caption"] = words
        elif not parts:
            return None
        if self._compiled and (first or not self._told_spec):
            self._told_spec = True
            content["spec"] = self._compiled.spec
        return content, buffers

    def _caption(self) -> str:
        statuses = [frame.status() for frame in self._frames]
        if self._compiled is None:
            return WAITING
        pictures = [
            Picture(
                feed.window.rows,
                status.kept_rows,
                feed.window.thinned,
                feed.source.plan,
                feed.source.frame.time_column,
                bool(feed.source.frame.key),
            )
            for feed, status in zip(self._feeds, statuses, strict=True)
        ]
        return caption(pictures, statuses)


def rolling(
    chart: Any, *, post: Post, rows: int | None = None, clock: Clock = SYSTEM
) -> RollingChart:
    """A chart that moves with the live frames in it.

    Args:
        chart: any altair chart whose data are live frames: one, or several in layers,
            concatenations, facets, repeats and lookups. Other data in it stay as they are.
        post: the way onto the I/O loop.
        rows: how many rows a page may hold per frame; by default 5,000, or 2,000 where points
            or areas are drawn.
        clock: for pacing.

    Raises:
        UsageError: no live frame is in the chart.
        ValueError: altair can't compile the chart.
    """
    frames = frames_in(chart)
    if not frames:
        raise UsageError(
            "this chart has no live frame in it, so nothing can move. Give altair a live "
            "frame as data: alt.Chart(live)."
        )
    return RollingChart(chart, frames, post=post, rows=rows, clock=clock)


def _addressed(
    feed: Feed, fresh: Sequence[str], *, others: bool
) -> list[tuple[Delta, Content]]:
    """What goes to whom: the difference to pages that follow, everything to new ones."""
    delta = feed.window.take()
    if delta.reset and (others or fresh):
        return [(delta, {})]
    found: list[tuple[Delta, Content]] = []
    if others and not delta.empty:
        found.append((delta, {"but": list(fresh)} if fresh else {}))
    if fresh:
        found.append((feed.window.shown(), {"to": list(fresh)}))
    return found
