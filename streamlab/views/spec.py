"""An altair chart over live frames, compiled: the frames become named data, filled later.

What the chart does with each frame is read off the compiled chart, since it decides how the
frame may be thinned out when it has more rows than a page can draw.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import altair as alt
import narwhals.stable.v1 as nw
import polars as pl

from streamlab.observed import Observed
from streamlab.views.altair_data import is_live, standing_in
from streamlab.views.thinning import Plan, plan_for

Spec = dict[str, Any]

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
# (setting, what altair's own theme says, what a live chart has unless its size is given)
SIZES = (("continuousWidth", 300, 640), ("continuousHeight", 300, 300))
_VIEWS = {"hconcat", "vconcat", "concat", "facet", "repeat"}
_CHILDREN = ("layer", "hconcat", "vconcat", "concat")
_ON_AN_AXIS = ("x", "y", "x2", "y2", "tooltip", "text")
_compiling = threading.Lock()  # altair's choice of data transformer is one per process


class Source(NamedTuple):
    """One live frame in a compiled chart.

    Attributes:
        name: of the data set in the page.
        frame: the live frame.
        columns: those the chart speaks of; None if that can't be told.
        plan: what to do when there are too many rows.
    """

    name: str
    frame: Observed
    columns: tuple[str, ...] | None
    plan: Plan


class Compiled(NamedTuple):
    """A chart as Vega-Lite, and where its live rows come from."""

    spec: Spec
    sources: tuple[Source, ...]


class Unit(NamedTuple):
    """One mark of a compiled chart with the data set it draws.

    Attributes:
        spec: the unit itself.
        data: name of its data set, or "" for static data.
        plain: neither it nor anything above it transforms the rows, or repeats over fields.
    """

    spec: Spec
    data: str
    plain: bool


def frames_in(chart: Any) -> list[Observed]:
    """The live frames a chart draws, each once, in the order they are met."""
    found: dict[int, Observed] = {}
    for thing in _things(chart):
        if is_live(thing):
            found.setdefault(id(thing), thing)
    return list(found.values())


def _things(node: Any) -> Iterator[Any]:
    if isinstance(node, alt.SchemaBase):
        yield from _things(list(node._kwds.values()))  # noqa: SLF001 - altair has no walker
    elif isinstance(node, dict):
        yield from _things(list(node.values()))
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _things(item)
    else:
        yield node


def compile_chart(
    chart: Any, frames: Sequence[Observed], rows: int | None
) -> Compiled | None:
    """The chart as Vega-Lite with a named data set for each frame.

    Args:
        chart: any altair chart.
        frames: the live frames in it.
        rows: how many rows a page may be given per frame; None for the usual.

    Returns:
        None if a type is missing that only a first record can tell.

    Raises:
        ValueError: altair's own, for a chart that it can't compile.
    """
    unknown = any(frame.schema is None for frame in frames)
    try:
        spec = _to_dict(chart, frames)
    except ValueError:
        if unknown:
            return None
        raise
    units = list(_units(spec))
    for at, frame in enumerate(frames):
        _show_utc(
            [unit.spec for unit in units if unit.data == f"live_{at}"], frame.schema
        )
    _set_defaults(spec)
    sources = [
        Source(name, frame, _columns(spec, frame), _plan(units, name, frame, rows))
        for name, frame in ((f"live_{at}", frame) for at, frame in enumerate(frames))
    ]
    return Compiled(spec, tuple(sources))


def _set_defaults(spec: Spec) -> None:
    config = spec.setdefault("config", {})
    config.setdefault("timeFormat", TIME_FORMAT)
    if _VIEWS & spec.keys():  # several pictures side by side keep altair's size
        return
    view = config.setdefault("view", {})
    for side, altairs, ours in SIZES:
        if view.get(side, altairs) == altairs:
            view[side] = ours


def _to_dict(chart: Any, frames: Sequence[Observed]) -> Spec:
    # altair hashes data by content, and two empty frames are alike: each stand-in is known by
    # being the same object, not by what it holds.
    empty = {id(frame): pl.DataFrame(schema=frame.schema or {}) for frame in frames}
    names: dict[int, str] = {}
    for at, frame in enumerate(frames):
        # A lookup hands over the frame itself, everything else what stands in for it.
        names[id(frame)] = names[id(empty[id(frame)])] = f"live_{at}"

    def name_live(data: Any) -> Any:
        name = names.get(id(data))
        if name is not None:
            return {"name": name}
        return alt.to_values(nw.from_native(data, eager_only=True, pass_through=True))

    with _compiling, standing_in(empty):
        alt.data_transformers.register("streamlab", name_live)
        with alt.data_transformers.enable("streamlab"):
            spec: Spec = chart.to_dict()
    return spec


def _units(spec: Spec, data: str = "", *, plain: bool = True) -> Iterator[Unit]:
    if "data" in spec:
        data = (spec["data"] or {}).get("name", "")
    plain = plain and not spec.get("transform") and "repeat" not in spec
    children = [child for key in _CHILDREN for child in spec.get(key, ())]
    if "spec" in spec:
        children.append(spec["spec"])
    for child in children:
        merged = dict(child)
        if "encoding" in spec:  # a layer's encoding is that of all its marks
            merged["encoding"] = {**spec["encoding"], **child.get("encoding", {})}
        yield from _units(merged, data, plain=plain)
    if "mark" in spec:
        yield Unit(spec, data, plain)


# Vega's own labels are of a clock with twelve hours: "12:01" for a minute past midnight.
CLOCK = {
    "milliseconds": ".%L",
    "seconds": ":%S",
    "minutes": "%H:%M",
    "hours": "%H:%M",
    "day": "%a %d",
    "date": "%a %d",
    "week": "%b %d",
    "month": "%B",
    "quarter": "%B",
    "year": "%Y",
}


def _show_utc(units: Sequence[Spec], schema: pl.Schema | None) -> None:
    """Let UTC times read as UTC: a page would show them in its own zone."""
    for channel, field in (pair for unit in units for pair in _time_fields(unit)):
        if not _is_utc(field, schema):
            continue
        scale = field.setdefault("scale", {})
        if isinstance(scale, dict):
            scale.setdefault("type", "utc")
        axis = field.setdefault("axis", {}) if channel in {"x", "y"} else None
        if isinstance(axis, dict) and not axis.keys() & {"labelExpr", "formatType"}:
            axis.setdefault("format", CLOCK)


def _time_fields(unit: Spec) -> Iterator[tuple[str, Spec]]:
    for channel in _ON_AN_AXIS:
        defs = unit.get("encoding", {}).get(channel)
        for field in defs if isinstance(defs, list) else [defs]:
            if isinstance(field, dict):
                yield channel, field


def _is_utc(field: Spec, schema: pl.Schema | None) -> bool:
    if field.get("type") != "temporal" or "timeUnit" in field:
        return False
    dtype = schema and schema.get(plain_name(field.get("field")))
    if isinstance(dtype, pl.Datetime):
        return dtype.time_zone in (None, "UTC")
    return dtype == pl.Date


def plain_name(field: object) -> str:
    """A column's own name, from a field as Vega-Lite writes it."""
    return field.replace("\\", "") if isinstance(field, str) else ""


def _columns(spec: Spec, frame: Observed) -> tuple[str, ...] | None:
    """The columns whose names occur anywhere in the chart: a field, or inside an expression."""
    if frame.schema is None or '"content": "data"' in (text := json.dumps(spec)):
        return None
    text = _bare(text)
    used = tuple(name for name in frame.schema if _bare(name) in text)
    return used or tuple(frame.schema)[:1]  # a chart that only counts rows needs rows


def _bare(text: str) -> str:
    return text.replace("\\", "").replace('"', "").replace("'", "")


def _plan(units: Sequence[Unit], name: str, frame: Observed, rows: int | None) -> Plan:
    mine = [unit for unit in units if unit.data == name]
    plain = bool(mine) and not frame.key and all(unit.plain for unit in mine)
    return plan_for([unit.spec for unit in mine], plain=plain, rows=rows)
