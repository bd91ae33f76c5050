"""The chart of lateness: arrival over event time, and the watermark."""

from __future__ import annotations

from typing import Any

import altair as alt

from streamlab.live.lateness import Trails

IN_TIME, LATE = "in time", "late"
_BLUE, _RED, _BLACK = "#7a9cc6", "#d62728", "#333333"


def lateness_chart(trails: Trails) -> Any:
    """The chart, not moving yet."""
    said = f" (lateness {trails.lateness})" if trails.lateness else ""
    line = f"watermark{said}"
    names = [IN_TIME, LATE, line]
    colors = alt.Scale(domain=names, range=[_BLUE, _RED, _BLACK])
    # Colour is never the only sign.
    shapes = alt.Scale(domain=names, range=["circle", "cross", "stroke"])
    layers = [_points(trails.rows, colors, shapes)]
    if trails.late is not None:
        layers.append(_points(trails.late, colors, shapes))
    layers.append(
        alt.Chart(trails.line)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("watermark:T", title="event time"),
            y=alt.Y("seen:T", title="arrived at the broker"),
            color=alt.datum(line),
        )
    )
    return alt.layer(*layers)


def _points(frame: Any, colors: Any, shapes: Any) -> Any:
    legend = alt.Legend(orient="top")
    return (
        alt.Chart(frame)
        .mark_point(size=30, filled=False)
        .encode(
            x=alt.X("event_time:T", title="event time"),
            y=alt.Y("arrived:T", title="arrived at the broker"),
            color=alt.Color("row:N", scale=colors, title=None, legend=legend),
            shape=alt.Shape("row:N", scale=shapes, title=None, legend=legend),
            tooltip=["event_time:T", "arrived:T", "partition:Q", "row:N"],
        )
    )
