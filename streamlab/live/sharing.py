"""FRAME: what a live frame that reads for a group may do, and says of it."""

from __future__ import annotations

from typing import Any

from streamlab.errors import ModeError
from streamlab.frames.feed import Feed
from streamlab.plans import nodes


def refuse_window(frame: Any, *, lateness: Any) -> None:
    """Refuse a window that could not be committed for.

    Raises:
        ModeError: the group shares the topic, the window would never let go of a record, or it
            hangs on another window.
    """
    sharing = frame._feed.spec.sharing  # noqa: SLF001 - one noun in several modules
    if sharing is None:
        return
    if sharing.mode == "load-balanced":
        raise ModeError(
            f"window: group {sharing.group!r} shares the topic, so this member sees a part of "
            "each window, and partitions come and go. Share row-wise work and window what "
            'comes out of it; or read it alone: live(group=…, mode="resumable").'
        )
    if lateness is None:
        raise ModeError(
            f"window: without lateness a window is never over, so group {sharing.group!r} could "
            'never commit a record. Say how late rows may come: window(…, lateness="5s").'
        )
    steps = nodes.chain(frame.plan)
    above = next((each for each in steps if isinstance(each, nodes.Stateful)), None)
    if above is not None:
        what = (
            "another window" if isinstance(above, nodes.Window) else nodes.label(above)
        )
        raise ModeError(
            f"window: {frame.name} hangs on {what}, and group {sharing.group!r} could "
            "not rebuild both after a crash. Write what comes out of it to a topic and window "
            "that one, or read without a group."
        )


def refuse_stateful(frame: Any, verb: str) -> None:
    """Refuse a step with state that could not be rebuilt after a crash.

    Raises:
        ModeError: the group shares the topic, or the step hangs on another one with state.
    """
    sharing = frame._feed.spec.sharing  # noqa: SLF001 - one noun in several modules
    if sharing is None:
        return
    if sharing.mode == "load-balanced":
        raise ModeError(
            f"{verb}: group {sharing.group!r} shares the topic, so this member sees a part of "
            "the rows, and partitions come and go. Share row-wise work and do this with what "
            'comes out of it; or read the topic alone: live(group=…, mode="resumable").'
        )
    steps = nodes.chain(frame.plan)
    above = next((each for each in steps if isinstance(each, nodes.Stateful)), None)
    if above is not None:
        raise ModeError(
            f"{verb}: {frame.name} hangs on {nodes.label(above)}, and group {sharing.group!r} "
            "could not rebuild both after a crash. Write what comes out to a topic and go on "
            "from that one, or read without a group."
        )


def refuse_forever(frame: Any, verb: str, what: str) -> None:
    """Refuse a step that never lets go of a record.

    Raises:
        ModeError: the source commits for a group.
    """
    refuse_stateful(frame, verb)
    sharing = frame._feed.spec.sharing  # noqa: SLF001 - one noun in several modules
    if sharing is None:
        return
    ways = {
        "group_by": 'Per window: window("10s", by=…, lateness="5s").',
        "unique": 'Say how far apart two of a key may be: unique(…, within="10m").',
    }
    raise ModeError(
        f"{verb}: {what} needs all records there have been, so group {sharing.group!r} could "
        f"never commit one. {ways[verb]} Or read without a group."
    )


def refuse_outer(frame: Any, how: str) -> None:
    """Refuse a join that knows which rows of its table have ever found a match.

    Raises:
        ModeError: the frame reads for a group.
    """
    sharing = frame._feed.spec.sharing  # noqa: SLF001 - one noun in several modules
    if sharing is not None:
        plain = {"right": "inner", "full": "left"}[how]
        raise ModeError(
            f'join(…, how="{how}"): group {sharing.group!r} reads on where it had committed, and '
            "which rows of the table have found a match before is not known there. "
            f'how="{plain}" needs no memory; or read without a group.'
        )


def refuse_looking_back(frame: Any, call: str) -> None:
    """Refuse what remembers earlier rows for ever, where it could not be rebuilt.

    Raises:
        ModeError: the frame reads for a group.
    """
    sharing = frame._feed.spec.sharing  # noqa: SLF001 - one noun in several modules
    if sharing is not None:
        raise ModeError(
            f"{call} looks back, maybe as far as the first record, so group "
            f"{sharing.group!r} could not rebuild it where it had committed. Read without a "
            "group; or write the rows in order to a topic and look back over that one."
        )


def refuse_joining(frame: Any, verb: str) -> None:
    """Refuse to join or merge live frames where what waits could not be rebuilt.

    Raises:
        ModeError: the frame reads for a group.
    """
    sharing = frame._feed.spec.sharing  # noqa: SLF001 - one noun in several modules
    if sharing is not None:
        raise ModeError(
            f"{verb}: {frame.name} reads for group {sharing.group!r}, which could not rebuild "
            "both sides as they were after a crash. Read without a group: topic.live(start=…); "
            "or let the group write to a topic, and join that one."
        )


def group_words(feed: Feed) -> str:
    """The group that a source commits for; "" for none."""
    sharing = feed.spec.sharing
    if sharing is None:
        return ""
    return sharing.group + (", alone" if sharing.mode == "resumable" else "")


def notes(feed: Feed) -> tuple[str, ...]:
    """Clauses for the status line: the group, what came and went, what is in the way."""
    sharing = feed.spec.sharing
    found = []
    held = feed.pipeline.outlets.full
    if held and not feed.finished:
        found.append(f"held back by {', '.join(held)}")
    if sharing is not None:
        found += [sharing.note] if sharing.note else []
        found += [feed.fetch.news] if feed.fetch.news else []
        commits = feed.fetch.commits
        if commits is not None and commits.trouble:
            found.append(f"not committed: {commits.trouble}")
    return tuple(found)
