from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamlab
from streamlab.backends.file import crc16, ss
from streamlab.backends.file.ss_encoder import Encoder, frame

SAMPLE = Path(streamlab.__file__).parent / "data" / "trades.ss"

Message = tuple[str, int, int, int, bytes]
keys = st.from_regex(r"[A-Za-z0-9._-]{1,6}", fullmatch=True)
bodies = st.binary(max_size=40) | st.binary(min_size=600, max_size=900)


@st.composite
def recordings(draw: st.DrawFn) -> list[Message]:
    """Messages of some streams, sequences rising in each with gaps."""
    streams = draw(
        st.lists(st.tuples(keys, st.integers(0, 2**63 - 1)), min_size=1, max_size=4)
    )
    last: dict[tuple[str, int], int] = {}
    found: list[Message] = []
    for _ in range(draw(st.integers(0, 25))):
        stream = draw(st.sampled_from(streams))
        last[stream] = last.get(stream, -1) + draw(st.integers(1, 2**40))
        ms = draw(st.integers(0, 4_000_000_000_000))
        found.append((*stream, last[stream], ms, draw(bodies)))
    return found


def decoded(
    data: bytes, interval: int, *, piece: int = 1 << 20
) -> tuple[list[Message], ss.Piece]:
    """All messages, reading so many bytes at a time (or more, where one is longer)."""
    decoder, at, size = ss.Decoder(interval), ss.HEADER_SIZE, piece
    found: list[Message] = []
    while True:
        got = decoder.decode(data[at : at + size], at)
        for b in got.blocks:
            rows = zip(b.sequences, b.timestamps_ms, b.values, strict=True)
            found += [(b.key, b.shard, *row) for row in rows]
        if got.ended or got.damage or at + size >= len(data):
            return found, got
        size = piece if got.blocks else 2 * size
        at = got.next


def walked(data: bytes, interval: int) -> list[Message]:
    """All messages in the order of the file, by a second reader that is as plain as can be."""
    joined, at = b"", 0
    while at < len(data):
        if at and at % interval == 0:
            markers, at = data[at + 5], at + 6
            for _ in range(markers):
                at += 1 + data[at] + 26
            at += 1
        until = at - at % interval + interval
        joined, at = joined + data[at:until], until
    found: list[Message] = []
    at = 128
    while at < len(joined):
        key_end = at + 1 + joined[at]
        shard, sequence, ms, size = struct.unpack_from(">QQQI", joined, key_end)
        body = joined[key_end + 28 : key_end + 28 + size]
        found.append((joined[at + 1 : key_end].decode(), shard, sequence, ms, body))
        at = key_end + 28 + size + 3
    return found


def encoded(messages: list[Message], interval: int) -> tuple[bytes, list[int]]:
    """A whole file, and where each of its messages begins."""
    encoder = Encoder("x.ss", 0, interval)
    out, starts = encoder.header, []
    for message in messages:
        starts.append(len(out))
        out += encoder.message(*message)
    return out, starts


# ---- checksums ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"123456789", 0x4C06),
        (b"hello, world", 0x8028),
        (b"123456789abcd", 0xA106),
        (b"", 0xFFFF),
    ],
)
def test_a_checksum_is_crc_16_cdma2000(payload: bytes, expected: int) -> None:
    data = np.frombuffer(payload, np.uint8)

    assert crc16.checksum(payload) == expected
    assert crc16.checksums(data, np.array([0]), np.array([len(payload)])) == [expected]


@settings(deadline=None)
@given(
    st.lists(
        st.integers(0, 1100) | st.sampled_from([255, 256, 257, 512, 513]),
        min_size=1,
        max_size=30,
    ),
    st.integers(),
)
def test_many_checksums_at_once_are_those_of_each(
    lengths: list[int], seed: int
) -> None:
    payloads = [random.Random(seed + n).randbytes(n) for n in lengths]  # noqa: S311
    data = np.frombuffer(b"".join(payloads), np.uint8)
    sizes = np.array(lengths, np.int64)

    found = crc16.checksums(data, np.cumsum(sizes) - sizes, sizes)

    assert found.tolist() == [crc16.checksum(payload) for payload in payloads]


# ---- the sample ---------------------------------------------------------------


def test_writing_the_sample_again_gives_the_same_bytes() -> None:
    data = SAMPLE.read_bytes()
    header = ss.read_header(data)
    assert isinstance(header, ss.Header)
    messages = walked(data, header.interval)
    encoder = Encoder(header.file_name, header.created_ms, header.interval)

    again = encoder.header + b"".join(encoder.message(*m) for m in messages)

    assert len(messages) == 10_200
    assert len(data) // header.interval == 1  # the one beacon
    assert again == data


