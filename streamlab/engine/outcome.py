"""What goes into the engine with each micro-batch, and what comes out."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from streamlab.changes import Change


class Batch(NamedTuple):
    """One micro-batch of a source.

    Attributes:
        rows: shown columns and `changes.HIDDEN`, in the order they were handed over.
        holding: numbers of the partitions that hold the watermark back: assigned and not idle.
            One that has had no record yet holds it at "none".
        final: a bounded input is at its end: every window closes.
        frontier: rows come in event-time order, and none earlier than this (µs) will follow;
            None if they come in any order.
        tombstones: of records without a value, in the order they were handed over: the key
            (`_key`), and how many of the rows came before (`__row`); None for none.
        known: what operators have found out about the rows, for others; None if there are none.
    """

    rows: pl.DataFrame
    holding: frozenset[int]
    final: bool = False
    frontier: int | None = None
    tombstones: pl.DataFrame | None = None
    known: dict[Any, Any] | None = None


class Counts(NamedTuple):
    """What happened to the records of one batch at one operator.

    `received = passed + filtered + rejected + late + expired`, each counted where it happens.
    A record that `explode` made several rows of counts once.

    Attributes:
        received: rows that came in.
        passed: rows that came out, or went into a window.
        filtered: rows that a filter held back, or of which `explode` left nothing.
        rejected: rows without an event time, or with one in the future.
        late: rows whose window was over.
        expired: rows that waited too long, or, at a window of a reading that goes on where an
            earlier one stopped, that belong to a window which that one had closed with them.
    """

    received: int = 0
    passed: int = 0
    filtered: int = 0
    rejected: int = 0
    late: int = 0
    expired: int = 0


class Outcome(NamedTuple):
    """What one micro-batch did to one frame.

    Attributes:
        change: rows added and removed. Append frames keep `changes.HIDDEN`; keyed ones have
            none, but always hold their key columns.
        counts: of the steps since the last window (the window's own for a window, its
            `closed` and its `late`).
        state_bytes: held by all operators the frame hangs on.
        error: why the frame failed, or None. The change then holds what was good before.
        rejected: rows the window refused, as they came, with `_reason`; None for other frames.
        evicted: rows of open windows, or keys, that were given up to stay within `max_open`.
        hidden_key: key columns that the user dropped: in the change, not for show.
        frontier: as of the batch that the rows come from (see there).
        final: nothing more will come.
        tombstones: records without a value that a compacted view took; of no count above.
    """

    change: Change
    counts: Counts
    state_bytes: int = 0
    error: Exception | None = None
    rejected: pl.DataFrame | None = None
    evicted: int = 0
    hidden_key: tuple[str, ...] = ()
    tombstones: int = 0
    frontier: int | None = None
    final: bool = False
