"""A polars expression as a tree of plain values, and back.

A node is `{"Kind": body}`, or the bare text "Kind" if it has no body. The shapes are polars' own and
not promised: tests pin those that are relied on, and what is not known is never taken for harmless.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import polars as pl

from streamlab.plans.codec import Value, pack, unpack

# Functions that come as {"Boolean": "IsNull"}; those of str, dt, list … end in "Expr".
_SPACES = {"Boolean", "Range", "Trigonometry", "Bitwise", "Business", "RollingExprBy"}
# Kinds without nodes below (names and numbers in them are not kinds), and without a body.
_LEAVES = {"Literal", "Column", "Selector", "Field"}
_BARE = ("Len", "Element")
_ELEMENTWISE = 0b1100_0000  # bits "row separable" and "length preserving"
_LOCK = threading.Lock()


def to_tree(expr: pl.Expr) -> Value:
    """The tree of an expression. Python functions in it are left out, all else is exact."""
    with _LOCK, _functions_are_left_out():
        return unpack(expr.meta.serialize(format="binary"))


def from_tree(node: Value) -> pl.Expr:
    """The expression of a tree that holds no Python function."""
    return pl.Expr.deserialize(pack(node), format="binary")


def kind(node: Value) -> tuple[str, Value]:
    """The node's kind and body; ("", node) if it is no node."""
    if isinstance(node, str):
        return node, None
    if isinstance(node, dict) and len(node) == 1:
        return next(iter(node.items()))
    return "", node


def field(body: Value, name: str | int) -> Value:
    """A part of a body: by name, or by place."""
    if isinstance(body, dict) and isinstance(name, str):
        return body[name]
    if isinstance(body, list) and isinstance(name, int):
        return body[name]
    raise KeyError(name)


def items(body: Value) -> list[Value]:
    """A body that is a list."""
    if not isinstance(body, list):
        raise TypeError(body)
    return body


def function_name(body: Value) -> tuple[str, Value]:
    """A function node's full name ("StringExpr.Strptime") and its options."""
    name, options = kind(field(body, "function"))
    if name.endswith("Expr") or name in _SPACES:
        inner, options = kind(options)
        return f"{name}.{inner}", options
    return name, options


def has_python(node: Value) -> bool:
    """Whether a Python function takes part, so that the tree can't be read back."""

    def wanted(name: str, body: Value) -> bool:
        if name == "RenameAlias":
            return kind(field(body, "function"))[0] == "Map"
        if name != "Function":
            return name.startswith("Anonymous")
        function, options = function_name(body)
        called_back = isinstance(options, dict) and "callback" in options
        return called_back or function == "StructExpr.MapFieldNames"

    return any_node(node, wanted)


def has_return_type(body: Value) -> bool:
    """Whether a Python function says what it returns (`return_dtype=`)."""
    data = field(body, "function")
    # A list of four, the type first; 0xC0 is "none".
    head = b"PLPYFN\x94"
    if not isinstance(data, bytes) or not data.startswith(head):
        return False
    return not data.startswith(head + b"\xc0")


def is_elementwise(body: Value) -> bool:
    """Whether a Python function is given one value at a time (`map_elements`).

    `map_batches(…, is_elementwise=True)` counts too: it is the user's word for it.
    """
    flags = field(field(body, "options"), "flags")
    return isinstance(flags, int) and flags & _ELEMENTWISE == _ELEMENTWISE


def below(name: str, body: Value) -> list[Value]:
    """The nodes right under a node of a kind whose shape is not looked at more closely."""
    if name == "Agg":
        _, body = kind(body)
        if kind(body)[0][:1].isupper():
            return [body]
    found: list[Value] = []
    for part in _parts(body) if isinstance(body, (dict, list)) else [body]:
        if isinstance(part, list):
            found += below("", part)
        elif kind(part)[0][:1].isupper():
            found.append(part)
    return found


def any_node(node: Value, wanted: Callable[[str, Value], bool]) -> bool:
    """Whether `wanted(kind, body)` holds for the node or some node below."""
    name, body = kind(node)
    is_node = isinstance(node, dict) and name[:1].isupper()
    if (is_node or node in _BARE) and wanted(name, body):
        return True
    if name in _LEAVES:
        return False
    if name == "Alias":
        parts = [field(body, 0)]
    elif name == "RenameAlias":
        parts = [field(body, "expr")]
    elif name == "Function":
        parts = items(field(body, "input"))
    else:
        parts = list(_parts(node))
    return any(any_node(part, wanted) for part in parts)


def replace(node: Value, change: Callable[[str, Value], Value | None]) -> Value:
    """A copy in which nodes for which `change(kind, body)` gives a node are that node."""
    name, body = kind(node)
    if isinstance(node, dict) and name:
        changed = change(name, body)
        if changed is not None:
            return changed
    if name in _LEAVES:
        return node
    if isinstance(node, list):
        return [replace(part, change) for part in node]
    if isinstance(node, dict):
        # In `function` stand names only, and one of them is "BinaryExpr".
        return {
            key: part if key == "function" else replace(part, change)
            for key, part in node.items()
        }
    return node


def _parts(node: Value) -> Iterator[Value]:
    if isinstance(node, list):
        yield from node
    elif isinstance(node, dict):
        yield from node.values()


@contextmanager
def _functions_are_left_out() -> Iterator[None]:
    """Let polars write expressions with Python functions in them.

    polars hands those to the module `cloudpickle`, which need not be installed, copies whatever a
    function refers to (a model, a gigabyte) and fails on locks and connections. In its place, for
    the time of one call, stands a module that writes nothing.
    """
    real = sys.modules.get("cloudpickle")
    stand_in = ModuleType("cloudpickle")
    if real is not None:
        stand_in.__dict__.update(real.__dict__)
    stand_in.__dict__["dumps"] = lambda *_, **__: b""
    sys.modules["cloudpickle"] = stand_in
    try:
        yield
    finally:
        if real is None:
            del sys.modules["cloudpickle"]
        else:
            sys.modules["cloudpickle"] = real
