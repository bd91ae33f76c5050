"""The fast road for XREAD's answers says what hiredis says, or nothing at all. No server."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis import parse as redis_parse
from streamlab.backends.redis.cursor import Cursor, Facts
from streamlab.backends.redis.options import settings as read_settings
from streamlab.backends.redis.parse import Shape
from streamlab.backends.redis.wire import Link
from streamlab.errors import PositionError
from streamlab.records import Partition
from streamlab.uri import parse

MSG = Shape(b"msg", b"key")
quick = settings(deadline=None, max_examples=200)
# Bytes that try to look like the protocol around them.
NASTY = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from(
            [
                *(
                    b"\r\n",
                    b"*2",
                    b"$3",
                    b"msg",
                    b"$",
                    b"*",
                    b"\r",
                    b"\n",
                    b"1-1",
                    b"9",
                ),
                *(b"\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$3\r\nmsg\r\n$1\r\n", b"x", b"$15"),
            ]
        ),
        max_size=8,
    ).map(b"".join),
    st.sampled_from([b"y" * n for n in (0, 9, 10, 99, 100, 101, 8191, 8192, 9000)]),
)
entries = st.lists(
    st.one_of(
        NASTY.map(lambda value: [b"msg", value]),
        NASTY.map(lambda value: [b"msg", value]),
        st.lists(NASTY, min_size=2, max_size=2),
        st.lists(NASTY, min_size=4, max_size=4),
    ),
    min_size=1,
    max_size=6,
)
plain = st.lists(NASTY.map(lambda value: [b"msg", value]), min_size=1, max_size=30)
ids = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


def resp(value: Any) -> bytes:
    """A value as a server writes it."""
    if value is None:
        return b"*-1\r\n"
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n%b" % (len(value), b"".join(map(resp, value)))


def answer(streams: dict[bytes, list[list[bytes]]]) -> bytes:
    numbers = itertools.count(1)
    return resp(
        [
            [key, [[b"1767225600000-%d" % next(numbers), fields] for fields in rows]]
            for key, rows in streams.items()
        ]
    )


def both(raw: bytes, keys: list[bytes]) -> tuple[Any, Any]:
    shapes: dict[bytes, Shape | None] = dict.fromkeys(keys, MSG)
    return (
        redis_parse.cut(raw, shapes),
        redis_parse.arrange(redis_parse.read(raw), shapes),
    )


@quick
@given(st.dictionaries(NASTY, entries, min_size=1, max_size=3))
def test_the_fast_road_says_what_hiredis_says_or_nothing(
    streams: dict[bytes, list[list[bytes]]],
) -> None:
    fast, slow = both(answer(streams), [*streams])

    assert fast is None or fast == slow


@quick
@given(plain)
def test_plain_entries_take_the_fast_road_whatever_they_hold(
    rows: list[list[bytes]],
) -> None:
    fast, slow = both(answer({b"trades": rows}), [b"trades"])

    # Only what looks like the seam between two entries, or is long, is left to hiredis.
    seam = b"\r\n*2\r\n$"
    tame = all(seam not in b"\r\n%b\r\n*2\r\n" % v and len(v) < 8000 for _, v in rows)
    assert fast == slow if tame else fast in (None, slow)
    assert not tame or [*fast[0].values] == [value for _, value in rows]


@quick
@given(plain, st.data())
def test_an_answer_cut_short_or_damaged_is_never_taken(
    rows: list[list[bytes]], data: st.DataObject
) -> None:
    raw = answer({b"trades": rows})
    end = data.draw(st.integers(0, len(raw) - 1))
    at = data.draw(st.integers(0, len(raw) - 1))

    assert redis_parse.cut(raw[:end], {b"trades": MSG}) is None
    # Another byte is another answer: taken as what it now says, or not at all.
    other = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    fast = redis_parse.cut(other, {b"trades": MSG})
    assert fast is None or fast == both(other, [b"trades"])[1]


@pytest.mark.parametrize("digits", range(1, 5))
def test_a_payload_of_every_length_is_taken(digits: int) -> None:
    sizes = range(10 ** (digits - 1), min(10**digits, 1200))
    rows = [[b"msg", b"z" * size] for size in sizes]

    fast, slow = both(answer({b"t": rows}), [b"t"])

    assert fast is not None
    assert fast == slow


def test_the_tail_of_a_full_answer_names_its_last_id() -> None:
    raw = answer({b"t": [[b"msg", b"a"], [b"msg", b"\r\n"], [b"msg", b"c"]]})
    prefix = redis_parse.prefix(b"t")

    assert redis_parse.tail(raw, prefix, 3) == b"1767225600000-3"
    assert redis_parse.tail(raw, prefix, 4) is None
    assert redis_parse.tail(b"*-1\r\n", prefix, 3) is None


class Pipe(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        pass


@quick
@given(plain, st.data())
async def test_an_answer_arrives_whole_however_the_network_cuts_it(
    rows: list[list[bytes]], data: st.DataObject
) -> None:
    link = Link(read_settings(parse("redis://localhost/t"), {}))
    pipe = Pipe()
    link.connection_made(pipe)
    login = asyncio.create_task(link.log_in())
    await asyncio.sleep(0)
    token = pipe.written.split(b"\r\n")[-2]
    link.data_received(b"+OK\r\n" + resp(token))
    await login
    raw = answer({b"t": rows})
    wire = raw + resp(token)

    link.ask(b"XREAD")
    cuts = sorted(data.draw(st.lists(st.integers(1, len(wire) - 1), max_size=8)))
    for start, end in itertools.pairwise([0, *cuts, len(wire)]):
        assert link.asking
        link.data_received(wire[start:end])

    assert not link.asking
    assert link.whole == raw


# ---- which field is the payload -----------------------------------------------


@pytest.mark.parametrize(
    ("entries", "payload"),
    [
        ([[b"msg", b"1"], [b"other", b"2"]], b"msg"),
        ([[b"reading", b"1"], [b"reading", b"2"]], b"reading"),
        ([[b"key", b"k", b"reading", b"2"]], b"reading"),
        ([[b"key", b"k"]], b"key"),
        ([[b"id", b"1", b"data", b"2"]], b"data"),
        ([[b"body", b"1", b"value", b"2"]], b"value"),
        ([[b"temp", b"1", b"hum", b"2"]], None),
    ],
)
def test_the_payload_field_is_found_by_looking(
    entries: list[list[bytes]], payload: bytes | None
) -> None:
    assert redis_parse.choose(entries, b"key").payload == payload


# ---- ids ----------------------------------------------------------------------


@quick
@given(ids)
def test_ids_have_exact_neighbours(entry: tuple[int, int]) -> None:
    following = redis_ids.after(entry)

    assert following > entry
    assert redis_ids.before(following) == entry
    assert redis_ids.pair(redis_ids.text(entry)) == entry
    assert redis_ids.pair(redis_ids.wire(entry)) == entry
    if entry != redis_ids.NONE:
        assert redis_ids.after(redis_ids.before(entry)) == entry


def test_the_id_before_a_round_one_is_the_last_of_the_millisecond_before() -> None:
    assert redis_ids.wire(redis_ids.before((5, 0))) == b"4-18446744073709551615"
    assert redis_ids.after((4, 2**64 - 1)) == (5, 0)


@pytest.mark.parametrize(
    "offset",
    [5, "-", "5-", "-5", "1-2-3", " 1-1", "+1-1", "1.5", "18446744073709551616-0"],
)
def test_what_is_no_id_is_refused_with_an_example(offset: Any) -> None:
    with pytest.raises(PositionError, match="1767225600000-3"):
        redis_ids.given(offset)


# ---- what was lost, against a list ----------------------------------------------


class Log:
    """A stream as a list, with the counts that a server keeps."""

    def __init__(self) -> None:
        self.ids: list[tuple[int, int]] = []
        self.last = (0, 0)
        self.added = 0

    def add(self, count: int) -> None:
        for _ in range(count):
            self.added += 1
            self.last = (self.added, 0)
            self.ids.append(self.last)

    def facts(self) -> Facts:
        first, newest = (self.ids[0], self.ids[-1]) if self.ids else (None, None)
        return Facts(len(self.ids), first, newest, self.last, self.added)


steps = st.lists(
    st.tuples(st.sampled_from(["add", "trim", "read", "look"]), st.integers(1, 5)),
    max_size=30,
)


@quick
@given(steps)
def test_trimmed_entries_are_counted_exactly_once(steps: list[tuple[str, int]]) -> None:
    log = Log()
    cursor = Cursor(Partition("t", 0), b"t", (0, 0))
    cursor.begin(log.facts())
    read = lost = 0

    for what, count in [*steps, ("read", 1000), ("look", 1)]:
        if what == "add":
            log.add(count)
        elif what == "trim":
            del log.ids[:count]
        elif what == "read":
            there = [entry for entry in log.ids if entry > cursor.at][:count]
            read += len(there)
            if there:
                cursor.passes(there[-1], len(there), full=len(there) == count)
        else:
            lost += cursor.look(log.facts())

    assert read + lost == log.added


def test_a_server_restored_from_an_older_copy_is_read_from_there_on() -> None:
    log = Log()
    log.add(10)
    cursor = Cursor(Partition("t", 0), b"t", (0, 0))
    cursor.begin(log.facts())
    cursor.passes((10, 0), 10, full=False)

    older = Log()
    older.add(6)

    assert cursor.look(older.facts()) == 1
    assert cursor.at == (6, 0)
    assert cursor.look(older.facts()) == 0


def test_a_stop_that_a_restored_server_will_never_reach_is_not_waited_for() -> None:
    log = Log()
    log.add(10)
    cursor = Cursor(Partition("t", 0), b"t", (0, 0), stop=(10, 1))
    cursor.begin(log.facts())
    cursor.passes((5, 0), 5, full=True)

    cursor.look(Facts())

    assert cursor.done
