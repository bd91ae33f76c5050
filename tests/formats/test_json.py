"""The format json: one parser, one verdict."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.errors import UsageError
from streamlab.formats import json_read
from streamlab.formats.base import Extra, Format
from streamlab.formats.json import make
from tests.contracts.format import FormatContract, verdicts
from tests.formats import odd, oracle

S = odd.SCHEMA
GOOD = b'{"i":7,"f":1.5,"s":"good","b":true,"st":{"x":1,"y":"z"},"l":[1],"ls":["a"],"lo":[]}'
BAD = b'{"i":"bad"}'
AB = pl.Schema({"a": pl.Int64(), "b": pl.String()})


class TestJson(FormatContract):
    good: Sequence[bytes] = (
        b'{"a":1,"b":"x"}',
        b'{"a":null,"b":null}',
        b' {"b":"y",\n"a":-5}\n',
    )
    bad: Sequence[bytes | None] = (
        None,
        b"",
        b" \n",
        b"[]",
        b'{"a":"x","b":"x"}',
        b"x",
        b'{"a":1}{"a":2}',
        b'{"a":"\xff"}',
    )
    schema = AB

    @pytest.fixture
    def codec(self) -> Format:
        return make()


def same(one: object, other: object) -> bool:
    """Equal, and -0.0 is not 0.0."""
    return repr(one) == repr(other)


@pytest.fixture(scope="module")
def alone() -> list[tuple[bytes | None, object]]:
    """Every odd record with its verdict when it comes alone."""
    return [(record, verdicts(make(), [record], S)[0]) for record in odd.records()]


def test_the_verdict_and_the_value_are_those_of_a_plain_second_reading(
    alone: list[tuple[bytes | None, object]],
) -> None:
    for record, verdict in alone:
        expected = oracle.row(record, S)
        if expected == oracle.REJECTED:
            assert isinstance(verdict, str), (record, verdict)
        else:
            assert same(verdict, expected), (record, verdict, expected)


@pytest.mark.parametrize(
    ("company", "step"),
    [
        (GOOD, 1),
        (BAD, 1),
        (None, 5),
        (b"", 5),
        (b'{"s":"two\nlines"}', 5),
        (b"{\n}", 5),
    ],
)
def test_an_odd_record_has_one_verdict_in_any_company(
    alone: list[tuple[bytes | None, object]], company: bytes | None, step: int
) -> None:
    (theirs,) = verdicts(make(), [company], S)
    for record, verdict in alone[::step]:
        found = verdicts(make(), [company, record, company], S)
        assert same(found, [theirs, verdict, theirs]), record


@pytest.mark.parametrize("worth_sharing", [1, 250_000])
@pytest.mark.parametrize("seed", range(6))
def test_all_odd_records_in_one_block_keep_their_verdicts_and_places(
    alone: list[tuple[bytes | None, object]],
    seed: int,
    worth_sharing: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in a block that several threads parse."""
    monkeypatch.setattr(json_read, "WORTH_SHARING", worth_sharing)
    mixed = list(alone)
    random.Random(seed).shuffle(mixed)  # noqa: S311  # an order, no secret

    found = verdicts(make(), [record for record, _ in mixed], S)

    for (record, verdict), got in zip(mixed, found, strict=True):
        assert same(got, verdict), record


def test_many_bad_records_among_many_good_ones_are_found_each() -> None:
    good: Sequence[bytes] = [b'{"a":%d}' % i for i in range(3000)]
    mixed: list[bytes | None] = list(good)
    mixed[::20] = [b'{"a":%d.5}' % i for i in range(150)]

    decoded = make().decode(mixed, AB)

    assert [each.index for each in decoded.rejected] == list(range(0, 3000, 20))
    assert decoded.kept is not None
    assert decoded.frame["a"].to_list() == decoded.kept.to_list()
    assert decoded.rejected[1].reason == "a: 1.5 is not a whole number"


