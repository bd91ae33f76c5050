"""Choosing a format and a schema from a sample."""

from __future__ import annotations

import json

import polars as pl
import pytest

from streamlab.errors import UnknownNameError
from streamlab.formats.base import Inferred
from streamlab.formats.infer import choose


def sample(*values: object, field: str = "a") -> list[bytes | None]:
    return [json.dumps({field: value}).encode() for value in values]


def inferred(*values: object) -> Inferred:
    return choose(sample(*values)).inferred


def test_objects_are_json_also_beside_tombstones_and_a_few_broken_ones() -> None:
    values = [*sample(*range(96)), b"x", b"[1]", b"{", b"1", None, None, b" "]

    chosen = choose(values)

    assert chosen.format.name == "json"
    assert chosen.known
    assert chosen.inferred.schema == {"a": pl.Int64()}
    assert chosen.shares == pytest.approx(
        {"good": 96 / 103, "tombstone": 2 / 103, "empty": 1 / 103, "broken": 4 / 103}
    )
    assert "96 %" in chosen.sentence


@pytest.mark.parametrize(
    ("payloads", "name", "said"),
    [
        ([b"a,b,1"] * 20, "text", "UTF-8"),
        ([b"[1]"] * 20, "text", "no JSON"),
        (
            [*sample(*range(94)), *[b"x"] * 6],
            "text",
            "94 % of the payloads are JSON objects",
        ),
        ([b"\xff\xfe"] * 20, "raw", "not all are UTF-8"),
        (
            [b"\x00\x00\x00\x00\x29abc"] * 20,
            "raw",
            "looks like Confluent Avro/Protobuf, schema 41",
        ),
    ],
)
def test_what_is_no_json_is_text_or_raw(
    payloads: list[bytes], name: str, said: str
) -> None:
    chosen = choose(payloads)

    assert chosen.format.name == name
    assert said in chosen.sentence
    assert "csv" not in chosen.sentence


def test_without_a_record_the_schema_is_unknown() -> None:
    assert not choose([]).known
    assert not choose([None, b""]).known
    assert choose([], "text").inferred.schema == {"text": pl.String()}


def test_the_users_format_is_taken_as_it_is() -> None:
    assert choose(sample(1), "raw").format.name == "raw"
    with pytest.raises(UnknownNameError, match="jsn"):
        choose([], "jsn")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2, None], pl.Int64()),
        ([1, 2.5], pl.Float64()),
        ([True, None], pl.Boolean()),
        (["x"], pl.String()),
        ([None], pl.String()),
        ([2**63], pl.String()),
        ([1, -(2**63) - 1], pl.String()),
        (
            [{"x": 1}, {"y": "b", "x": 2.5}],
            pl.Struct({"x": pl.Float64(), "y": pl.String()}),
        ),
        ([{}], pl.String()),
        ([[1], [2.5, None], []], pl.List(pl.Float64())),
        ([[1, "x"]], pl.String()),
        ([[1], ["x"]], pl.String()),
        ([[]], pl.List(pl.String())),
        ([[{"x": [True]}]], pl.List(pl.Struct({"x": pl.List(pl.Boolean())}))),
        ([1] * 18 + ["x"] * 2, pl.String()),
        ([1] * 19 + ["x"], pl.Int64()),
        ([{f"user{i}": i} for i in range(300)], pl.String()),
    ],
)
def test_a_field_has_the_type_of_nearly_all_its_values(
    values: list[object], dtype: pl.DataType
) -> None:
    found = inferred(*values)

    assert found.schema == {"a": dtype}
    # The schema must be one that the format can read.
    choose(sample(*values)).format.decode(sample(*values), found.schema)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([12.5] * 299 + ["12,50"], '0.33 % are text ("12,50") → rejected'),
        (["x"] * 99 + [5], "1 % are numbers (5) → JSON text"),
        ([1, "x"], "mixed (50 % numbers, 50 % text): kept as JSON text"),
        ([[1, "x"]], "mixed lists: kept as JSON text"),
        ([2**63], "whole numbers beyond 2^63: kept as text"),
        (
            [1795352702113, 1795352702999],
            'looks like epoch ms (2026-11-22 13:05:02 UTC): time="a"',
        ),
        ([1795352702.5], 'looks like epoch s (2026-11-22 13:05:02 UTC): time="a"'),
        (
            ["2026-11-22T10:00:00Z"],
            'looks like ISO time (2026-11-22T10:00:00): time="a"',
        ),
        ([1, 2], ""),
        ([True], ""),
        (["2026 was fine"], ""),
    ],
)
def test_remarks_say_what_will_happen(values: list[object], note: str) -> None:
    assert inferred(*values).notes.get("a", "") == note


def test_the_example_is_one_that_will_not_be_rejected() -> None:
    found = inferred("12,50", *[1.5] * 30)

    assert found.examples == {"a": "1.5"}


def test_presence_counts_the_records_that_have_the_field() -> None:
    values = [b'{"a":1}', b'{"a":null,"b":2}', b'{"a":1,"b":2}', b'{"a":1}']

    assert choose(values).inferred.present == {"a": 1.0, "b": 0.5}


def test_fields_called_like_our_columns_are_marked_and_never_meet() -> None:
    chosen = choose([b'{"_key":1,"_key_":"x","__time":2}'])

    assert chosen.inferred.schema == {
        "_key_": pl.Int64(),
        "_key__": pl.String(),
        "__time_": pl.Int64(),
    }
    assert chosen.inferred.notes["_key_"] == "the field '_key', renamed"
    rows = chosen.format.decode(
        [b'{"_key":1,"_key_":"x","__time":2}'], chosen.inferred.schema
    ).frame
    assert rows.rows() == [(1, "x", 2)]


def test_a_deeply_nested_sample_does_no_harm() -> None:
    payload = b'{"a":' * 150 + b"1" + b"}" * 150

    chosen = choose([payload])

    assert chosen.format.decode([payload], chosen.inferred.schema).rejected == []
    assert choose([b"[" * 100_000]).format.name == "text"
