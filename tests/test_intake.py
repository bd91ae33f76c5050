"""Blocks of records to rows: every record accounted for, every place and time right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab import entry_ids
from streamlab.changes import HIDDEN, HIDDEN_SCHEMA, shown
from streamlab.errors import ColumnNotFoundError, UsageError
from streamlab.formats import json, raw
from streamlab.intake import Intake, Taken
from streamlab.records import META, Partition, Records

P0, P1 = Partition("orders", 0), Partition("orders", 1)
AB = pl.Schema({"a": pl.Int64(), "b": pl.String()})
T0 = 1_795_352_702_113
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def block(
    values: Sequence[bytes | None], partition: Partition = P0, first: int = 0
) -> Records:
    offsets = [first + i for i in range(len(values))]
    return Records(partition, offsets, [T0 + offset for offset in offsets], values)


def at(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def test_rows_come_in_the_order_of_the_blocks_each_with_its_place() -> None:
    intake = Intake(json.make(), AB, partitions=[P0, P1])

    taken = intake.take(
        [block([b'{"a":1}'], P1, 7), block([b'{"a":2}', b'{"a":3}'], P0, 5)]
    )

    assert taken.rows.schema == {**AB, **HIDDEN_SCHEMA}
    assert shown(taken.rows).rows() == [(1, None), (2, None), (3, None)]
    assert taken.rows.select(HIDDEN).rows() == [
        (at(T0 + 7), 1, T0 + 7, 7),
        (at(T0 + 5), 0, T0 + 5, 5),
        (at(T0 + 6), 0, T0 + 6, 6),
    ]
    assert intake.schema == AB


def test_a_reject_keeps_its_place_its_payload_and_its_reason() -> None:
    intake = Intake(json.make(), AB)

    taken = intake.take(
        [block([b'{"a":1}', b"x"], P0, 5), block([None, b'{"a":2}'], P1, 9)]
    )

    assert taken.rows["a"].to_list() == [1, 2]
    assert taken.rows["__seq"].to_list() == [5, 10]
    assert taken.rejected.rows(named=True) == [
        {
            "_partition": 0, "_offset": 6, "_timestamp": at(T0 + 6), "_payload": b"x",
            "_reason": "not JSON: expecting value at character 0",
            "__time": at(T0 + 6), "__part": 0, "__stamp": T0 + 6, "__seq": 6,
        },
        {
            "_partition": 1, "_offset": 9, "_timestamp": at(T0 + 9), "_payload": None,
            "_reason": "empty payload (tombstone)",
            "__time": at(T0 + 9), "__part": 1, "__stamp": T0 + 9, "__seq": 9,
        },
    ]  # fmt: skip
    assert (taken.received, taken.decoded) == (4, 2)


def test_a_tombstone_is_a_reject_and_tells_its_key_and_its_place_among_the_rows() -> (
    None
):
    values = [None, b'{"a":1}', b"x", None, b'{"a":2}', None]
    keys = [b"a", b"b", b"c", b"\xff", b"d", None]
    blocks = [
        block(values)._replace(keys=keys),
        block([None], P1)._replace(keys=[b"z"]),
    ]

    taken = Intake(json.make(), AB, meta=("_key",)).take(blocks)

    assert taken.tombstones is not None
    assert taken.tombstones.rows() == [("a", 0), ("\\xff", 1), ("z", 2)]
    assert (taken.received, taken.decoded, taken.rejected.height) == (7, 2, 5)
    assert Intake(json.make(), AB).take(blocks).tombstones is None
    assert Intake(json.make(), AB, meta=META).take([block([b"x"])]).tombstones is None


def test_with_several_topics_rejects_and_places_name_theirs() -> None:
    other = Partition("returns", 0)
    intake = Intake(json.make(), AB, partitions=[P0], several_topics=True)

    taken = intake.take([block([b"x"]), block([b'{"a":1,"c":1}', b"y"], other, 3)])

    assert taken.rejected["_topic"].to_list() == ["orders", "returns"]
    assert taken.rejected["_partition"].to_list() == [0, 0]
    assert taken.rejected["__part"].to_list() == [0, 1]
    assert taken.extra == {"c": (1, "returns p0 @ 3")}
    assert intake.partitions == [P0, other]
    assert intake.number(other) == 1


def test_nothing_taken_has_all_columns_all_the_same() -> None:
    intake = Intake(json.make(), AB, time="a", meta=META, several_topics=True)
    some = intake.take([block([b'{"a":1,"b":"x"}', b"x"])])

    for blocks in ([], [block([b"x"])], [block([b'{"a":1}'])]):
        taken = intake.take(blocks)
        assert taken.rows.schema == some.rows.schema
        assert taken.rejected.schema == some.rejected.schema
    assert shown(some.rows).schema == intake.schema


def test_metadata_columns_are_made_when_asked_for() -> None:
    intake = Intake(json.make(), AB, meta=META)
    first = Records(
        P0,
        [5, 6],
        [1, 2],
        [b'{"a":1}', b'{"a":2}'],
        [b"k", None],
        [[("h", b"\xff")], []],
    )

    taken = intake.take([first, block([b"x", b'{"a":3}'], P1, 7)])

    assert shown(taken.rows).drop("a", "b").rows() == [
        ("orders", 0, 5, at(1), "k", [{"name": "h", "value": b"\xff"}]),
        ("orders", 0, 6, at(2), None, []),
        ("orders", 1, 8, at(T0 + 8), None, []),
    ]


def test_a_key_that_is_no_text_shows_its_bytes() -> None:
    intake = Intake(json.make(), AB, meta=("_key",))
    keys = [b"\xff\x01", "ä".encode(), None]

    taken = intake.take([Records(P0, [1, 2, 3], [1, 2, 3], [b"{}"] * 3, keys)])

    assert taken.rows["_key"].to_list() == ["\\xff\x01", "ä", None]


def test_missing_and_extra_fields_are_reported_with_their_place() -> None:
    intake = Intake(json.make(), AB)

    taken = intake.take(
        [block([b'{"a":1}']), block([b"x", b'{"a":1,"b":"x","c":2}'], P1, 7)]
    )

    assert taken.missing == {"b": 1}
    assert taken.extra == {"c": (1, "p1 @ 8")}


def test_a_user_may_name_a_column_like_one_of_ours() -> None:
    intake = Intake(
        json.make(), pl.Schema({"_key": pl.Int64(), "a": pl.Int64()}), meta=("_key",)
    )

    taken = intake.take([Records(P0, [1], [1], [b'{"_key":5,"a":1}'], [b"k"])])

    assert shown(taken.rows).rows(named=True) == [{"_key_": 5, "a": 1, "_key": "k"}]
    with pytest.raises(UsageError, match="'_key_'"):
        Intake(json.make(), pl.Schema({"_key": pl.Int64(), "_key_": pl.Int64()}))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (pl.Int64(), b"1795352702113"),
        (pl.Float64(), b"1795352702.113"),
        (pl.String(), b'"2026-11-22T13:05:02.113Z"'),
        (pl.String(), b"1795352702113"),
        (pl.Datetime("ms"), b'"2026-11-22T13:05:02.113"'),
        (pl.Datetime("us", "Europe/Berlin"), b'"2026-11-22T14:05:02.113+01:00"'),
    ],
)
def test_the_time_column_becomes_event_time(dtype: pl.DataType, value: bytes) -> None:
    intake = Intake(json.make(), pl.Schema({"t": dtype}), time="t")

    taken = intake.take([block([b'{"t":%s}' % value, b'{"t":null}', b"{}"])])

    assert taken.rows["t"].dtype == pl.Datetime("us", "UTC")
    assert taken.rows["t"].to_list() == [at(T0), None, None]
    assert taken.rows["__time"].to_list() == [at(T0), None, None]
    assert intake.schema["t"] == pl.Datetime("us", "UTC")


def test_a_record_whose_time_is_none_is_rejected_and_not_counted_otherwise() -> None:
    schema = pl.Schema({"t": pl.String(), "a": pl.Int64()})
    intake = Intake(json.make(), schema, time="t")
    good = b'{"t":"2026-11-22T13:05:02.113Z","z":1}'

    taken = intake.take(
        [block([b"x", b'{"t":"abc","y":1,"z":1}', good, b'{"t":7,"a":1}'])]
    )

    assert taken.rows["t"].to_list() == [at(T0)]
    assert taken.rejected["_offset"].to_list() == [0, 1, 3]
    assert (
        taken.rejected["_reason"][1]
        == "t: 'abc' is not a time (ISO text, or a number since 1970)"
    )
    assert taken.missing == {"a": 1}
    assert taken.extra == {"z": (1, "p0 @ 2")}
    assert taken.received == taken.decoded + taken.rejected.height == 4


def test_a_time_column_that_is_not_there_or_holds_no_times_is_refused() -> None:
    with pytest.raises(
        ColumnNotFoundError, match=r"no column 'tme' in orders\. Nearest: 'time'"
    ):
        Intake(
            json.make(), pl.Schema({"time": pl.Int64()}), time="tme", partitions=[P0]
        )
    with pytest.raises(UsageError, match="'a': the column is Boolean"):
        Intake(json.make(), pl.Schema({"a": pl.Boolean()}), time="a")
    with pytest.raises(UsageError, match="Binary"):
        Intake(json.make(), pl.Schema({"a": pl.Binary()}))


def test_the_brokers_timestamp_may_be_named_as_event_time() -> None:
    taken = Intake(json.make(), AB, time="_timestamp").take([block([b"{}"])])

    assert taken.rows["__time"].to_list() == [at(T0)]


def test_redis_ids_are_both_halves_and_their_text() -> None:
    ids = [b"1795352702113-0", b"1795352702113-1", b"1795352702114-12"]
    intake = Intake(json.make(), AB, meta=("_offset", "_timestamp"), ids_are_text=True)

    taken = intake.take([Records(P0, ids, None, [b'{"a":1}', b"x", b'{"a":2,"c":1}'])])

    assert taken.rows["_offset"].to_list() == ["1795352702113-0", "1795352702114-12"]
    assert taken.rows["_timestamp"].to_list() == [at(T0), at(T0 + 1)]
    assert taken.rows.select("__stamp", "__seq").rows() == [(T0, 0), (T0 + 1, 12)]
    assert taken.rejected["_offset"].to_list() == ["1795352702113-1"]
    assert taken.extra["c"] == (1, "p0 @ 1795352702114-12")
    assert intake.offset_text(T0, 3) == "1795352702113-3"


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), min_size=1
    )
)
@settings(deadline=None, max_examples=100)
def test_ids_of_any_size_are_split(halves: list[tuple[int, int]]) -> None:
    stamps, seqs = entry_ids.split([b"%d-%d" % pair for pair in halves])

    assert stamps.tolist() == [min(ms, 2**63 - 1) for ms, _ in halves]
    assert seqs.tolist() == [min(n, 2**63 - 1) for _, n in halves]


@pytest.mark.parametrize(
    ("odd", "halves"), [(b"3", (3, 0)), (b"4-", (4, 0)), (b"-5", (0, 5))]
)
def test_an_id_of_an_odd_form_does_not_shift_its_neighbours(
    odd: bytes, halves: tuple[int, int]
) -> None:
    for ids in ([b"1-2", odd, b"5-6"], [odd, b"5-6"], [b"1-2", odd], [odd]):
        stamps, seqs = entry_ids.split(ids)
        pairs = list(zip(stamps.tolist(), seqs.tolist(), strict=True))
        assert pairs[ids.index(odd)] == halves
        assert set(pairs) <= {(1, 2), halves, (5, 6)}


def test_odd_ids_keep_their_text_and_a_time_within_the_calendar() -> None:
    ids = [b"0-1", b"5", b"18446744073709551615-18446744073709551615"]
    intake = Intake(
        raw.make(), pl.Schema({"value": pl.Binary()}), meta=META, ids_are_text=True
    )

    taken = intake.take([Records(P0, ids, None, [b"a", b"b", b"c"])])

    assert taken.rows["_offset"].to_list() == [each.decode() for each in ids]
    assert taken.rows["_timestamp"].dt.year().to_list() == [1970, 1970, 9999]
    assert taken.rows["__time"].to_list()[1] == at(5)


records = st.sampled_from(
    [None, b"", b"x", b"{}", b'{"a":1}', b'{"a":2,"t":"abc"}', b'{"a":3,"t":"2026-11-22"}',
     b'{"a":"x"}', b'{"c":1,"t":1795352702}', b'{"a":4,\n"t":null}', b'{"a":5}{"a":6}']
)  # fmt: skip


@given(st.lists(records, max_size=20), st.lists(st.integers(0, 20), max_size=3))
@settings(deadline=None, max_examples=60)
def test_however_the_records_are_cut_the_rows_and_rejects_are_the_same(
    values: list[bytes | None], cuts: list[int]
) -> None:
    schema = pl.Schema({"a": pl.Int64(), "t": pl.String()})

    def take(pieces: list[tuple[int, int]], *, together: bool) -> list[Taken]:
        intake = Intake(json.make(), schema, time="t", meta=META)
        blocks = [block(values[i:j], P0, i) for i, j in pieces if i < j]
        return (
            [intake.take(blocks)]
            if together
            else [intake.take([each]) for each in blocks]
        )

    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    pieces = list(pairwise(edges))
    (whole,) = take([(0, len(values))], together=True)

    for parts in (take(pieces, together=True), take(pieces, together=False)):
        assert whole.received == len(values) == sum(part.received for part in parts)
        assert whole.decoded == whole.rows.height == sum(part.decoded for part in parts)
        assert whole.received == whole.decoded + whole.rejected.height
        rows = [row for part in parts for row in part.rows.rows()]
        assert rows == whole.rows.rows()
        rejects = [row for part in parts for row in part.rejected.rows()]
        assert rejects == whole.rejected.rows()
        for name in AB:
            assert whole.missing.get(name, 0) == sum(
                part.missing.get(name, 0) for part in parts
            )
    seqs = [*whole.rows["__seq"], *whole.rejected["__seq"]]
    assert sorted(seqs) == list(range(len(values)))
