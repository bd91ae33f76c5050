"""A plan's fingerprint: the same for the same plan in another process."""

from __future__ import annotations

from dataclasses import fields
from hashlib import blake2b
from typing import Any

import polars as pl

from streamlab.plans.kinds import Node, chain


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
    if isinstance(value, pl.Expr):
        try:
            return value.meta.serialize()
        except pl.exceptions.ComputeError:
            return repr(id(value)).encode()
    if isinstance(value, tuple):
        return b"(" + b",".join(_bytes(each) for each in value) + b")"
    return repr(value).encode()
