"""`live.window(…)`: reading its arguments, and the builder that waits for `.agg(…)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

import polars as pl

from streamlab.durations import Span, fixed_span, span
from streamlab.errors import ColumnNotFoundError, SpanError, TimeZoneError, UsageError
from streamlab.plans import nodes
from streamlab.plans.exprs import check_aggregation, parse

F = TypeVar("F")


def window_spec(
    frame: Any,
    *,
    every: Any,
    by: str | Iterable[str] | None,
    on: str | None,
    offset: Any,
    time_zone: str,
    lateness: Any,
    max_ahead: Any,
) -> nodes.Window:
    """A window without aggregates yet; the arguments are `LiveFrame.window`'s."""
    if every is None:
        raise UsageError('window() of what length? Write window("10s").')
    columns = frame.schema
    keys = (by,) if isinstance(by, str) else tuple(by or ())
    for name in (*keys, *((on,) if on else ())):
        if columns is not None and name not in columns:
            raise ColumnNotFoundError.among(name, nodes.where(frame.plan), columns)
    whole = _on_integer(columns, on)
    length = _length(every, whole=whole)
    return nodes.Window(
        parent=frame.plan,
        every=length,
        by=keys,
        on=on,
        offset=_step(offset, "offset", length, default=0),
        time_zone=_zone(time_zone),
        lateness=None
        if lateness is None
        else _step(lateness, "lateness", length, default=0),
        max_ahead=fixed_span(max_ahead, "max_ahead"),
        aggs=(),
    )


def _on_integer(columns: pl.Schema | None, on: str | None) -> bool:
    return on is not None and columns is not None and columns[on].is_integer()


def _length(every: Any, *, whole: bool) -> Span | int:
    if whole:
        if isinstance(every, int) and not isinstance(every, bool) and every > 0:
            return every
        raise SpanError(
            f"every={every!r}: on= is an integer column, so every is a positive integer."
        )
    length = span(every, "every")
    if length == Span(0, 0):
        raise SpanError(f"every={every!r}: a window can't be empty.")
    return length


def _step(value: Any, what: str, length: Span | int, *, default: int) -> Span | int:
    """`offset` and `lateness` are of the kind that `every` is."""
    if isinstance(length, int):
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise SpanError(
            f"{what}={value!r}: with an integer every it is an integer too."
        )
    return Span(0, default) if value is None else fixed_span(value, what)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise TimeZoneError(
            f'time_zone={name!r} is no zone. Write one like "Europe/Berlin" or "UTC".'
        ) from None
    return name


class WindowBuilder(Generic[F]):
    """A window that waits for its aggregates."""

    def __init__(self, window: nodes.Window, make: Callable[[nodes.Window], F]) -> None:
        """`make` turns the finished window into a frame."""
        self._window = window
        self._make = make

    def agg(self, *aggs: Any, **named: Any) -> F:
        """One row per window and key, with these aggregates.

        Args:
            aggs: any polars aggregations: `pl.len()`, `pl.col("price").mean()`.
            named: the same, by the name of the column they make.

        Returns:
            A keyed frame: window_start, window_end, `by`…, the aggregates, `_closed`
            (no row can change it any more) and `_partial` (the stream was joined after
            the window had begun).
        """
        exprs = parse(aggs, named)
        if not exprs:
            raise UsageError(f"{self!r}")
        for expr in exprs:
            check_aggregation(expr, name=expr.meta.output_name())
        w = self._window
        return self._make(
            nodes.Window(
                w.parent,
                w.every,
                w.by,
                w.on,
                w.offset,
                w.time_zone,
                w.lateness,
                w.max_ahead,
                exprs,
            )
        )

    def __repr__(self) -> str:
        return f"a {nodes.label(self._window)} without aggregates; add .agg(n=pl.len())"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self!r}")
