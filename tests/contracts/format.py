"""What every format must do; a format's test class inherits this and says what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.formats.base import Decoded, Format


def kept_places(decoded: Decoded, total: int) -> list[int]:
    """Places of the kept records, whichever way they are given."""
    return list(range(total)) if decoded.kept is None else decoded.kept.to_list()


def verdicts(
    codec: Format, values: Sequence[bytes | None], schema: pl.Schema
) -> list[object]:
    """Per record: its row, or the reason why there is none."""
    decoded = codec.decode(values, schema)
    out: dict[int, object] = {each.index: each.reason for each in decoded.rejected}
    rows = zip(kept_places(decoded, len(values)), decoded.frame.rows(), strict=True)
    return [each for _, each in sorted((out | dict(rows)).items())]


class FormatContract:
    """Set `good`, `bad`, `schema` and the fixture `codec`."""

    good: Sequence[bytes]
    bad: Sequence[bytes | None]
    schema: pl.Schema

    @pytest.fixture
    def codec(self) -> Format:
        raise NotImplementedError

    def test_good_records_become_rows_and_none_is_rejected(self, codec: Format) -> None:
        decoded = codec.decode(self.good, self.schema)

        assert decoded.frame.schema == self.schema
        assert decoded.frame.height == len(self.good)
        assert decoded.kept is None
        assert not decoded.rejected

    def test_bad_records_are_rejected_each_with_a_reason(self, codec: Format) -> None:
        decoded = codec.decode(self.bad, self.schema)

        assert [each.index for each in decoded.rejected] == list(range(len(self.bad)))
        assert all(each.reason for each in decoded.rejected)
        assert decoded.frame.height == 0
        assert decoded.frame.schema == self.schema

    def test_every_record_is_either_kept_or_rejected(self, codec: Format) -> None:
        mixed = [*self.good, *self.bad, *self.good]

        decoded = codec.decode(mixed, self.schema)

        places = [
            *kept_places(decoded, len(mixed)),
            *(r.index for r in decoded.rejected),
        ]
        assert sorted(places) == list(range(len(mixed)))
        assert decoded.kept is not None
        assert decoded.kept.dtype == pl.UInt32

    def test_a_verdict_does_not_depend_on_the_neighbours(self, codec: Format) -> None:
        records = [*self.good, *self.bad]

        @given(st.lists(st.sampled_from(records), max_size=12), st.integers(0, 12))
        @settings(deadline=None, max_examples=40)
        def check(values: list[bytes | None], cut: int) -> None:
            whole = verdicts(codec, values, self.schema)
            parts = [*verdicts(codec, values[:cut], self.schema)]
            parts += verdicts(codec, values[cut:], self.schema)
            alone = [verdicts(codec, [value], self.schema)[0] for value in values]
            assert whole == parts == alone

        check()

    def test_no_records_give_an_empty_frame_of_the_schema(self, codec: Format) -> None:
        decoded = codec.decode([], self.schema)

        assert decoded.frame.schema == self.schema
        assert decoded.frame.height == 0
        assert not decoded.rejected

    def test_what_is_written_is_read_back(self, codec: Format) -> None:
        frame = codec.decode(self.good, self.schema).frame

        again = codec.decode(codec.encode(frame), self.schema)

        assert again.frame.equals(frame)
        assert not again.rejected

    def test_a_sample_of_good_records_fits_and_gives_a_schema(
        self, codec: Format
    ) -> None:
        inferred = codec.infer(self.good)

        assert codec.fits(self.good) == 1.0
        assert codec.decode(self.good, inferred.schema).rejected == []
        assert set(inferred.present) == set(inferred.schema)
        assert set(inferred.examples) == set(inferred.schema)

    def test_an_empty_sample_fits_nothing(self, codec: Format) -> None:
        assert codec.fits([]) == 0.0
        assert codec.fits([None]) == 0.0
