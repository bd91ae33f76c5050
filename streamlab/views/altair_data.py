"""What makes a live frame something altair accepts as data.

altair asks an object for `__narwhals_dataframe__`. Asked by plain altair, a frame answers with
its rows of now: a still picture. While a chart of ours is compiled it answers with an empty
frame of the same columns, by which altair infers the types and by which the frame is
recognised again in the compiled chart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeGuard

import polars as pl

from streamlab.observed import Observed, Snapshot

_stand_ins: ContextVar[Mapping[int, pl.DataFrame] | None] = ContextVar(
    "streamlab_stand_ins", default=None
)


class _Snapshots(Protocol):
    def snapshot(self) -> Snapshot: ...


class AltairData:
    """Inherited by live frames: `alt.Chart(live)` works, `chart.data` stays the frame."""

    def __narwhals_dataframe__(self: _Snapshots) -> Any:
        """The frame as narwhals' own kind of polars frame."""
        import narwhals.stable.v1 as nw

        # narwhals wants the object behind its public frame here; it has no public name.
        return nw.from_native(_data_of(self), eager_only=True)._compliant_frame  # noqa: SLF001

    def __arrow_c_stream__(
        self: _Snapshots, requested_schema: object | None = None
    ) -> object:
        """The rows of now as an Arrow stream."""
        return _data_of(self).__arrow_c_stream__(requested_schema)


def is_live(thing: object) -> TypeGuard[Observed]:
    """Whether `thing` is a live frame that altair was given."""
    return isinstance(thing, AltairData)


@contextmanager
def standing_in(stand_ins: Mapping[int, pl.DataFrame]) -> Iterator[None]:
    """Within the block, frames show altair the given ones instead of their rows.

    Args:
        stand_ins: `id` of a live frame → what it shows.
    """
    token = _stand_ins.set(stand_ins)
    try:
        yield
    finally:
        _stand_ins.reset(token)


def _data_of(frame: _Snapshots) -> pl.DataFrame:
    stand_ins = _stand_ins.get() or {}
    found = stand_ins.get(id(frame))
    return frame.snapshot().df if found is None else found
