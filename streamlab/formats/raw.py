"""Raw: the payload as one Binary column, byte for byte. Only null ones are rejected."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from streamlab.formats.base import Decoded, Inferred, Rejected
from streamlab.formats.text import only_column, shown, sole_column

COLUMN = "value"


class Raw:
    """The format "raw"."""

    name = "raw"

    def fits(self, sample: Sequence[bytes | None]) -> float:
        return 1.0 if any(payload is not None for payload in sample) else 0.0

    def infer(self, sample: Sequence[bytes | None]) -> Inferred:
        first = next((payload for payload in sample if payload), b"")
        schema = pl.Schema({COLUMN: pl.Binary()})
        return Inferred(schema, {}, {COLUMN: 1.0}, {COLUMN: shown(repr(first)[2:-1])})

    def decode(self, values: Sequence[bytes | None], schema: pl.Schema) -> Decoded:
        raw = pl.Series(
            only_column(schema, pl.Binary(), self.name), values, dtype=pl.Binary
        )
        if not raw.null_count():
            return Decoded(raw.to_frame(), None, [], {}, {})
        empty = raw.is_null().arg_true().to_list()
        rejected = [Rejected(i, "empty payload (tombstone)") for i in empty]
        kept = raw.is_not_null().arg_true()
        return Decoded(raw.drop_nulls().to_frame(), kept, rejected, {}, {})

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        return sole_column(frame, pl.Binary(), self.name).to_list()


def make() -> Raw:
    """The format, for `plugins`."""
    return Raw()