def test_the_sample_is_the_same_in_one_piece_as_in_many() -> None:
    data = SAMPLE.read_bytes()

    whole, end = decoded(data, ss.INTERVAL, piece=4 << 20)
    parts, _ = decoded(data, ss.INTERVAL, piece=99_999)

    assert sorted(whole) == sorted(parts) == sorted(walked(data, ss.INTERVAL))
    assert (end.damage, end.rest, end.ended) == (None, 0, False)


# ---- round trips ----------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(
    recordings(),
    st.sampled_from([128, 131, 640, 1024, 2048, 1 << 20]),
    st.integers(300, 3000),
)
def test_what_is_encoded_is_decoded_again(
    messages: list[Message], interval: int, piece: int
) -> None:
    data, _ = encoded(messages, interval)

    found, end = decoded(data, interval, piece=piece)

    assert sorted(found) == sorted(messages)
    assert (end.damage, end.rest) == (None, 0)


@settings(deadline=None)
@given(recordings(), st.data())
def test_a_file_cut_anywhere_is_read_to_the_last_whole_message(
    messages: list[Message], data: st.DataObject
) -> None:
    whole, starts = encoded(messages, 640)
    cut = data.draw(st.integers(ss.HEADER_SIZE, len(whole)))
    ends = [*starts[1:], len(whole)]

    found, end = decoded(whole[:cut], 640)

    # A message is whole without the beacon that may follow it at once.
    at_least = sum(e <= cut for e in ends)
    assert end.damage is None
    assert sorted(found) in (
        sorted(messages[:at_least]),
        sorted(messages[: at_least + 1]),
    )
    assert len(found) == len(messages) or end.next <= starts[len(found)]


@settings(deadline=None, max_examples=100)
@given(recordings().filter(bool), st.data())
def test_what_a_changed_byte_breaks_is_found_and_all_before_it_delivered(
    messages: list[Message], data: st.DataObject
) -> None:
    """Payload, checksum, end and key are protected, or checked."""
    whole, starts = encoded(messages, 1 << 20)
    which = data.draw(st.integers(0, len(messages) - 1))
    key, *_, payload = messages[which]
    head = starts[which] + 1 + len(key) + 28
    place = data.draw(st.integers(head, head + len(payload) + 2))
    broken = bytearray(whole)
    broken[place] ^= data.draw(st.integers(1, 255))

    found, end = decoded(bytes(broken), 1 << 20)

    assert sorted(found) == sorted(messages[:which])
    assert end.damage is not None
    assert end.damage.byte == end.next == starts[which]


# ---- beacons ----------------------------------------------------------------------


def test_a_beacon_says_what_seastreamer_says() -> None:
    """The figures of its test recording: 100 messages of one stream, interval 1024."""
    encoder = Encoder("consumer.ss", 0, 1024)
    data = encoder.header + b"".join(
        encoder.message("hello", 1, n, 0, b"hello-%d" % n) for n in range(100)
    )

    beacons = [data[at : at + 39] for at in (1024, 2048, 3072, 4096)]

    assert [int.from_bytes(b[1:5], "big") for b in beacons] == [39, 44, 4, 9]
    assert [b[5] for b in beacons] == [1, 1, 1, 1]
    assert [int.from_bytes(b[20:28], "big") for b in beacons] == [20, 42, 63, 85]
    assert [int.from_bytes(b[36:38], "big") for b in beacons] == [
        2887,
        61736,
        23018,
        62781,
    ]
    assert len(data + encoder.end(0)) == 4830


@pytest.mark.parametrize(
    ("interval", "room"),
    [(570, 0), (571, 1), (1024, 1), (2048, 3), (4096, 7), (1 << 20, 127)],
)
def test_a_beacon_names_as_many_streams_as_there_is_room_for(
    interval: int, room: int
) -> None:
    encoder = Encoder("x", 0, interval)
    data = encoder.header
    while len(data) <= interval + 5:
        number = len(data)
        data += encoder.message(f"stream-{number}", 0, 1, 0, b"x" * 50)
        if interval == 1 << 20 and number > 500_000:
            data += encoder.message("long", 0, number, 0, b"x" * 400_000)

    assert data[interval + 5] == room


def test_streams_are_named_in_turn_where_there_is_no_room_for_all() -> None:
    encoder = Encoder("x", 0, 1024)
    data = encoder.header
    for n in range(1, 60):
        for key in ("c", "a", "b"):
            data += encoder.message(key, 0, n, 0, b"x" * 20)

    named = [data[at + 7 : at + 8] for at in range(1024, len(data), 1024)]

    assert named[:5] == [b"a", b"b", b"c", b"a", b"b"]


