"""The small line under a chart: what is on show, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from streamlab.changes import CLOSED
from streamlab.observed import Status
from streamlab.views import words
from streamlab.views.status import state_words
from streamlab.views.thinning import Plan


class Picture(NamedTuple):
    """One frame as a chart shows it.

    Attributes:
        rows: those in the page.
        kept: how many the frame keeps.
        thinned: how they were chosen; "" if all are shown.
        plan: of the picture.
        time: the frame's time column, or None.
        revised: rows may still change.
    """

    rows: pl.DataFrame
    kept: int
    thinned: str
    plan: Plan
    time: str | None
    revised: bool


def caption(pictures: Sequence[Picture], statuses: Sequence[Status]) -> str:
    """The caption of a chart over these frames.

    Args:
        pictures: one per frame.
        statuses: of the same frames; only what is out of the ordinary is told.
    """
    parts = [*_troubles(statuses)]
    parts += _span(pictures)
    parts.append(_rows(pictures))
    parts += _revised(pictures, statuses)
    parts.append(_not_drawn(pictures))
    return " · ".join(part for part in parts if part)


def _revised(pictures: Sequence[Picture], statuses: Sequence[Status]) -> list[str]:
    """What still changes: open windows, or totals of all records there have been."""
    pairs = zip(pictures, statuses, strict=True)
    changing = [
        status for picture, status in pairs if picture.revised and _open(picture)
    ]
    said = [status.basis or "open windows still change" for status in changing]
    return list(dict.fromkeys(said))


def _troubles(statuses: Sequence[Status]) -> list[str]:
    stale = [f"⚠ {status.stale}" for status in statuses if status.stale]
    states = [
        state_words(status)
        for status in statuses
        if status.state not in ("live", "waiting")
    ]
    return list(dict.fromkeys(stale + states))


def _span(pictures: Sequence[Picture]) -> list[str]:
    """The newest time on show, and how far the picture reaches back from it."""
    lows, highs = [], []
    for picture in pictures:
        if not picture.time or picture.time not in picture.rows.columns:
            continue
        times = picture.rows[picture.time]
        if times.dtype.is_temporal() and times.count():
            ms = times.cast(pl.Datetime("ms")).to_physical()
            low, high = ms.min(), ms.max()
            if isinstance(low, int) and isinstance(high, int):
                lows.append(low)
                highs.append(high)
    if not highs:
        return []
    newest, seconds = max(highs), (max(highs) - min(lows)) / 1000
    return [words.clock_time(newest), f"last {words.age(seconds)}" if seconds else ""]


def _rows(pictures: Sequence[Picture]) -> str:
    shown = sum(picture.rows.height for picture in pictures)
    kept = sum(max(picture.kept, picture.rows.height) for picture in pictures)
    how = {picture.thinned for picture in pictures} - {""}
    if not how:
        return f"{words.number(shown)} rows"
    if how == {"newest"}:
        return f"newest {_short(shown)} of {_short(kept)} rows"
    if how == {"sample"}:
        return f"{max(1, round(100 * shown / kept))} % of points, sampled"
    kind = " (min/max per pixel kept)" if how == {"extremes"} else ""
    return f"showing {_short(shown)} of {_short(kept)} rows{kind}"


def _short(rows: int) -> str:
    if rows < 1_000:
        return str(rows)
    return f"{rows / 1e3:.3g} k" if rows < 999_500 else f"{rows / 1e6:.3g} M"


def _open(picture: Picture) -> bool:
    """Whether a window on show is open; without the column, they may all be."""
    if CLOSED not in picture.rows.columns:
        return bool(picture.rows.height)
    return not picture.rows[CLOSED].all()


def _not_drawn(pictures: Sequence[Picture]) -> str:
    nulls = nans = infinite = 0
    for picture in pictures:
        if picture.thinned:
            continue
        for name in picture.plan.axes:
            if name in picture.rows.columns:
                column = picture.rows[name]
                nulls += column.null_count()
                if column.dtype.is_float():
                    nans += int(column.is_nan().sum())
                    infinite += int(column.is_infinite().sum())
    said = [
        f"{words.number(nulls)} null{'s' * (nulls > 1)}" if nulls else "",
        f"{words.number(nans)} NaN" if nans else "",
        f"{words.number(infinite)} infinite" if infinite else "",
    ]
    told = " and ".join(part for part in said if part)
    return f"{told} not drawn" if told else ""
