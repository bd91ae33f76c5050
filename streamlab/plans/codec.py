"""The binary form in which polars writes expressions (msgpack), read and written back.

JSON would be easier to look at, but is no way back: one float literal in ten comes back changed in
its last bit, and NaN and infinity not at all.
"""

from __future__ import annotations

from typing import TypeAlias, cast

import msgpack

Value: TypeAlias = (
    "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"
)


def unpack(data: bytes) -> Value:
    """The value that `data` holds.

    Raises:
        ValueError: it is not msgpack, or more than one value.
    """
    # msgpack ships no types; an expression's tree holds nothing beyond these kinds.
    return cast("Value", msgpack.unpackb(data, strict_map_key=False))


def pack(value: Value) -> bytes:
    """The value as msgpack."""
    return cast("bytes", msgpack.packb(value))
