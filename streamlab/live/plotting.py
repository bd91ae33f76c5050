"""Pictures of live frames: `live.plot`, `sl.chart`, the live table, `sl.streams()`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt

from streamlab.errors import ColumnNotFoundError, UsageError
from streamlab.live.cells import CELLS, Replaceable
from streamlab.observed import Observed
from streamlab.plans import nodes
from streamlab.runtime import kernel
from streamlab.runtime.loop import io
from streamlab.views.chart import RollingChart, rolling
from streamlab.views.spec import frames_in
from streamlab.views.table import LiveTable

WIDTH, HEIGHT = 640, 300


class Poster:
    """The views' way onto the I/O thread."""

    def __init__(self) -> None:
        """Begin to watch whether a cell runs."""
        self._busy = kernel.Busy()

    def post(self, call: Callable[[], object], delay: float = 0.0) -> None:
        io().post(call, delay)

    def busy(self) -> bool:
        return self._busy()

    def adopt(self, widget: object) -> None:
        kernel.adopt(widget)


class Shown:
    """A widget on show, as something that a later run of its cell replaces."""

    def __init__(self, widget: Any, frames: Sequence[Any], name: str) -> None:
        """`frames` are what it can't go on without."""
        self.widget = widget
        self._frames = frames
        self.name = name

    def needs(self) -> Sequence[Replaceable]:
        return self._frames

    def retire(self) -> None:
        io().post(self.widget.close)


_poster: list[Poster] = []  # made with the first view, inside a cell


def poster() -> Poster:
    """The process's way for views onto the I/O thread."""
    if not _poster:
        _poster.append(Poster())
    return _poster[0]


_POSITIONS = ("line", "point")


def _without_zero(y: Any) -> Any:
    """The channel with a scale that follows the data; a channel object stays as it is."""
    return alt.Y(y).scale(zero=False) if isinstance(y, str) else y


def moving(chart: alt.TopLevelMixin) -> RollingChart:
    """An altair chart whose data are live frames, as a widget that moves by itself.

    Args:
        chart: any altair chart: layers, concatenations, facets, selections included.

    Raises:
        UsageError: none of its data is a live frame.
    """
    frames = frames_in(chart)
    if not frames:
        raise UsageError(
            "this chart has no live frame among its data: alt.Chart(live).mark_line()…"
        )
    widget = rolling(chart, post=poster())
    CELLS.made(Shown(widget, frames, "chart"))
    return widget


def table(frame: Observed) -> LiveTable:
    """The live table of a frame."""
    widget = LiveTable(frame, post=poster())
    CELLS.made(Shown(widget, [frame], "table"))
    return widget


def table_bundle(frame: Observed) -> Any:
    """What a live frame shows as a cell's result: its table; plain text outside a kernel."""
    if kernel.kernel() is None:
        return {"text/plain": f"{frame!r}\n{frame.snapshot().df!r}"}, {}
    return table(frame)._repr_mimebundle_()


class Plot:
    """Moving charts of one live frame; `x` is event time unless told otherwise."""

    def __init__(self, frame: Any) -> None:
        """Charts of `frame`."""
        self._frame = frame

    def line(
        self, y: str, x: str | None = None, color: str | None = None, **more: Any
    ) -> RollingChart:
        """A line per value of `color`.

        Args:
            y: column or altair shorthand ("price", "mean(price)").
            x: likewise; event time if left out.
            color: likewise; one line if left out.
            more: further altair encodings (`strokeDash=…`), `title=`, `width=`, `height=`.
        """
        return self._draw(alt.Chart(self._frame).mark_line(), y, x, color, more)

    def bar(
        self, y: str, x: str | None = None, color: str | None = None, **more: Any
    ) -> RollingChart:
        """Bars; the arguments are `line`'s."""
        return self._draw(alt.Chart(self._frame).mark_bar(), y, x, color, more)

    def scatter(
        self, y: str, x: str | None = None, color: str | None = None, **more: Any
    ) -> RollingChart:
        """Points; the arguments are `line`'s."""
        return self._draw(alt.Chart(self._frame).mark_point(), y, x, color, more)

    def lateness(self, lateness: Any = None, **more: Any) -> RollingChart:
        """When each row came (its broker timestamp) over when it happened, and the watermark.

        A row left of the line was earlier than the watermark as it came. Of a frame with
        windows, or in order, the line is drawn with that frame's lateness, and the rows marked
        late are those in `.late`; a late row left of the line by less than a window's length
        may still have found its window open.

        Args:
            lateness: how far a row may trail the newest of its partition, to see which would be
                late: "2s". None draws the watermark without any.
            more: `title=`, `width=`, `height=`.
        """
        from streamlab.live.lateness import trails
        from streamlab.live.trailing import lateness_chart

        made = trails(self._frame, lateness)
        size = {"width": WIDTH, "height": HEIGHT, **more}
        return moving(lateness_chart(made).properties(**size))

    def _draw(
        self, chart: alt.Chart, y: Any, x: str | None, color: str | None, more: Any
    ) -> RollingChart:
        channels = {
            "y": y,
            "x": x or self._time(),
            **({"color": color} if color else {}),
        }
        self._check(channels)
        if chart.mark in _POSITIONS:
            # A curve of prices is about their changes; only bars are measured from zero.
            channels["y"] = _without_zero(y)
        size = {
            "width": more.pop("width", WIDTH),
            "height": more.pop("height", HEIGHT),
            "title": more.pop("title", ""),
        }
        return moving(chart.encode(**channels, **more).properties(**size))

    def _time(self) -> str:
        found = self._frame.time_column
        if found is None:
            columns = ", ".join(self._frame.columns) or "unknown yet"
            raise UsageError(
                "which column is x? This frame shows no event time; its columns are "
                f'{columns}: .plot.line(x="…", y="…").'
            )
        return str(found)

    def _check(self, channels: dict[str, Any]) -> None:
        """A plain column name that is not there is said now, not by an empty picture."""
        schema = self._frame.schema
        for name in channels.values():
            plain = str(name).rpartition(":")[0] or str(name)
            if schema is not None and plain.isidentifier() and plain not in schema:
                where = nodes.where(self._frame.plan)
                raise ColumnNotFoundError.among(plain, where, schema)
