"""The formats text and raw."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.errors import EncodeError, UsageError
from streamlab.formats import raw, text
from streamlab.formats.base import Format
from tests.contracts.format import FormatContract

TEXT = pl.Schema({"text": pl.String()})
RAW = pl.Schema({"value": pl.Binary()})


class TestText(FormatContract):
    good: Sequence[bytes] = (
        b"a line",
        "zwei Zeilen\nund ä".encode(),
        b"",
        b"\x00",
        b'{"a":1}',
    )
    bad: Sequence[bytes | None] = (None, b"\xff", b"good then \xc3")
    schema = TEXT

    @pytest.fixture
    def codec(self) -> Format:
        return text.make()

    @given(st.lists(st.text()))
    @settings(deadline=None, max_examples=50)
    def test_any_text_comes_back(self, lines: list[str]) -> None:
        frame = pl.DataFrame({"text": lines}, schema=TEXT)

        again = text.make().decode(text.make().encode(frame), TEXT)

        assert again.frame.equals(frame)

    def test_the_reason_names_the_byte(self, codec: Format) -> None:
        reasons = [
            each.reason for each in codec.decode([b"ab\xff", None], TEXT).rejected
        ]

        assert reasons == ["not UTF-8: byte 0xff at 2", "empty payload (tombstone)"]

    def test_another_name_for_the_column_is_the_users_choice(
        self, codec: Format
    ) -> None:
        schema = pl.Schema({"line": pl.String()})

        assert codec.decode([b"x"], schema).frame.to_dict(as_series=False) == {
            "line": ["x"]
        }

    def test_a_schema_of_other_columns_is_refused(self, codec: Format) -> None:
        with pytest.raises(UsageError, match="one column of type String"):
            codec.decode([], pl.Schema({"a": pl.Int64()}))

    def test_rows_it_can_not_write_are_refused(self, codec: Format) -> None:
        with pytest.raises(EncodeError, match=r"a \(Int64\)"):
            codec.encode(pl.DataFrame({"a": [1]}))
        with pytest.raises(EncodeError, match="null"):
            codec.encode(pl.DataFrame({"a": ["x", None]}))


class TestRaw(FormatContract):
    good: Sequence[bytes] = (b"\x00\xff", b"", b"text")
    bad: Sequence[bytes | None] = (None,)
    schema = RAW

    @pytest.fixture
    def codec(self) -> Format:
        return raw.make()

    @given(st.lists(st.binary()))
    @settings(deadline=None, max_examples=50)
    def test_any_bytes_come_back(self, payloads: list[bytes]) -> None:
        frame = pl.DataFrame({"value": payloads}, schema=RAW)

        again = raw.make().decode(raw.make().encode(frame), RAW)

        assert again.frame.equals(frame)
