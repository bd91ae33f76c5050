"""Why a frame failed, as its table shows it and as text."""

from __future__ import annotations

from streamlab.observed import Failure
from streamlab.views import words


def failure_text(name: str, failure: Failure) -> str:
    """The error display: what failed and when, the error, the record, what to type."""
    good = f"{words.number(failure.good)} records before it are good"
    lines = [
        f"✖ {name} failed at {words.clock_time(failure.when_ms)} UTC and stopped; {good}.",
        f"  {failure.error}" + (f"          {failure.step}" if failure.step else ""),
    ]
    for label, text in (
        ("record", failure.record),
        ("payload", failure.payload),
        ("try", failure.hint),
    ):
        if text:
            lines.append(f"  {label:<8} {text}")
    return "\n".join(lines)
