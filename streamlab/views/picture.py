"""A chart as a still picture, for notebooks that are read without a kernel."""

from __future__ import annotations

from typing import Any

import polars as pl

from streamlab.errors import MissingExtraError
from streamlab.views.encode import page_values
from streamlab.views.feed import new_window
from streamlab.views.spec import Compiled, Source, Spec


def still(compiled: Compiled) -> Spec:
    """The chart with the rows of now in it, thinned out as in a page."""
    rows = {source.name: _records(_rows_now(source)) for source in compiled.sources}
    spec = dict(compiled.spec)
    spec["datasets"] = {**spec.get("datasets", {}), **rows}
    return spec


def png(compiled: Compiled, scale: float) -> bytes:
    """The chart as it stands, as a PNG.

    Raises:
        MissingExtraError: `vl_convert` is not installed.
    """
    try:
        import vl_convert
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "a picture", library="vl-convert-python", extra="demo"
        ) from error
    return bytes(
        vl_convert.vegalite_to_png(
            still(compiled), vl_version=_version(vl_convert), scale=scale
        )
    )


def _version(vl_convert: Any) -> str:
    """The Vega-Lite that altair writes, or the newest there is."""
    import altair as alt

    wanted = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    known: list[str] = vl_convert.get_vegalite_versions()
    return wanted if wanted in known else known[-1]


def _rows_now(source: Source) -> pl.DataFrame:
    window = new_window(source)
    window.load(source.frame.snapshot().df)
    return window.take().rows


def _records(frame: pl.DataFrame) -> list[dict[str, Any]]:
    columns = {series.name: page_values(series) for series in frame}
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
