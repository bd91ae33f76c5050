"""A function as a sink."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from streamlab.changes import Change
from streamlab.errors import UsageError


def writer(fn: Callable[[Any], object], *, keyed: bool) -> Callable[[Change], None]:
    """What hands a change to `fn`: its rows, or of a keyed frame the change itself.

    Raises:
        UsageError: it is no function, or one that would have to be awaited.
    """
    if not callable(fn):
        raise UsageError(
            f"to({fn!r}): a sink is a function that takes the new rows: "
            "live.to(lambda rows: rows.write_parquet(…))."
        )
    if inspect.iscoroutinefunction(fn):
        raise UsageError(
            f"to({name_of(fn)}): a sink is a plain function, for it has a thread of its own and "
            "may block. Async code takes batches with: async for batch in live."
        )

    def write(change: Change) -> None:
        fn(change if keyed else change.added)

    return write


def name_of(fn: Callable[[Any], object]) -> str:
    """What a function is called in a status line."""
    return getattr(fn, "__name__", type(fn).__name__)
