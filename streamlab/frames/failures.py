"""Why a frame failed, put so that a person can act on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl

from streamlab.changes import PART, SEQ, STAMP, shown
from streamlab.engine.faults import PlanError
from streamlab.errors import StateLimitError
from streamlab.observed import Failure
from streamlab.plans.combined import SOURCES_APART
from streamlab.plans.nodes import (
    GroupBy,
    InOrder,
    Join,
    Merge,
    Node,
    Recompute,
    Running,
    Unique,
    Window,
    label,
)

PAYLOAD_SHOWN = 200
_WAYS: dict[type, str] = {
    Recompute: "Let the query return fewer rows",
    Window: "Give the window a shorter lateness=, fewer keys in by=",
    GroupBy: "Take a shorter ttl=, fewer keys",
    Unique: "Take a shorter within=",
    InOrder: "Take a shorter lateness=",
    Join: "Take a shorter tolerance= and lateness=",
    Merge: "Take a shorter lateness= on both sides",
    Running: "Look back less far, over fewer keys",
}
_ENDLESS: dict[type, str] = {
    Window: 'Give the window a lateness="5s", so that it closes, fewer keys in by=',
    GroupBy: 'Let keys go that have no more rows: group_by(…, ttl="1h"); take fewer keys',
    Unique: 'Forget keys after a time: unique(…, within="10m")',
}
_SECRET = re.compile(r"(://[^:/@\s]*:)[^@\s]+@")


def describe(
    error: BaseException,
    *,
    step: str,
    now_ms: int,
    good: int,
    where: Callable[[int, int, int], str] | None = None,
) -> Failure:
    """The display of `error`.

    Args:
        error: what went wrong.
        step: the plan's step, or the source's name.
        now_ms: wall time, ms since 1970.
        good: how many records before it are good.
        where: a record's place for people, from its hidden columns.
    """
    text = f"{type(error).__name__}: {error}"
    place = payload = ""
    if isinstance(error, PlanError):
        text, step = str(error), label(error.step)
        if error.record is not None:
            place = _place(error.record, where)
            payload = _short(shown(error.record).row(0, named=True))
    return Failure(
        when_ms=now_ms,
        error=redacted(text),
        step=step,
        record=redacted(place),
        payload=redacted(payload),
        hint=_hint(text),
        good=good,
    )


def too_large(
    node: Node, count: int, limit: int, *, holds: str = "", every: int = 0
) -> StateLimitError:
    """The error of a frame whose state, or whose answer, is over the byte budget.

    Args:
        node: the step that holds most.
        count: bytes that it holds.
        limit: the budget.
        holds: what these are ("1,200 keys").
        every: bytes that all steps hold together, if one alone is not too much.
    """
    what = f"{label(node)} holds {_size(count)}"
    if not isinstance(node, Recompute):
        what += f" of state ({holds})" if holds else " of state"
    if every > count:
        what += f", all steps together {_size(every)}"
    return StateLimitError(
        f"{what}; the budget of its source and all on it is {_size(limit)}. "
        f'{_way_out(node)}, or give the source more room: live(keep="1GB").'
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _way_out(node: Node) -> str:
    """What lets a step hold less."""
    match node:
        case Window(lateness=None) | GroupBy(ttl=None) | Unique(within=None):
            ways = _ENDLESS
        case _:
            ways = _WAYS
    return ways.get(type(node), "Join a smaller table")


def redacted(text: str) -> str:
    """`text` without the passwords of URLs in it."""
    return _SECRET.sub(r"\1***@", text)


def _place(record: pl.DataFrame, where: Callable[[int, int, int], str] | None) -> str:
    """Where the broker has the record: partition, offset, time."""
    part, stamp, sequence = record.select(PART, STAMP, SEQ).row(0)
    own = where is not None and part < SOURCES_APART
    place = where(part, stamp, sequence) if where and own else f"@ {sequence}"
    time = datetime.fromtimestamp(stamp / 1000, UTC).isoformat(" ", "milliseconds")
    return f"{place}, {time}"


def _short(record: dict[str, Any]) -> str:
    text = json.dumps(record, default=str, ensure_ascii=False)
    return text if len(text) <= PAYLOAD_SHOWN else text[: PAYLOAD_SHOWN - 1] + "…"


def _hint(text: str) -> str:
    """What to type, for the errors that people meet most."""
    if "conversion from" in text or "cannot divide" in text or "arithmetic" in text:
        return 'pl.col("…").cast(pl.Float64, strict=False)'
    return ""