@pytest.mark.parametrize(
    "bad", [b'{"a":1}\n{"a":2}', b"", b'{"a":', b"\n", b'{"a":"x"}']
)
def test_a_block_that_threads_share_is_cut_between_records(
    bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_read, "WORTH_SHARING", 1)
    good: list[bytes | None] = [b'{"a":%d,"b":"x"}' % i for i in range(7)]

    for place in range(8):
        decoded = make().decode([*good[:place], bad, *good[place:]], AB)
        assert decoded.frame["a"].to_list() == list(range(7))
        assert [each.index for each in decoded.rejected] == [place]
    assert make().decode(good, AB).frame["a"].to_list() == list(range(7))


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "y", "p", "q", "é", '"']), inner, max_size=3
        )
    ),
    max_leaves=6,
)
payloads = st.dictionaries(st.sampled_from([*S, "extra"]), documents, max_size=4).map(
    lambda record: json.dumps(record).encode()
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A payload with a few bytes put in, taken out or changed."""
    payload = bytearray(draw(payloads))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(payload)))
        cut = draw(st.integers(0, 2))
        payload[at : at + cut] = draw(st.sampled_from([b"", b"\n", b'"', b"\\", b",", b"1", b"\xff", b"{", b"}", b" ", b"\x00", b"e", b"."]))  # fmt: skip
    return bytes(payload)


@given(st.lists(st.none() | payloads | damaged(), max_size=8), st.integers(0, 8))
@settings(deadline=None, max_examples=80)
def test_any_cut_of_any_records_gives_the_rows_of_a_second_reading(
    values: list[bytes | None], cut: int
) -> None:
    whole = verdicts(make(), values, S)

    assert same(
        whole, verdicts(make(), values[:cut], S) + verdicts(make(), values[cut:], S)
    )
    for value, verdict in zip(values, whole, strict=True):
        expected = oracle.row(value, S)
        rejected = expected == oracle.REJECTED
        assert isinstance(verdict, str) if rejected else same(verdict, expected), value


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "empty payload (tombstone)"),
        (b" ", "empty payload"),
        (b"[1]", 'an array, not an object: format="text" keeps such records'),
        (b"3", 'a number, not an object: format="text" keeps such records'),
        (b"true", 'true, not an object: format="text" keeps such records'),
        (b'{"a":"12,50"}', 'a: "12,50" is text, not a number'),
        (b'{"a":1.5}', "a: 1.5 is not a whole number"),
        (b'{"a":9223372036854775808}', "a: 9223372036854775808 does not fit Int64"),
        (b'{"a":true}', "a: true is true, not a number"),
        (b'{"o":{"x":"q"}}', 'o.x: "q" is text, not a number'),
        (b'{"o":[{"x":1}]}', 'o: [{"x": 1}] is an array, not an object'),
        (b'{"n":[1,"2"]}', 'n[1]: "2" is text, not a number'),
        (b'{"a":1}{"a":2}', "not one JSON object: more begins at character 7"),
        (b'{"a":1,}', "not JSON: "),
        (b'{"a":NaN}', "not JSON: NaN is no JSON number"),
        (b'{"b":"\xff"}', "not UTF-8: byte 0xff at 6"),
        (b'{"b":"\\ud800"}', "not valid Unicode: "),
        (b'{"d":"soon"}', "d: 'soon' is not a time"),
        (b'{"k":300}', "k: 300 is not Int8"),
    ],
)
def test_a_reason_speaks_of_the_users_field(record: bytes | None, reason: str) -> None:
    schema = pl.Schema(
        {**AB, "o": pl.Struct({"x": pl.Int64()}), "n": pl.List(pl.Int64()),
         "d": pl.Datetime("us"), "k": pl.Int8()}
    )  # fmt: skip

    (rejected,) = make().decode([record], schema).rejected

    assert rejected.reason.startswith(reason)


def counts(
    values: Sequence[bytes], schema: pl.Schema = AB
) -> tuple[dict[str, int], dict[str, Extra]]:
    decoded = make().decode(values, schema)
    return dict(decoded.missing), dict(decoded.extra)


def test_missing_and_extra_fields_are_counted_and_null_is_not_missing() -> None:
    values = [
        b'{"a":1,"b":"x"}',
        b'{"a":null,"b":"x"}',
        b'{"b":"x","c":1}',
        b'{"c":2,"d":null,"a":1}',
    ]

    assert counts(values) == ({"a": 1, "b": 1}, {"c": Extra(2, 2), "d": Extra(1, 3)})


def test_the_place_of_an_extra_field_counts_rejected_records_too() -> None:
    assert counts([b"x", b'{"a":1,"b":"x","c":1}'])[1] == {"c": Extra(1, 1)}


@pytest.mark.parametrize(
    "record",
    [
        b'{"a":1,"b":"\\":\\":"}',
        b'{"a" :1,"b":"x"}',
        b'{"a":1,"b":":"}',
        b'{"a":1,"b":{"c":1}}',
        b'{"a":1,"b":"12:30 : 5"}',
    ],
)
def test_colons_and_quotes_in_values_are_no_fields(record: bytes) -> None:
    assert counts([record] * 3) == ({}, {})
    # What one colon more or less hides, the other must not make up for.
    assert counts([record, b'{"a" :1,"b":"x","c":2}'])[1] == {"c": Extra(1, 1)}


def test_fields_beyond_a_struct_are_extra_by_their_path() -> None:
    schema = pl.Schema(
        {"o": pl.Struct({"x": pl.Int64()}), "l": pl.List(pl.Struct({"y": pl.Int64()}))}
    )
    values = [
        b'{"o":{"x":1},"l":[]}',
        b'{"o":{"x":1,"z":2},"l":[{"y":1},{"y":1,"w":0}]}',
        b'{"o":null,"l":null}',
    ]

    assert counts(values, schema) == ({}, {"o.z": Extra(1, 1), "l.w": Extra(1, 1)})


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", '":', "d "]), st.none() | st.integers(0, 9)), min_size=1), st.booleans())  # fmt: skip
@settings(deadline=None, max_examples=80)
def test_counts_are_exact(records: list[dict[str, int | None]], spaced: bool) -> None:  # noqa: FBT001
    separators = (", ", " : ") if spaced else (",", ":")
    schema = pl.Schema({"a": pl.Int64(), "b": pl.Int64()})

    missing, extra = counts(
        [json.dumps(r, separators=separators).encode() for r in records], schema
    )

    lack = {name: sum(name not in record for record in records) for name in schema}
    assert missing == {name: count for name, count in lack.items() if count}
    unknown = [name for record in records for name in record if name not in schema]
    assert {name: each.count for name, each in extra.items()} == {
        name: unknown.count(name) for name in unknown
    }
    for name, each in extra.items():
        assert each.index == next(
            i for i, record in enumerate(records) if name in record
        )


def test_text_columns_hold_json_text_also_where_the_parser_would_spoil_it() -> None:
    schema = pl.Schema(
        {
            "s": pl.String(),
            "o": pl.Struct({"t": pl.String()}),
            "l": pl.List(pl.String()),
        }
    )
    path = {"dir": "C:\\temp", 'a"b': "\x01\t", "n": [1.0, -0.0, 1e21, None, True]}
    wide = {f"k{i}": i for i in range(40)}
    record = {"s": path, "o": {"t": wide}, "l": [path, "plain [text]", 3]}

    frame = (
        make()
        .decode([b'{"s":"a"}', json.dumps(record).encode(), b'{"s":"{}"}'], schema)
        .frame
    )

    text = '{"dir": "C:\\\\temp", "a\\"b": "\\u0001\\t", "n": [1, -0, 1000000000000000000000, null, true]}'
    assert frame["s"].to_list() == ["a", text, "{}"]
    assert frame["o"][1] == {"t": json.dumps(wide)}
    assert frame["l"][1].to_list() == [text, "plain [text]", "3"]


def test_of_a_repeated_key_the_first_counts_also_where_text_is_written_anew() -> None:
    schema = pl.Schema({"s": pl.String()})
    payload = b'{"s":["\\\\"],"s":{"a":"\\\\"},"t":1}'

    assert make().decode([payload], schema).frame["s"].to_list() == ['["\\\\"]']


@pytest.mark.parametrize(
    ("dtype", "good", "value", "bad"),
    [
        (pl.Int8(), b"-128", -128, b"128"),
        (pl.UInt16(), b"65535", 65535, b"-1"),
        (pl.UInt64(), b"18446744073709551615", 2**64 - 1, b"-1"),
        (pl.Float32(), b"0.5", 0.5, b"3e39"),
        (pl.Date(), b'"2026-11-22"', date(2026, 11, 22), b'"2026-11-22T01:00:00Z"'),
        (pl.Enum(["a"]), b'"a"', "a", b'"b"'),
        (pl.Datetime("ms"), b'"2026-11-22"', datetime(2026, 11, 22), b'"soon"'),  # noqa: DTZ001
    ],
)
def test_a_value_out_of_its_types_range_rejects_its_record_alone(
    dtype: pl.DataType, good: bytes, value: object, bad: bytes
) -> None:
    schema = pl.Schema({"a": dtype})
    values = [b'{"a":%s}' % each for each in (good, bad, b"null", good)]

    decoded = make().decode(values, schema)

    assert decoded.frame.schema == schema
    assert decoded.frame["a"].to_list() == [value, None, value]
    assert [each.index for each in decoded.rejected] == [1]


def test_what_is_nested_too_deeply_is_rejected_and_harms_nobody() -> None:
    deep = b'{"b":%s}'
    values = [deep % (b"[" * n + b'"\\\\"' + b"]" * n) for n in (150, 250, 950, 5000)]

    decoded = make().decode([b'{"a":1}', *values, b'{"a":2}'], AB)

    assert [each.index for each in decoded.rejected] == [2, 3, 4]
    deepest = b"[" * 1010 + b'{":":"]\\"","y":{}}' + b"]" * 1010
    numbers = pl.Schema({"a": pl.Int64(), "b": pl.Int64()})
    found = counts([b'{"a":1,"z\\"":%s}' % deepest], numbers)
    assert found == ({"b": 1}, {'z"': Extra(1, 0)})


def test_a_field_called_like_one_of_our_columns_gets_a_mark() -> None:
    schema = pl.Schema({"_timestamp_": pl.Int64(), "_timestamp__": pl.Int64()})
    payload = b'{"_timestamp":5,"_timestamp_":6}'

    decoded = make().decode([payload], schema)

    assert decoded.frame.rows() == [(5, 6)]
    assert make().encode(decoded.frame) == [payload]


def test_without_columns_records_are_still_judged() -> None:
    decoded = make().decode([b"{}", b'{"a":1}', b"x", b""], pl.Schema({}))

    assert decoded.kept is not None
    assert decoded.kept.to_list() == [0, 1]
    assert [each.index for each in decoded.rejected] == [2, 3]


@pytest.mark.parametrize("dtype", [pl.Binary(), pl.Duration("us"), pl.Datetime("ns"), pl.List(pl.Date), pl.Struct([]), pl.Object()])  # fmt: skip
def test_a_type_that_json_can_not_be_read_as_is_refused(dtype: pl.DataType) -> None:
    with pytest.raises(UsageError, match="column 'a' is"):
        make().decode([], pl.Schema({"a": dtype}))


def test_numbers_come_as_the_nearest_double() -> None:
    rng = random.Random(1)  # noqa: S311  # numbers, no secrets
    texts = [
        repr(rng.uniform(-1, 1) * 10.0 ** rng.randint(-300, 300)) for _ in range(2000)
    ]
    texts += [f"{rng.randint(0, 10**25)}.{rng.randint(0, 10**25)}" for _ in range(500)]
    values = [b'{"f":%s}' % text.encode() for text in texts]

    found = make().decode(values, pl.Schema({"f": pl.Float64()})).frame["f"].to_list()

    assert found == [float(text) for text in texts]
    assert not any(map(math.isinf, found))
