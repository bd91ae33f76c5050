r"""Answers of XREAD as columns.

The fast road takes entries that hold the payload field alone, which is what SeaStreamer and most
others write: cut at every "\r\n*2\r\n$", an answer falls into one piece an id and one piece a
payload, and nothing is looked at one by one. Each piece must be exactly its length line (and
field name) plus as many bytes as that line says; since RESP has one reading only, pieces that all
pass are the entries, whatever their payloads hold. Anything else goes to hiredis.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import hiredis

from streamlab.records import Headers, Partition, Records

_MARK = b"\r\n*2\r\n$"
_LONGEST = 8192  # larger payloads are hiredis' business: copying them is the cost
_NEVER = b"\0" * (_LONGEST + 1)  # longer than any piece: no piece begins with it
_ID = re.compile(rb"\d+-\d+")
_USUAL = (b"payload", b"data", b"value", b"message", b"body")
SEASTREAMER = b"msg"


class Shape(NamedTuple):
    """How the entries of one topic are read.

    Attributes:
        payload: the field that holds the payload; None makes a JSON object of all fields.
        key: the field that holds the record's key.
    """

    payload: bytes | None
    key: bytes


class Columns(NamedTuple):
    """Entries of one stream as columns.

    Attributes:
        key: of the stream.
        entries: how many the answer held, those without the payload field included.
        last: the last entry's id.
        ids, values: of the entries that have the payload field.
        keys, headers: None if no entry has any.
        passed: ids of the entries that have none.
    """

    key: bytes
    entries: int
    last: bytes
    ids: Sequence[bytes]
    values: Sequence[bytes]
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Headers] | None = None
    passed: Sequence[bytes] = ()


def choose(entries: Sequence[Sequence[bytes]], key: bytes) -> Shape:
    """How to read a topic, judged by the fields of some of its entries.

    SeaStreamer's "msg" if it is there; a field that is the only one (beside the key's); the first
    there is of payload, data, value, message, body; otherwise all fields as a JSON object.
    """
    names = {name for fields in entries for name in fields[::2]}
    only = names - {key} or names
    if SEASTREAMER in names:
        return Shape(SEASTREAMER, key)
    if len(only) == 1:
        return Shape(only.pop(), key)
    return Shape(next((name for name in _USUAL if name in names), None), key)


def cut(raw: bytes, shapes: Mapping[bytes, Shape | None]) -> list[Columns] | None:
    """An answer's columns by the fast road; None if it is not of that form.

    Args:
        raw: the whole answer.
        shapes: per stream key, how its entries are read; None where not known yet.
    """
    if not raw.startswith(b"*") or not raw.endswith(b"\r\n"):
        return None
    pieces = raw.split(_MARK)
    pieces[-1] = pieces[-1][:-2]
    found: list[Columns] = []
    at = 1
    while at < len(pieces):
        head = _stream(pieces[at])
        if head is None:
            return None
        key, count = head
        shape = shapes.get(key)
        end = at + 1 + 2 * count
        if shape is None or shape.payload is None or not count > 0 or end > len(pieces):
            return None
        ids = _strip(pieces[at + 1 : end : 2], _heads(b""))
        field = b"%d\r\n%b\r\n$" % (len(shape.payload), shape.payload)
        values = _strip(pieces[at + 2 : end : 2], _heads(field))
        if ids is None or values is None:
            return None
        found.append(Columns(key, count, ids[-1], ids, values))
        at = end
    return found if found and b"*%d" % len(found) == pieces[0] else None


def read(raw: bytes) -> Any:
    """An answer as hiredis reads it."""
    reader = hiredis.Reader()
    reader.feed(raw)
    return reader.gets()


def arrange(
    reply: Sequence[Any] | None, shapes: Mapping[bytes, Shape | None]
) -> list[Columns]:
    """An answer that hiredis has read, as columns; every key must have its shape."""
    found = []
    for key, entries in reply or ():
        shape = shapes[key]
        assert shape is not None  # noqa: S101 (the consumer finds it out first)
        held = [(entry, fields) for entry, fields in entries if fields]
        whole = shape.payload is None
        columns = _objects(held, shape) if whole else _fields(held, shape)
        passed: Sequence[bytes] = ()
        if len(columns[0]) < len(entries):
            ids = {*columns[0]}
            passed = [entry for entry, _ in entries if entry not in ids]
        made = Columns(key, len(entries), entries[-1][0], *columns)
        found.append(made._replace(passed=passed))
    return found


def tail(raw: bytes, prefix: bytes, count: int) -> bytes | None:
    """The last id of an answer that holds `count` entries of one stream; None if unsure.

    It is found without parsing, so it may be wrong where payloads imitate entries: the one who
    asks on from there compares it with the parsed one.
    """
    if not raw.startswith(b"%b%d\r\n" % (prefix, count)):
        return None
    value = raw.rfind(_MARK)
    start = raw.rfind(_MARK, 0, value)
    last = raw[start + len(_MARK) : value].partition(b"\r\n")[2]
    return last if _ID.fullmatch(last) else None


def prefix(key: bytes) -> bytes:
    """How an answer about one stream begins, up to the number of entries."""
    return b"*1\r\n*2\r\n$%d\r\n%b\r\n*" % (len(key), key)


def block(partition: Partition, columns: Columns, end: int, per_ms: int = 1) -> Records:
    """The first `end` records of the columns; `per_ms`: what ids count in a millisecond."""
    whole = Records(
        partition, columns.ids, None, columns.values, columns.keys, columns.headers
    )
    if per_ms > 1:
        stamps = [int(entry.partition(b"-")[0]) // per_ms for entry in columns.ids]
        whole = whole._replace(timestamps_ms=stamps)
    return whole if end == len(columns.ids) else part(whole, 0, end)


def part(whole: Records, start: int, end: int) -> Records:
    """The records from `start` to before `end`."""
    keys, headers, stamps = whole.keys, whole.headers, whole.timestamps_ms
    return whole._replace(
        offsets=whole.offsets[start:end],
        timestamps_ms=None if stamps is None else stamps[start:end],
        values=whole.values[start:end],
        keys=None if keys is None else keys[start:end],
        headers=None if headers is None else headers[start:end],
    )


def take(ready: deque[Records], most: int) -> list[Records]:
    """Blocks from the left, at most so many records; a block is cut if need be."""
    taken: list[Records] = []
    while ready and most > 0:
        block = ready.popleft()
        size = len(block.values)
        if size > most:
            ready.appendleft(part(block, most, size))
            block = part(block, 0, most)
        taken.append(block)
        most -= size
    return taken


def weight(found: Sequence[Columns]) -> float:
    """Bytes an entry takes, roughly."""
    values = sum(sum(map(len, columns.values)) for columns in found)
    return 60 + values / sum(columns.entries for columns in found)


def _stream(piece: bytes) -> tuple[bytes, int] | None:
    """Key and number of entries out of the piece that begins a stream."""
    size, found, rest = piece.partition(b"\r\n")
    key, more, count = rest.rpartition(b"\r\n*")
    if found and more and size == b"%d" % len(key) and count.isdigit():
        return key, int(count)
    return None


@lru_cache(maxsize=8)
def _heads(field: bytes) -> list[bytes]:
    """Per length of a piece, the bytes it must begin with: there is one way to that length.

    Args:
        field: what stands before the length line; nothing for an id.
    """
    heads = [_NEVER] * _LONGEST
    for size in range(_LONGEST):
        head = b"%b%d\r\n" % (field, size)
        if len(head) + size < _LONGEST:
            heads[len(head) + size] = head
    return heads


def _strip(pieces: list[bytes], heads: list[bytes]) -> list[bytes] | None:
    """The pieces without their heads; None if one doesn't begin as its length demands."""
    sizes = [*map(len, pieces)]
    different = set(sizes)
    if max(different) >= _LONGEST:
        return None
    if len(different) == 1:
        return _strip_alike(pieces, heads[different.pop()])
    mine = [*map(heads.__getitem__, sizes)]
    bare = [*map(bytes.removeprefix, pieces, mine)]
    # removeprefix takes all of the head or nothing, so the sum tells whether all were there.
    return bare if sum(sizes) == sum(map(len, bare)) + sum(map(len, mine)) else None


