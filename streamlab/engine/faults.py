"""Why a plan failed on a batch: the step, and the first record at fault."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from streamlab.errors import StreamlabError
from streamlab.plans.nodes import Node, label


class PlanError(StreamlabError):
    """A step of a plan failed on a record.

    Attributes:
        step: the node that failed.
        record: the source's row at fault (shown and hidden columns), or None if no single
            record could be found.
        index: its place in the batch, or None.
    """

    def __init__(
        self,
        cause: BaseException,
        step: Node,
        record: pl.DataFrame | None = None,
        index: int | None = None,
    ) -> None:
        """Take over the words of `cause`, which becomes `__cause__`."""
        words = str(cause).split("\n", 1)[0] or "no message"
        super().__init__(f"{type(cause).__name__}: {words} (in {label(step)})")
        self.step = step
        self.record = record
        self.index = index
        self.__cause__ = cause


def first_bad(height: int, attempt: Callable[[int], object]) -> int | None:
    """The index of the first row without which all is well; None if there is no such row.

    Args:
        height: rows of the block on which the attempt failed.
        attempt: tries the first so many rows; raises if they fail.
    """
    if failure(attempt, 0) is not None:
        return None  # it fails on no rows at all: not a record's fault
    good, bad = 0, height
    while bad - good > 1:
        middle = (good + bad) // 2
        if failure(attempt, middle) is None:
            good = middle
        else:
            bad = middle
    return bad - 1 if failure(attempt, bad) is not None else None


# What a user's expression or function may raise; polars' panics are no `Exception`.
FAILURES = (Exception, pl.exceptions.PanicException)


def failure(attempt: Callable[[int], object], rows: int) -> BaseException | None:
    """What the attempt raises, or None."""
    try:
        attempt(rows)
    except FAILURES as error:
        return error
    return None
