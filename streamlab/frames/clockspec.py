"""FRAME: `sl.clock(…)`: what was asked for, made into a clock."""

from __future__ import annotations

import math
from typing import Any

from streamlab import positions
from streamlab.clocks import SYSTEM
from streamlab.errors import PositionError, UsageError
from streamlab.frames.pace import ReplayClock
from streamlab.records import AtTime


def clock(start: Any = None, speed: float = 1.0) -> ReplayClock:
    """A clock that replays the past, for one source or for several that shall stay in step.

    `topic.live(clock=day)` begins at the clock's start, and each record is handed over when the
    clock has come to its broker timestamp. Sources made in one cell begin together; one that
    comes later begins where the clock is. The clock waits for every source that reads by it,
    also for one that is paused.

    Args:
        start: the time it begins at: "2026-11-20 15:30 Europe/Berlin", "yesterday 14:00Z", an
            aware datetime, or a span back ("15m"). None: that of the first record.
        speed: how many times faster than real time. 0 stands still: `clock.step("1s")` moves it
            by a span, `clock.step()` to the next record.

    Raises:
        PositionError, TimeZoneError: `start` is no time, or has no zone.
        UsageError: `speed` is no number from 0 up.
    """
    pace = paced(speed)
    if start is None:
        return ReplayClock(None, pace)
    position = positions.parse(start, what="start", clock=SYSTEM)
    if not isinstance(position, AtTime):
        raise PositionError(
            f"start={start!r}: a clock begins at a time: "
            'start="2026-11-22 14:00 Europe/Berlin", or none: at the first record.'
        )
    return ReplayClock(position.ms, pace)


def paced(speed: object) -> float:
    """A speed as the user wrote it.

    Raises:
        UsageError: it is no number from 0 up.
    """
    number = isinstance(speed, (int, float)) and not isinstance(speed, bool)
    if number and math.isfinite(speed) and speed >= 0:  # type: ignore[arg-type,operator]  # a number
        return float(speed)  # type: ignore[arg-type]  # a number
    raise UsageError(
        f"speed={speed!r}: a number, as 10 for ten times as fast, or 0 to step by hand."
    )