def _strip_alike(pieces: list[bytes], head: bytes) -> list[bytes] | None:
    """The same for pieces of one length, as ids mostly are: three times as fast."""
    size = len(pieces[0]) - len(head)
    bare = b"".join(pieces).split(head)
    # As many parts as pieces, all as long as they must be: every piece began with the head.
    if bare.pop(0) or len(bare) != len(pieces) or set(map(len, bare)) != {size}:
        return None
    return bare


def _fields(
    held: Sequence[tuple[bytes, Sequence[bytes]]], shape: Shape
) -> tuple[Any, ...]:
    ids: list[bytes] = []
    values: list[bytes] = []
    keys: list[bytes | None] = []
    headers: list[Headers] = []
    for entry, fields in held:
        value = key = None
        rest: list[tuple[str, bytes]] = []
        for name, content in zip(fields[::2], fields[1::2], strict=True):
            if value is None and name == shape.payload:
                value = content
            elif key is None and name == shape.key:
                key = content
            else:
                rest.append((_text(name), content))
        if value is not None:
            ids.append(entry)
            values.append(value)
            keys.append(key)
            headers.append(rest)
    return (
        ids,
        values,
        keys if any(key is not None for key in keys) else None,
        headers if any(headers) else None,
    )


def _objects(
    held: Sequence[tuple[bytes, Sequence[bytes]]], shape: Shape
) -> tuple[Any, ...]:
    ids = [entry for entry, _ in held]
    rows = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in held]
    values = [
        json.dumps(
            {_text(name): _text(content) for name, content in row.items()},
            ensure_ascii=False,
        ).encode()
        for row in rows
    ]
    keys = [row.get(shape.key) for row in rows]
    return ids, values, keys if any(k is not None for k in keys) else None, None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
