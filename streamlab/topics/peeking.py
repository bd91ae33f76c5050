"""The newest records of a topic, with their metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamlab.errors import UsageError
from streamlab.records import META, OFFSET, PARTITION, TIMESTAMP
from streamlab.topics.desk import Desk, Reading

MOST_BYTES = 2 * 10**9
WITH = (PARTITION, OFFSET, TIMESTAMP)


async def peek(desk: Desk, n: Any) -> Reading:
    """The newest `n` records, oldest first, with partition, offset and timestamp."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise UsageError(f"peek({n!r}): a positive number of records.")
    meta = (*WITH, *(m for m in desk.meta if m not in WITH))
    found = await desk.read(
        -n, "latest", max_rows=None, max_bytes=MOST_BYTES, timeout=None, meta=meta
    )
    if TIMESTAMP not in found.rows.columns:
        return found  # an empty topic of which nothing is known
    # More may have come between the two positions; the newest `n` are asked for.
    rows = found.rows.sort(TIMESTAMP, maintain_order=True).tail(n)
    columns = [*meta, *(name for name in rows.columns if name not in meta)]
    return Reading(rows.select(columns), found.errors)


def wanted(meta: bool | Iterable[str]) -> tuple[str, ...]:  # noqa: FBT001 - the user's own
    """The metadata columns that a user's `meta=` names."""
    if isinstance(meta, bool):
        return META if meta else ()
    listed = tuple(meta)
    for name in listed:
        if name not in META:
            raise UsageError(
                f"meta={list(listed)!r}: {name!r} is no metadata column. "
                f"There are: {', '.join(META)}."
            )
    return listed
