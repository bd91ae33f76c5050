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
from streamlab.plans.nodes import Node, Recompute, label

PAYLOAD_SHOWN = 200
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


def too_large(node: Node, count: int, limit: int) -> StateLimitError:
    """The error of a frame whose state, or whose answer, is over the byte budget."""
    what = f"{label(node)} holds {count / 1e6:.1f} MB"
    room = f"the budget of its source and all on it is {limit / 1e6:.1f} MB"
    if isinstance(node, Recompute):
        return StateLimitError(
            f"{what}; {room}. Let the query return fewer rows, or give the source more "
            'room: live(keep="1GB").'
        )
    return StateLimitError(
        f"{what} of state; {room}. Give the window a lateness=, fewer keys in by=, or the "
        'source more room: live(keep="1GB").'
    )


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
