"""A frame's status in words: one grammar wherever a status is shown."""

from __future__ import annotations

from typing import NamedTuple

from streamlab.observed import State, Status
from streamlab.views import words

SIGNS: dict[State, str] = {
    "waiting": "○",
    "live": "●",
    "catching up": "◔",
    "replay": "▶",
    "paused": "‖",
    "reconnecting": "↻",
    "ended": "■",
    "stopped": "■",
    "failed": "✖",
}
_JOINED: dict[State, str] = {
    "waiting": " ({})",
    "paused": ", {}",
    "failed": ": {} (the last good version stays on show)",
}
_QUIET: tuple[State, ...] = ("waiting", "ended", "stopped", "failed")


class Part(NamedTuple):
    """One piece of a status line.

    Attributes:
        role: "state", "stale", "rate", "lag", "kept", "late", "rejected", "version", "note".
        text: its words.
        loud: whether it deserves a look; colour is never the only sign.
    """

    role: str
    text: str
    loud: bool = False


def status_line(status: Status) -> str:
    """The status as one line: state, rate, lag, kept, late, rejected, notes."""
    return "   ".join(part.text for part in status_parts(status))


def status_parts(status: Status) -> list[Part]:
    """The pieces of the status line, in order."""
    parts = [Part("state", state_words(status), loud=status.state == "failed")]
    if status.stale:
        parts.insert(0, Part("stale", f"⚠ {status.stale}", loud=True))
    if status.state not in _QUIET:
        parts.append(Part("rate", f"{words.rate(status.rate)}/s"))
    if status.lag_s is not None and status.state not in _QUIET:
        parts.append(Part("lag", f"lag {words.age(status.lag_s)}"))
    return [
        *parts,
        Part("kept", _kept(status)),
        Part("late", f"late {words.number(status.late)}", loud=status.late > 0),
        Part(
            "rejected",
            f"rejected {words.number(status.rejected)}",
            loud=status.rejected > 0,
        ),
        Part("version", f"version {words.number(status.version)}"),
        *(Part("note", f"({note})") for note in status.notes),
    ]


def state_words(status: Status) -> str:
    """The state alone: sign, word and what belongs to it."""
    head = f"{SIGNS[status.state]} {status.state}"
    if not status.detail:
        return head
    return head + _JOINED.get(status.state, " {}").format(status.detail)


def _kept(status: Status) -> str:
    of = "" if status.keep_rows is None else f" of {words.number(status.keep_rows)}"
    held = words.share_of(status.kept_bytes, status.budget_bytes)
    return f"kept {words.number(status.kept_rows)}{of} rows, {held}"
