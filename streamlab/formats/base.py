"""What a format must do. Its module has one function, `make() -> Format`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import polars as pl


class Rejected(NamedTuple):
    """One record that could not be decoded.

    Attributes:
        index: its place in the block.
        reason: why, in words for the user.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, on purpose
    reason: str


class Extra(NamedTuple):
    """A field outside the schema: how often it came, and where in the block first."""

    count: int  # type: ignore[assignment]  # hides tuple.count, on purpose
    index: int  # type: ignore[assignment]


class Decoded(NamedTuple):
    """A block of payloads as columns. kept + rejected = all, always.

    Attributes:
        frame: one row per kept record, in the order of the block, columns and types exactly
            those of the schema.
        kept: the kept records' places in the block (UInt32, rising); None if all were kept.
        rejected: the others, rising by index.
        missing: per column, how many kept records lack the field (present-but-null not counted).
        extra: per unknown field, how often it came and where first.
    """

    frame: pl.DataFrame
    kept: pl.Series | None
    rejected: Sequence[Rejected]
    missing: Mapping[str, int]
    extra: Mapping[str, Extra]


class Inferred(NamedTuple):
    """What a sample says.

    Attributes:
        schema: column → type.
        notes: column → remark for the card ('looks like epoch ms (2026-…): time="created_at"').
        present: column → share of the sample's good records that have the field, 0..1.
        examples: column → one value, as text.
    """

    schema: pl.Schema
    notes: Mapping[str, str]
    present: Mapping[str, float]
    examples: Mapping[str, str]


class Format(Protocol):
    """Turns payloads into columns and back. Holds no state: one verdict per record, whatever
    stands beside it in the block.
    """

    name: str

    def fits(self, sample: Sequence[bytes | None]) -> float:
        """Share of the sample's non-null payloads that are of this format, 0..1."""
        ...

    def infer(self, sample: Sequence[bytes | None]) -> Inferred:
        """The schema that a sample suggests."""
        ...

    def decode(self, values: Sequence[bytes | None], schema: pl.Schema) -> Decoded:
        """Decode a block.

        The verdict and the value of a record depend on that record and the schema alone.
        """
        ...

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """One payload per row.

        Raises:
            EncodeError: a column that the format can't write.
        """
        ...
