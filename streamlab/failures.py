"""Why a frame failed, put so that a person can act on it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import polars as pl

from streamlab.changes import PART, SEQ, STAMP, shown
from streamlab.engine.faults import PlanError
from streamlab.observed import Failure
from streamlab.plans.nodes import label

PAYLOAD_SHOWN = 200
_SECRET = re.compile(r"(://[^:/@\s]*:)[^@\s]+@")


def describe(
    error: BaseException,
    *,
    step: str,
    now_ms: int,
    good: int,
) -> Failure:
    """The display of `error`.

    Args:
        error: what went wrong.
        step: the plan's step, or the source's name.
        now_ms: wall time, ms since 1970.
        good: how many records before it are good.
    """
    text = f"{type(error).__name__}: {error}"
    where = payload = ""
    if isinstance(error, PlanError):
        text, step = str(error), label(error.step)
        if error.record is not None:
            where, payload = (
                _place(error.record),
                _short(shown(error.record).row(0, named=True)),
            )
    return Failure(
        when_ms=now_ms,
        error=redacted(text),
        step=step,
        record=where,
        payload=payload,
        hint=_hint(text),
        good=good,
    )


def redacted(text: str) -> str:
    """`text` without the passwords of URLs in it."""
    return _SECRET.sub(r"\1***@", text)


def _place(record: pl.DataFrame) -> str:
    """Where the broker has the record: partition, offset, time."""
    part, stamp, sequence = record.select(PART, STAMP, SEQ).row(0)
    time = datetime.fromtimestamp(stamp / 1000, UTC).isoformat(" ", "milliseconds")
    return f"p{part} @ {sequence}, {time}"


def _short(record: dict[str, Any]) -> str:
    shown = ", ".join(f"{name}={value!r}" for name, value in record.items())
    return shown if len(shown) <= PAYLOAD_SHOWN else shown[: PAYLOAD_SHOWN - 1] + "…"


def _hint(text: str) -> str:
    """What to type, for the errors that people meet most."""
    if "conversion from" in text or "cannot divide" in text or "arithmetic" in text:
        return 'pl.col("…").cast(pl.Float64, strict=False)'
    return ""
