"""JSON decoding a second time, by the rules on top of `streamlab/formats/json.py` alone.

Slow and plain, built on Python's own `json`; nothing of the library takes part.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import polars as pl

REJECTED = "rejected"


class Fields(list[tuple[str, Any]]):
    """An object as it stands in the document."""


class NotARow(Exception):
    """The record is rejected."""


def row(payload: bytes | None, schema: pl.Schema) -> object:
    """The record's row as a tuple, or `REJECTED`."""
    try:
        demand(payload is not None)
        found = document(payload or b"")
        demand(isinstance(found, Fields))
        return tuple(value(first(found, name), dtype) for name, dtype in schema.items())
    except NotARow:
        return REJECTED


def document(payload: bytes) -> Any:
    try:
        text = payload.decode()
        found = json.loads(
            text, object_pairs_hook=Fields, parse_constant=refuse, parse_int=whole,
            parse_float=double,
        )  # fmt: skip
    except (ValueError, RecursionError):
        raise NotARow from None
    if re.search("[\ud800-\udfff]", json.dumps(found, ensure_ascii=False)):
        raise NotARow
    return found


def value(found: Any, dtype: Any) -> Any:
    if found is None:
        return None
    if dtype == pl.String:
        return found if isinstance(found, str) else as_text(found)
    if dtype == pl.Struct:
        demand(isinstance(found, Fields))
        return {f.name: value(first(found, f.name), f.dtype) for f in dtype.fields}
    if dtype == pl.List:
        demand(isinstance(found, list) and not isinstance(found, Fields))
        return [value(item, dtype.inner) for item in found]
    return scalar(found, dtype)


def scalar(found: Any, dtype: Any) -> Any:
    kinds = {pl.Boolean: (bool,), pl.Float64: (int, float), pl.Int64: (int,)}
    (allowed,) = (types for each, types in kinds.items() if dtype == each)
    demand(type(found) in allowed)
    demand(dtype != pl.Int64 or -(2**63) <= found < 2**63)
    return float(found) if dtype == pl.Float64 else found


def as_text(found: Any) -> str:
    if isinstance(found, Fields):
        inside = ", ".join(f"{as_text(key)}: {as_text(item)}" for key, item in found)
        return "{" + inside + "}"
    if isinstance(found, list):
        return "[" + ", ".join(map(as_text, found)) + "]"
    if isinstance(found, float):
        return format(Decimal(repr(found)), "f").removesuffix(".0")
    return json.dumps(found, ensure_ascii=False)


def first(fields: Fields, name: str) -> Any:
    return next((item for key, item in fields if key == name), None)


def whole(digits: str) -> int:
    number = int(digits)
    demand(-(2**127) <= number < 2**128)
    return number


def double(digits: str) -> float:
    number = float(digits)
    demand(number not in (float("inf"), float("-inf")))
    return number


def demand(fact: bool) -> None:  # noqa: FBT001  # a plain assertion
    if not fact:
        raise NotARow


def refuse(_: str) -> None:
    raise NotARow
