"""What a view may ask of a live frame. Views know this page, not the frame itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import polars as pl

from streamlab.changes import Change

State = Literal[
    "waiting",
    "live",
    "catching up",
    "replay",
    "paused",
    "reconnecting",
    "ended",
    "stopped",
    "failed",
]


@dataclass(frozen=True, slots=True)
class Status:
    """One frame at one moment, in numbers; `views/status.py` puts it into words.

    Attributes:
        state: what the source is doing.
        detail: the rest of the state's words ("no record yet; newest is 2 h old").
        rate: records per second over the last seconds.
        lag_s: age of the newest record at its arrival, in seconds; None before the first.
        kept_rows, keep_rows: rows held, and the limit if one was given.
        kept_bytes, budget_bytes: bytes really held by the source and all derived from it.
        late, rejected: counted since the frame began.
        version: of the frame.
        notes: further remarks, each a short clause ("keeps 300 rows", "p7 idle").
        stale: the text shown when the frame reads from a replaced parent, else "".
        basis: what running totals are over ("since 09:30:00 (1 204 records)"), else "".
    """

    state: State
    detail: str
    rate: float
    lag_s: float | None
    kept_rows: int
    keep_rows: int | None
    kept_bytes: int
    budget_bytes: int
    late: int
    rejected: int
    version: int
    notes: tuple[str, ...] = ()
    stale: str = ""
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a frame failed, as the error display shows it (secrets already redacted).

    Attributes:
        when_ms: wall time, ms since 1970.
        error: class and message of what went wrong.
        step: the step of the plan, in the user's words, or "".
        record: where the record stands, or "".
        payload: its first 200 characters, or "".
        hint: what to type, or "".
        good: how many records before it are good.
    """

    when_ms: int
    error: str
    step: str = ""
    record: str = ""
    payload: str = ""
    hint: str = ""
    good: int = 0


class Snapshot(NamedTuple):
    """A frame at one version; `df` is without hidden columns and immutable."""

    df: pl.DataFrame
    version: int


class Observed(Protocol):
    """A live frame, as views see it. Every method may be called from any thread."""

    @property
    def name(self) -> str:
        """What the user calls it ("vwap"), or what it is ("trades")."""
        ...

    @property
    def steps(self) -> str:
        """Its plan in a few words ("trades → filter → window 10s by symbol")."""
        ...

    @property
    def schema(self) -> pl.Schema | None:
        """Column → type, without hidden columns; None before the first record told it."""
        ...

    @property
    def key(self) -> tuple[str, ...]:
        """Key columns; () for an append frame."""
        ...

    @property
    def time_column(self) -> str | None:
        """The column that event time is in ("time", "window_start"), if it is shown."""
        ...

    def snapshot(self) -> Snapshot:
        """All rows as they stand (an append frame in order of arrival; a keyed one by key)."""
        ...

    def status(self) -> Status:
        """Its state in numbers."""
        ...

    def failure(self) -> Failure | None:
        """Why it failed, or None."""
        ...

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` with every change from now on; returns the way to stop it.

        It is called on the worker thread and must return at once. Changes hold no hidden
        columns. Also called with an empty change when only the status has changed.
        """
        ...

    def stop_source(self) -> None:
        """Stop the source this frame hangs on; returns at once."""
        ...

    def siblings(self) -> int:
        """How many frames hang on that source, this one included."""
        ...
