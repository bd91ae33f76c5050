"""`live.window(…)`: reading its arguments, and the builder that waits for `.agg(…)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import polars as pl

from streamlab.durations import UNIT_US, Span, fixed_span, span
from streamlab.errors import ColumnNotFoundError, SpanError, TimeZoneError, UsageError
from streamlab.live.waiting import grouped
from streamlab.plans import nodes
from streamlab.plans.exprs import check_aggregation, parse

F = TypeVar("F")


MOST_WINDOWS = 10_000  # that a record may fall into


def window_spec(
    frame: Any,
    *,
    every: Any,
    gap: Any,
    by: str | Iterable[str] | None,
    on: str | None,
    period: Any,
    offset: Any,
    time_zone: str,
    lateness: Any,
    max_ahead: Any,
) -> nodes.Window:
    """A window without aggregates yet; the arguments are `LiveFrame.window`'s."""
    _check_kind(every=every, gap=gap, period=period, offset=offset)
    columns = frame.schema
    keys = (by,) if isinstance(by, str) else tuple(by or ())
    for name in (*keys, *((on,) if on else ())):
        if columns is not None and name not in columns:
            raise ColumnNotFoundError.among(name, nodes.where(frame.plan), columns)
    whole = _on_integer(columns, on)
    what, given = ("gap", gap) if gap is not None else ("every", every)
    length = _length(given, what, whole=whole)
    if gap is not None and isinstance(length, Span) and length.months:
        length = fixed_span(gap, "gap")  # says why months are none
    window = nodes.Window(
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
        period=None if period is None else _period(period, length, whole=whole),
        session=gap is not None,
    )
    _check_count(window, every, period)
    return window


def _check_kind(*, every: Any, gap: Any, period: Any, offset: Any) -> None:
    """One kind of window, with what belongs to it."""
    if every is None and gap is None:
        if period is not None:
            raise UsageError(
                f"period={period!r}: and a window begins how often? "
                f"Write window(every, period={period!r}); windows that do not overlap: "
                f"window({period!r})."
            )
        raise UsageError(
            'window() of what length? Write window("10s"), or window(gap="30s") for sessions.'
        )
    if gap is None:
        return
    if every is not None:
        raise UsageError(
            f"every={every!r} and gap={gap!r}: windows begin by the clock or by the rows, not "
            f"both. Write window({every!r}) or window(gap={gap!r})."
        )
    for name, value in (("period", period), ("offset", offset)):
        if value is not None:
            raise UsageError(
                f"{name}={value!r} with gap={gap!r}: a session begins with its first row and "
                f"lasts as long as rows come. Leave {name} out."
            )


def _on_integer(columns: pl.Schema | None, on: str | None) -> bool:
    return on is not None and columns is not None and columns[on].is_integer()


def _length(value: Any, what: str, *, whole: bool) -> Span | int:
    if whole:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise SpanError(
            f"{what}={value!r}: on= is an integer column, so {what} is a positive integer."
        )
    length = span(value, what)
    if length == Span(0, 0):
        thing = "a session's gap" if what == "gap" else "a window"
        raise SpanError(f"{what}={value!r}: {thing} can't be empty.")
    return length


def _period(value: Any, every: Span | int, *, whole: bool) -> Span | int | None:
    """None where windows follow each other anyway."""
    period = _length(value, "period", whole=whole)
    return None if period == every else period


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


def _check_count(window: nodes.Window, every: Any, period: Any) -> None:
    if window.period is None:
        return
    count = windows_of_a_record(window)
    if count.most > MOST_WINDOWS:
        raise UsageError(
            f"window({every!r}, period={period!r}): a record would fall into "
            f"{grouped(count.most)} windows, and each of them changes with it; at most "
            f"{grouped(MOST_WINDOWS)} can be kept up. Let them begin less often."
        )


class Count(NamedTuple):
    """Into how many windows a record falls.

    Attributes:
        least, most: of them.
        about: whether the calendar makes it a few more or less.
    """

    least: int
    most: int
    about: bool = False

    def __str__(self) -> str:
        if self.about:
            return f"about {grouped(self.most)} windows"
        if self.most == 1:
            return "1 window" if self.least else "1 window or none"
        if self.least == self.most:
            return f"{grouped(self.most)} windows"
        return f"{grouped(self.least)} or {grouped(self.most)} windows"


def windows_of_a_record(window: nodes.Window) -> Count:
    """Into how many windows a record falls, going by their lengths."""
    every, period = window.every, window.period
    if period is None:
        return Count(1, 1)
    months = _months(every) or _months(period)
    low, rest = divmod(_units(period), _units(every))
    if months and _months(every) and _months(period):
        low, rest = divmod(_months(period), _months(every))
    elif months:
        return Count(low, max(1, low), about=low > 0)
    return Count(low, low + (rest > 0))


def call_of(window: nodes.Window) -> str:
    """How the window is asked for, as far as its kind goes."""

    def text(value: Span | int) -> str:
        return str(value) if isinstance(value, int) else f'"{value.text}"'

    if window.session:
        return f"window(gap={text(window.every)}"
    if window.period is None:
        return f"window({text(window.every)}"
    return f"window({text(window.every)}, period={text(window.period)}"


def _months(length: Span | int) -> int:
    return 0 if isinstance(length, int) else length.months


def _units(length: Span | int) -> int:
    """µs, or the integers of an integer column; a month has 30 days."""
    if isinstance(length, int):
        return length
    return length.months * 30 * UNIT_US["d"] + length.us


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
        return self._make(replace(self._window, aggs=exprs))

    def __repr__(self) -> str:
        return f"a {nodes.label(self._window)} without aggregates; add .agg(n=pl.len())"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self!r}")
