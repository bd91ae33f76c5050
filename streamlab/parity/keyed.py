"""Steps that keep something per key, over all rows in the order in which they came.

Without a time to live one `group_by`, or one `unique`, is the answer. Where event time decides what
goes, rows are looked at one by one, in plain Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl
import polars.selectors as cs

from streamlab.changes import HIDDEN, PART, ROW, SEQ, STAMP, TIME
from streamlab.durations import Span
from streamlab.parity.table import KEY, SCALE, Table, scales_of
from streamlab.plans.nodes import GroupBy, Unique
from streamlab.plans.steady import steady
from streamlab.records import KEY as RECORD_KEY

_AHEAD_US = 3_600_000_000  # further than this ahead of its broker, a row has no time
_AT, _CODE = "__at", "__code"
_Place = tuple[Any, ...]


class Times(NamedTuple):
    """How event time went on, row by row of what moves it.

    Attributes:
        marks: a record's place → its event time in µs, and where the watermark stood then; None
            for one without a usable time.
        turns: a record's place → how many came before.
        last: where the watermark stands in the end; None if nowhere.
    """

    marks: Mapping[_Place, tuple[int, int | None] | None]
    turns: Mapping[_Place, int]
    last: int | None


def times_of(rows: pl.DataFrame, parts: Iterable[int], *, ordered: bool) -> Times:
    """The watermark, without lateness: the smallest of all partitions' newest event times.

    Args:
        rows: all that move it, in the order in which they came.
        parts: partitions that hold it.
        ordered: rows come in the order of event time, as of one partition.
    """
    newest: dict[int, int | None] = dict.fromkeys(parts)
    mark: int | None = None
    marks: dict[_Place, tuple[int, int | None] | None] = {}
    turns: dict[_Place, int] = {}
    read = rows.select(PART, STAMP, SEQ, pl.col(TIME).dt.epoch("us"))
    for turn, (part, stamp, seq, time) in enumerate(read.iter_rows()):
        place = (part, stamp, seq)
        turns[place] = turn
        if time is None or (stamp is not None and time > stamp * 1000 + _AHEAD_US):
            marks[place] = None
            continue
        line = 0 if ordered else part
        before = newest[line]
        newest[line] = time if before is None else max(before, time)
        known = [each for each in newest.values() if each is not None]
        if len(known) == len(newest):
            mark = min(known) if mark is None else max(mark, min(known))
        marks[place] = (time, mark)
    return Times(marks, turns, mark)


def group_table(
    node: GroupBy, rows: pl.DataFrame, times: Times, tombstones: pl.DataFrame | None
) -> Table:
    """The running group, hidden copies of its keys and its scales beside it.

    Args:
        node: the step.
        rows: of its parent, with hidden columns, in the order in which they came.
        times: of all rows that move time on.
        tombstones: of the source, with how many of its rows came before each.
    """
    rows = rows.select(~cs.starts_with(KEY, SCALE))
    if node.ttl is not None or (tombstones is not None and node.by == (RECORD_KEY,)):
        deleting = tombstones if node.compacted and node.by == (RECORD_KEY,) else None
        rows = rows[_living(node, rows, times, deleting)]
    shown = rows.drop(HIDDEN)
    groups = shown.group_by(node.by, maintain_order=True)
    copies = [pl.col(name).alias(f"{KEY}{name}") for name in node.by]
    if node.compacted:
        found = groups.last().with_columns(copies)
        return Table(found, tuple(f"{KEY}{name}" for name in node.by))
    aggs = [steady(agg, shown.schema) for agg in node.aggs]
    scales = scales_of(node.aggs, shown.schema)
    found = groups.agg(*aggs, *scales).with_columns(copies)
    keep = [name for name in found.columns if name.startswith((KEY, SCALE))]
    return Table(found, tuple(keep))


def unique_table(node: Unique, above: Table, times: Times) -> Table:
    """The rows that pass, as they came."""
    rows = above.frame
    subset = list(node.subset or rows.drop(above.keep).columns)
    if node.within is None:
        kept = rows.unique(subset, keep="first", maintain_order=True)
        return above._replace(frame=kept)
    passed = list(_passing(node.within, rows, subset, times))
    return above._replace(frame=rows[passed])


def _living(
    node: GroupBy, rows: pl.DataFrame, times: Times, tombstones: pl.DataFrame | None
) -> list[int]:
    """The places of rows whose key has not gone since."""
    dead = [] if tombstones is None else tombstones.select(RECORD_KEY, ROW).rows()[::-1]
    keys = rows[RECORD_KEY].to_list() if dead else [None] * rows.height
    codes: dict[str | None, int] = {}
    lives = _Lives(node.ttl)
    for place, (code, where) in enumerate(_coded(rows, node.by)):
        while dead and dead[-1][1] <= times.turns[where]:
            lives.end(codes.get(dead.pop()[0], -1))
        codes[keys[place]] = code
        lives.take(code, place, times.marks[where])
    for key, _ in dead:
        lives.end(codes.get(key, -1))
    return lives.places(times.last)


class _Lives:
    """Each key's rows since it began anew."""

    def __init__(self, ttl: Span | None) -> None:
        self.ttl = ttl
        self.held: dict[int, list[int]] = {}
        self.newest: dict[int, int] = {}

    def end(self, code: int) -> None:
        self.held.pop(code, None)
        self.newest.pop(code, None)

    def take(self, code: int, place: int, found: tuple[int, int | None] | None) -> None:
        if self.ttl is not None:
            if found is None or self.is_over(*found):
                return
            time, mark = found
            if code in self.newest and self.is_over(self.newest[code], mark):
                self.end(code)
            self.newest[code] = max(self.newest.get(code, time), time)
        self.held.setdefault(code, []).append(place)

    def places(self, last: int | None) -> list[int]:
        """The rows of keys that live in the end."""
        return sorted(
            place
            for code, rows in self.held.items()
            for place in rows
            if code not in self.newest or not self.is_over(self.newest[code], last)
        )

    def is_over(self, time: int, mark: int | None) -> bool:
        return self.ttl is not None and mark is not None and time <= mark - self.ttl.us


def _passing(
    within: Span, rows: pl.DataFrame, subset: Sequence[str], times: Times
) -> Iterator[int]:
    passed: dict[int, list[int]] = {}
    for place, (code, where) in enumerate(_coded(rows, subset)):
        found = times.marks[where]
        if found is None:
            continue
        time, mark = found
        if mark is not None and time < mark - within.us:
            continue
        like = passed.setdefault(code, [])
        if any(abs(time - other) < within.us for other in reversed(like)):
            continue
        like.append(time)
        yield place


def _coded(
    rows: pl.DataFrame, by: Sequence[str]
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Of each row a number for its key, and its record's place."""
    placed = rows.select(*by).with_row_index(_AT)
    groups = placed.group_by(by, maintain_order=True).agg(_AT)
    numbered = groups.select(_AT).with_row_index(_CODE).explode(_AT).sort(_AT)
    places = rows.select(PART, STAMP, SEQ).rows()
    return zip(numbered[_CODE].to_list(), places, strict=True)
