"""What a reader's mode refuses, and the ways out."""

from __future__ import annotations

from typing import Literal

from streamlab.errors import ModeError

Mode = Literal["real-time", "resumable", "load-balanced"]


def needs_group(what: str) -> ModeError:
    """The error for `what` of a real-time reader."""
    return ModeError(
        f"{what}: this reader is real-time, no group keeps how far it got. "
        'With one: consumer(…, group="billing", mode="resumable"), or mode="load-balanced" '
        "to share the topic with others."
    )


def needs_own(what: str, group: str) -> ModeError:
    """The error for `what` of a reader that shares its topics."""
    return ModeError(
        f"{what}: this reader shares the group {group!r} (load-balanced), and the broker says "
        f'who reads what and from where. Alone in a group: mode="resumable". Without one: '
        "leave group= out, as in consumer(…, start=…)."
    )
