from __future__ import annotations

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest

from streamlab.errors import UnknownNameError
from streamlab.parity import decode_reference

START = datetime(2026, 1, 1, tzinfo=UTC)
JSON = pl.Schema(
    {
        "i": pl.Int64(),
        "f": pl.Float64(),
        "s": pl.String(),
        "b": pl.Boolean(),
        "at": pl.Datetime("us", "UTC"),
        "day": pl.Date(),
        "l": pl.List(pl.Int64()),
        "o": pl.Struct({"x": pl.Int64(), "y": pl.String()}),
        "i8": pl.Int8(),
        "e": pl.Enum(["a", "b"]),
        "_key_": pl.String(),
    }
)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("i", "5", 5),
        ("i", "-9223372036854775808", -(2**63)),
        ("i", "null", None),
        ("f", "5", 5.0),
        ("f", "1e3", 1000.0),
        ("s", '"5"', "5"),
        ("s", "5", "5"),
        ("s", "1.50", "1.5"),
        ("s", "1e3", "1000"),
        ("s", "-0.0", "-0"),
        ("s", "true", "true"),
        ("s", '{"b":[1,2.0,null,"\\n"],"b":{}}', '{"b": [1, 2, null, "\\n"], "b": {}}'),
        ("s", '"\\ud83d\\ude00"', "😀"),
        ("b", "false", False),
        ("at", '"2026-01-01T01:00:00+01:00"', START),
        ("at", '"2026-01-01 00:00:00"', START),
        ("at", "1767225600", START),
        ("at", "1767225600000", START),
        ("at", "1767225600000000000", START),
        ("at", '"1767225600"', START),
        ("day", '"2026-01-01"', date(2026, 1, 1)),
        ("l", "[1,null]", [1, None]),
        ("o", '{"y":2,"z":0}', {"x": None, "y": "2"}),
        ("i8", "-128", -128),
        ("e", '"b"', "b"),
        ("_key", '"k"', "k"),
    ],
)
def test_a_value_is_read_as_its_column_takes_it(
    field: str, text: str, value: object
) -> None:
    frame, rejected = decode_reference([f'{{"{field}":{text}}}'.encode()], JSON, "json")

    assert rejected == []
    assert frame.schema == JSON
    assert frame["_key_" if field == "_key" else field].to_list() == [value]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b'{"s":"\xff"}',
        b'{"s":"\n"}',
        b'{"s":"\\ud800"}',
        b'{"z":"\\ud800"}',
        b'{"i":1.0}',
        b'{"i":"1"}',
        b'{"i":true}',
        b'{"i":9223372036854775808}',
        b'{"z":1e400}',
        b'{"z":-170141183460469231731687303715884105729}',
        b'{"f":NaN}',
        b'{"f":"1"}',
        b'{"b":1}',
        b'{"at":"soon"}',
        b'{"at":12}',
        b'{"day":"2026-01-01T00:00:01"}',
        b'{"l":[1.5]}',
        b'{"l":{}}',
        b'{"o":[]}',
        b'{"o":{"x":"1"}}',
        b'{"i8":128}',
        b'{"e":"c"}',
        b'{"z":' + b"[" * 1024 + b"]" * 1024 + b"}",
    ],
)
def test_what_does_not_fit_rejects_its_record_and_no_other(
    payload: bytes | None,
) -> None:
    good = b'{"i":1}'

    frame, rejected = decode_reference([good, payload, good], JSON, "json")

    assert rejected == [1]
    assert frame["i"].to_list() == [1, 1]


def test_of_a_repeated_field_the_first_counts() -> None:
    frame, rejected = decode_reference(
        [b'{"i":1,"i":"no"}', b'{"i":"no","i":1}'], JSON, "json"
    )

    assert rejected == [1]
    assert frame["i"].to_list() == [1]


def test_a_record_may_be_nested_deeper_than_python_likes() -> None:
    deep = b'{"z":' + b"[" * 1023 + b"]" * 1023 + b"}"

    assert decode_reference([deep], JSON, "json")[1] == []


def test_text_and_raw_are_the_payload_itself() -> None:
    text, bad_text = decode_reference(
        ["é".encode(), b"\xff", None], pl.Schema({"text": pl.String()}), "text"
    )
    raw, bad_raw = decode_reference(
        [b"\xff", None], pl.Schema({"value": pl.Binary()}), "raw"
    )

    assert (text["text"].to_list(), bad_text) == (["é"], [1, 2])
    assert (raw["value"].to_list(), bad_raw) == ([b"\xff"], [1])
    with pytest.raises(UnknownNameError):
        decode_reference([b""], JSON, "jsn")


def test_thousands_of_records_keep_their_order() -> None:
    values = [json.dumps({"i": n, "s": str(n)}).encode() for n in range(2000)]

    frame, rejected = decode_reference(values, JSON, "json")

    assert rejected == []
    assert frame["i"].to_list() == list(range(2000))
