"""A plan's fingerprint: the same for the same plan in another process."""

from __future__ import annotations

from dataclasses import fields
from hashlib import blake2b
from typing import Any

import polars as pl

from streamlab.plans.chains import chain
from streamlab.plans.kinds import Node


def fingerprint(node: Node) -> str:
    """Eight hex digits of what is done to the source's records; not of which source it is.

    A function of the user's (`map_elements`) that polars can't write down has another one at
    each start: such a plan is never taken for the one before.
    """
    mark = blake2b(digest_size=4)
    for step in chain(node)[1:]:
        mark.update(type(step).__name__.encode())
        for field in fields(step):
            if field.name != "parent":
                mark.update(field.name.encode() + _bytes(getattr(step, field.name)))
    return mark.hexdigest()


def _bytes(value: Any) -> bytes:
    match value:
        case pl.Expr():
            found = _of_expression(value)
        case pl.DataFrame():
            found = repr(value.hash_rows().to_list()).encode()
        case tuple():
            found = b"(" + b",".join(_bytes(each) for each in value) + b")"
        case _ if isinstance(value, Node):
            found = fingerprint(value).encode()
        case _:
            found = repr(value).encode()
    return found


def _of_expression(expr: pl.Expr) -> bytes:
    try:
        return expr.meta.serialize()
    except pl.exceptions.ComputeError:
        return repr(id(expr)).encode()