def test_a_beacon_follows_a_header_at_once_if_it_must() -> None:
    assert Encoder("x", 0, 128).header[128:] == b"\r\0\0\0\0\0\r"


def test_a_length_that_a_beacon_denies_is_damage_and_not_waited_for() -> None:
    first = frame("t", 0, 1, 0, b"x" * 20)
    encoder = Encoder("x", 0, 256)
    data = bytearray(encoder.header + encoder.message("t", 0, 1, 0, b"x" * 20))
    at = len(data)
    data += encoder.message("t", 0, 2, 0, b"y" * 200)
    data[at + 2 + 24 + 3] = 255

    found, end = decoded(bytes(data), 256)

    assert len(found) == 1
    assert end.damage == ss.Damage(128 + len(first), "the head of a record is damaged")


def test_a_damaged_beacon_is_named_after_all_that_is_before_it() -> None:
    encoder = Encoder("x", 0, 256)
    data = bytearray(encoder.header)
    for n in range(9):
        data += encoder.message("t", 0, n, 0, b"12345")
    data[256] ^= 1

    found, end = decoded(bytes(data), 256)

    assert len(found) == (256 - 128) // 38
    assert end.damage == ss.Damage(256, "a beacon is damaged")


@pytest.mark.parametrize(
    "frames",
    [
        [frame("t", 0, 1, 0, b""), frame("t", 0, 1, 0, b"")],
        [frame("t", 0, 2, 0, b""), frame("t", 0, 1, 0, b"")],
        [frame("t", 0, 0, 0, b""), frame("t", 2**63, 1, 0, b"")],
        [frame("t", 0, 0, 0, b""), frame("t", 0, 2**63, 0, b"")],
        [frame("t", 0, 0, 0, b""), frame("t", 0, 1, 2**63, b"")],
        [frame("t", 0, 0, 0, b""), frame("a/b", 0, 1, 0, b"")],
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_head_that_no_writer_wrote_is_damage(
    frames: list[bytes], *, together: bool
) -> None:
    data = Encoder("x", 0).header + b"".join(frames)

    found, end = decoded(
        data, ss.INTERVAL, piece=len(data) if together else len(frames[0])
    )

    assert len(found) == 1
    reason = "the head of a record is damaged"
    assert end.damage == ss.Damage(128 + len(frames[0]), reason)


# ---- the ends of a file ---------------------------------------------------------------


def test_nothing_is_read_behind_the_end_mark() -> None:
    encoder = Encoder("x", 0)
    data = encoder.header + encoder.message("t", 0, 1, 0, b"a")
    mark = encoder.end(7)

    found, end = decoded(data + mark + encoder.message("t", 0, 2, 0, b"b"), ss.INTERVAL)

    assert len(mark) == 56
    assert found == [("t", 0, 1, 0, b"a")]
    assert end.ended
    assert end.next == len(data)


def test_messages_of_seastreamer_itself_are_not_handed_on() -> None:
    encoder = Encoder("x", 0)
    data = encoder.header + encoder.message(ss.INTERNAL, 0, 0, 0, b"PULSE")

    found, end = decoded(data, ss.INTERVAL)

    assert (found, end.ended, end.damage, end.rest) == ([], False, None, 0)


@pytest.mark.parametrize("left", range(1, 24))
def test_what_is_left_of_an_old_end_mark_is_no_damage(left: int) -> None:
    data, _ = encoded([("t", 0, 1, 0, b"a")], ss.INTERVAL)
    mark = frame(ss.INTERNAL, 0, 0, 1_767_225_600_000, ss.EOS)

    found, end = decoded(data + mark[-left:], ss.INTERVAL)

    assert len(found) == 1
    assert end.old_mark
    assert end.damage is None


@pytest.mark.parametrize(
    ("head", "damage"),
    [
        (b"sS\x01", ss.Damage(0, "it begins with b'sS', not with b'Ss'")),
        (b"Ss\x02", ss.Damage(2, "its version is 2; only version 1 is known")),
        (b"Ss\x01\xff", ss.Damage(3, "its header holds a name of 255 bytes")),
        (b"Ss\x01\x01x", ss.Damage(13, "its beacons are 0 bytes apart")),
    ],
)
def test_a_header_that_is_none_is_told(head: bytes, damage: ss.Damage) -> None:
    assert ss.read_header(head.ljust(128, b"\0")) == damage


def test_a_header_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no header for"):
        Encoder("x" * 112, 0)
    with pytest.raises(ValueError, match="every 127 bytes"):
        Encoder("x", 0, 127)
