"""The parser: a block of lines to columns. One parser, one verdict.

`scan_ndjson` fails the whole block for one bad line, and its `ignore_errors` nulls wrong types
in silence. So a block that fails is cut in half and each half parsed by the same call, until a
bad record stands alone; whether a record is good is never decided by anything else. Halving
costs two parses a level for each bad record. Where bad records are many, Python's own `json`
says which ones to suspect: those are parsed alone, the others together, by the same call
again. What it wrongly suspects or overlooks costs time, never a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from streamlab.formats.json_why import Wanted, shorten, wanted, why
from streamlab.formats.json_wire import Wire

# Below this, asking Python about every record of a failed piece (3 µs each) is cheaper than
# the five or six parses (0.3 ms each) that further halving would take.
_SUSPECT_BELOW = 1024
# So many single records are on their way through polars at once: 0.1 ms each, not 0.3.
_AT_ONCE = 64
# Bytes a thread from which a second one gains more than it costs to start.
WORTH_SHARING = 250_000
_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
# The parser counts lines without looking at them if it is asked for no field at all.
_NO_FIELDS = pl.Schema({"\0": pl.String()})


class Piece(NamedTuple):
    """Rows that came out of one parse, and the places of their lines."""

    places: np.ndarray[tuple[int], np.dtype[np.int64]]
    frame: pl.DataFrame


class Sifted(NamedTuple):
    """A block after parsing: the rows, their lines' places (rising), the bad ones' reasons."""

    frame: pl.DataFrame
    places: np.ndarray[tuple[int], np.dtype[np.int64]]
    bad: dict[int, str]


def attempt(block: bytes, wire: Wire) -> pl.DataFrame | None:
    """Parse lines joined by line breaks; None if some line is bad. Blank lines are no rows."""
    try:
        parts = [_query(part, wire) for part in _shared(block)]
        frames = pl.collect_all(parts) if len(parts) > 1 else [parts[0].collect()]
    except _FAILURES:
        return None
    return _columns(pl.concat(frames, rechunk=True), wire)  # once, for all that follow


def sift(lines: Sequence[bytes], wire: Wire) -> Sifted:
    """Parse lines of which at least one is bad."""
    bad: dict[int, str] = {}
    pieces = list(_pieces(lines, wire, bad))
    if not pieces:
        return Sifted(pl.DataFrame(schema=wire.fields), np.empty(0, np.int64), bad)
    places = np.concatenate([piece.places for piece in pieces])
    frame = pl.concat([piece.frame for piece in pieces])
    order = np.argsort(places)
    if (np.diff(order) != 1).any():
        frame = frame[order]
    return Sifted(frame, places[order], bad)


def _shared(block: bytes) -> list[bytes]:
    """A large block in pieces, one a thread: the parser itself uses one for megabytes."""
    share = len(block) // pl.thread_pool_size()
    if share < WORTH_SHARING:
        return [block]
    pieces, start = [], 0
    while (end := block.find(b"\n", start + share)) >= 0:
        pieces.append(block[start:end])
        start = end + 1
    return [*pieces, block[start:]]


def _query(block: bytes, wire: Wire) -> pl.LazyFrame:
    # No credentials to look for: it is not a file.
    schema = wire.fields or _NO_FIELDS
    return pl.scan_ndjson(block, schema=schema, credential_provider=None)


def _columns(parsed: pl.DataFrame, wire: Wire) -> pl.DataFrame:
    return parsed if wire.fields else parsed.drop(_NO_FIELDS.names())


def _pieces(lines: Sequence[bytes], wire: Wire, bad: dict[int, str]) -> Iterator[Piece]:
    """Halve what fails, noting bad records on the way."""
    want = wanted(wire)
    todo = [(np.arange(len(lines)), False)]
    while todo:
        places, asked = todo.pop()
        try:
            block = b"\n".join([lines[i] for i in places.tolist()])
            frame = _columns(_query(block, wire).collect(), wire)
        except _FAILURES as error:
            if len(places) == 1:
                line = int(places[0])
                bad[line] = why(lines[line], want) or shorten(error)
            elif asked or len(places) > _SUSPECT_BELOW:
                half = len(places) // 2
                todo += [(places[:half], asked), (places[half:], asked)]
            else:
                suspects = [i for i in places.tolist() if why(lines[i], want)]
                yield from _alone(lines, suspects, wire, want, bad)
                others = np.setdiff1d(places, suspects)
                todo += [(others, True)] if len(others) else []
            continue
        yield Piece(places, frame)


def _alone(
    lines: Sequence[bytes],
    places: list[int],
    wire: Wire,
    want: Wanted,
    bad: dict[int, str],
) -> Iterator[Piece]:
    """Parse each record by itself."""
    for start in range(0, len(places), _AT_ONCE):
        batch = places[start : start + _AT_ONCE]
        under_way = [_query(lines[i], wire).collect(background=True) for i in batch]
        for place, query in zip(batch, under_way, strict=True):
            try:
                frame = _columns(query.fetch_blocking(), wire)
            except _FAILURES as error:
                bad[place] = why(lines[place], want) or shorten(error)
            else:
                yield Piece(np.array([place]), frame)
