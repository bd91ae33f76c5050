"""Expressions that look back over rows in order, taken apart into functions and what is row-wise.

`(pl.col("price").diff() / pl.col("price").shift()).over("symbol")` holds two functions that look
back. Each becomes a `Look`: its inputs are row-wise over the columns and over earlier looks, it has
the keys of the `over` around it, and what is left of the expression is row-wise over the columns
and the looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from streamlab.errors import NotIncrementalError, UsageError
from streamlab.plans.codec import Value
from streamlab.plans.exprs import Finding, call_words, has_column, message, offence
from streamlab.plans.functions import OTHER_ROWS, UNKNOWN, Call, Refusal, is_literal
from streamlab.plans.looks import (
    BESIDE_PYTHON,
    NO_COLUMN,
    OWN_LENGTH,
    OWN_ORDER,
    RULES,
    SEVERAL,
    TWICE,
    Memory,
    Rule,
)
from streamlab.plans.tree import (
    any_node,
    field,
    from_tree,
    function_name,
    has_python,
    items,
    replace,
    to_tree,
)
from streamlab.plans.words import words

LOOK = "__look"  # prefix of the columns that looks make
INPUT = "__input"  # prefix of the columns a look's function is called on
_WORLDS = ("Eval", "StructEval")  # inside a list or a struct everything is row-wise
_GATHERING = ("AsStruct", "Coalesce", "ListExpr.Concat", "StringExpr.Format")
_CLOSED = "Each window once, in the order of time: .closed of the window."


class Look(NamedTuple):
    """One function that looks back.

    Attributes:
        name: of the column it makes.
        memory: what it needs of earlier rows.
        call: the function, on the columns `INPUT`0, `INPUT`1 …
        inputs: what these are: row-wise over the columns and over earlier looks.
        keys: of the groups it runs in; none is all rows.
        key: the same as text: looks of the same groups share their numbering.
    """

    name: str
    memory: Memory
    call: pl.Expr
    inputs: tuple[pl.Expr, ...]
    keys: tuple[pl.Expr, ...]
    key: str


class Program(NamedTuple):
    """A step's expressions, taken apart.

    Attributes:
        levels: looks; those of a level read the columns and looks of levels before.
        exprs: the rest: row-wise over columns and looks, under their final names.
    """

    levels: tuple[tuple[Look, ...], ...]
    exprs: tuple[pl.Expr, ...]


def looks_back(expr: pl.Expr) -> bool:
    """Whether a function that looks back, or an `over`, takes part."""
    return _has_look(to_tree(expr))


def check(
    expr: pl.Expr, *, verb: str, schema: pl.Schema | None, ordered: bool, keyed: bool
) -> None:
    """Refuse an expression that looks back where, or how, it can't.

    Args:
        expr: as the user wrote it.
        verb: the step it is for.
        schema: the columns it will see, if known.
        ordered: whether rows come in the order of event time.
        keyed: whether they are revised.

    Raises:
        NotIncrementalError: the message names the part and the ways out.
    """
    found = refusal(expr, schema)
    if found is not None:
        raise NotIncrementalError(message(call_words(expr, verb), found))
    if ordered:
        return
    tree = to_tree(expr)
    part = offence(tree, schema) or Finding(tree, OTHER_ROWS)
    way = _CLOSED if keyed else _in_order(expr, verb, schema)
    part = part._replace(refusal=part.refusal._replace(instead=way))
    raise NotIncrementalError(message(call_words(expr, verb), part, windows=not keyed))


def refusal(expr: pl.Expr, schema: pl.Schema | None) -> Finding | None:
    """Why an expression can't run over rows in order; None if it can.

    Args:
        expr: as the user wrote it.
        schema: the columns it will see, if known.
    """
    tree = to_tree(expr)
    try:
        if schema is not None and _expanded(expr, schema) is None:
            return Finding(tree, SEVERAL)
        parts = _Parts(schema)
        rest = parts.take(tree)
        return parts.finding or offence(rest, parts.schema)
    except (KeyError, TypeError):
        # A known kind in a shape that is not: another polars than the tests have seen.
        return Finding(tree, UNKNOWN)


def program(exprs: Iterable[pl.Expr], schema: pl.Schema) -> Program:
    """Take expressions apart; `refusal` has nothing against them.

    Args:
        exprs: as the user wrote them.
        schema: the columns they see. Selectors become the columns they stand for.
    """
    parts = _Parts(schema)
    rest: list[pl.Expr] = []
    for expr in exprs:
        trees = _expanded(expr, schema)
        if trees is None:
            raise UsageError(f"{words(to_tree(expr))} {SEVERAL.why}. Name the columns.")
        for tree in trees:
            if has_python(tree):
                rest.append(expr)
            elif _has_look(tree):
                name = from_tree(tree).meta.output_name()
                rest.append(from_tree(parts.take(tree)).alias(name))
            else:
                rest.append(from_tree(tree))
    return Program(tuple(map(tuple, parts.levels)), tuple(rest))


def _in_order(expr: pl.Expr, verb: str, schema: pl.Schema | None) -> str:
    """What to write in its place, with a key of the user's own."""
    call = call_words(expr, verb)
    texts = [name for name, dtype in (schema or {}).items() if dtype == pl.String]
    over = any_node(to_tree(expr), lambda name, _: name == "Over")
    if texts and not over:
        call = call.replace("…", f'… .over("{texts[0]}")')
    return f'In event-time order: live.in_order("2s").{call}.'


def _rule(name: str, body: Value) -> Rule | None:
    if name != "Function":
        return None
    function, _ = function_name(body)
    if function.startswith("Rolling"):
        function = function.partition(".")[0]
    return RULES.get(function)


def _has_look(tree: Value) -> bool:
    found = False

    def change(name: str, body: Value) -> Value | None:
        nonlocal found
        found = found or name == "Over" or _rule(name, body) is not None
        if name not in _WORLDS:
            return None
        replace(field(body, "expr"), change)
        return {name: body}

    replace(tree, change)
    return found


class _Parts:
    """Collects the looks of a step's expressions.

    Attributes:
        schema: the columns, and with them those of the looks; None if not known.
        levels: the looks found.
        finding: the first thing that can't be, or None.
    """

    def __init__(self, schema: pl.Schema | None) -> None:
        self.schema = None if schema is None else pl.Schema(schema)
        self.levels: list[list[Look]] = []
        self.finding: Finding | None = None
        self._depth: dict[str, int] = {}
        self._same: dict[str, str] = {}
        self._keys: tuple[Value, ...] | None = None

    def take(self, tree: Value) -> Value:
        """The tree with a column in the place of each look; the tree itself if there is none."""
        if not _has_look(tree):
            return tree
        if has_python(tree):
            self._refuse(_python_part(tree), BESIDE_PYTHON)
            return tree
        return replace(tree, self._change)

    def _change(self, name: str, body: Value) -> Value | None:
        if self.finding is not None:
            return None
        if name in _WORLDS:
            inner = replace(field(body, "expr"), self._change)
            return {name: {**_mapping(body), "expr": inner}}
        if name == "Over":
            return self._over(body)
        rule = _rule(name, body)
        return None if rule is None else self._look(body, rule)

    def _over(self, body: Value) -> Value:
        node: Value = {"Over": body}
        keys = tuple(items(field(body, "partition_by")))
        problem = self._over_problem(body, keys)
        if problem is not None:
            return self._refuse(*(problem._replace(node=problem.node or node)))
        self._keys = keys
        inner = replace(field(body, "function"), self._change)
        self._keys = None
        found = None if self.finding is not None else offence(inner, self.schema)
        if found is None and not has_column(inner):
            found = Finding(node, NO_COLUMN)
        return inner if found is None else self._refuse(*found)

    def _over_problem(self, body: Value, keys: Sequence[Value]) -> Finding | None:
        """What is wrong with the groups; the node is "" if it is the `over` itself."""
        if self._keys is not None:
            return Finding("", TWICE)
        if field(body, "order_by") is not None:
            return Finding("", OWN_ORDER)
        if field(body, "mapping") != "GroupsToRows":
            return Finding("", OWN_LENGTH)
        several = [key for key in keys if any_node(key, _is_selector)]
        found = [Finding(key, SEVERAL) for key in several]
        found += [wrong for key in keys if (wrong := offence(key, self.schema))]
        return found[0] if found else None

    def _look(self, body: Value, rule: Rule) -> Value:
        node: Value = {"Function": body}
        inputs = items(field(body, "input"))
        memory = rule(Call(function_name(body)[1], inputs, lambda _: None))
        if isinstance(memory, Refusal):
            return self._refuse(node, memory)
        taken = [replace(each, self._change) for each in inputs]
        if self.finding is not None:
            return node
        columns = [i for i, each in enumerate(taken) if not is_literal(each)]
        if not any(has_column(each) for each in taken):
            return self._refuse(node, NO_COLUMN)
        for at in columns:
            found = offence(taken[at], self.schema)
            if found is not None:
                return self._refuse(*found)
        named: list[Value] = [
            {"Column": f"{INPUT}{columns.index(i)}"} if i in columns else each
            for i, each in enumerate(taken)
        ]
        call: Value = {"Function": {**_mapping(body), "input": named}}
        column = self._add(memory, call, [taken[i] for i in columns])
        name = _name_of(node)
        return column if name is None else {"Alias": [column, name]}

    def _add(self, memory: Memory, call: Value, inputs: Sequence[Value]) -> Value:
        """The column of a look; the same look twice is one."""
        keys = self._keys or ()
        same = repr((call, inputs, keys))
        name = self._same.setdefault(same, f"{LOOK}{len(self._same)}")
        if name in self._depth:
            return {"Column": name}
        depth = max((self._deepest(each) for each in inputs), default=0)
        self._depth[name] = depth + 1
        while len(self.levels) <= depth:
            self.levels.append([])
        look = Look(
            name,
            memory,
            from_tree(call),
            tuple(from_tree(each) for each in inputs),
            tuple(from_tree(each) for each in keys),
            repr(keys),
        )
        self.levels[depth].append(look)
        self._learn(look)
        return {"Column": name}

    def _deepest(self, node: Value) -> int:
        """The level from which a node's columns are there."""
        names = from_tree(node).meta.root_names()
        return max((self._depth.get(name, 0) for name in names), default=0)

    def _learn(self, look: Look) -> None:
        """Find the type of a look's column, if those of its inputs are known."""
        if self.schema is None:
            return
        named = [each.alias(f"{INPUT}{at}") for at, each in enumerate(look.inputs)]
        frame = pl.LazyFrame(schema=self.schema)
        found = _columns(frame.select(*named), [look.call])
        if found is not None:  # else it is said where the step's columns are worked out
            self.schema = pl.Schema({**self.schema, look.name: found.dtypes()[0]})

    def _refuse(self, node: Value, why: Refusal) -> Value:
        if self.finding is None:
            self.finding = Finding(node, why)
        return node


def _expanded(expr: pl.Expr, schema: pl.Schema) -> list[Value] | None:
    """The trees of an expression, one for each column it makes; None if that can't be told."""
    tree = to_tree(expr)
    if not any_node(tree, _is_selector) or has_python(tree):
        return [tree]
    frame = pl.LazyFrame(schema=schema)
    wanted = _columns(frame, [expr])
    if wanted is None:
        return [tree]  # said where the step's columns are worked out
    found = [_one_of(tree, frame, at) for at in range(len(wanted))]
    made = _columns(frame, [from_tree(each) for each in found])
    return None if any_node(tree, _gathers) or made != wanted else found


def _columns(frame: pl.LazyFrame, exprs: list[pl.Expr]) -> pl.Schema | None:
    """What polars makes of expressions; None if it refuses them."""
    try:
        return frame.select(exprs).collect_schema()
    except pl.exceptions.PolarsError:
        return None


def _one_of(tree: Value, frame: pl.LazyFrame, at: int) -> Value:
    """The tree with one column in the place of each selector."""

    def column(name: str, body: Value) -> Value | None:
        if name != "Selector":
            return None
        names = frame.select(from_tree({name: body})).collect_schema().names()
        return {"Column": names[min(at, len(names) - 1)]}

    return replace(tree, column)


def _gathers(name: str, body: Value) -> bool:
    """Whether a selector stands for several inputs of one function, not several columns."""
    if name != "Function":
        return False
    function, _ = function_name(body)
    inputs = items(field(body, "input"))
    one = "Horizontal" not in function and function not in _GATHERING
    return not one and any(any_node(each, _is_selector) for each in inputs)


def _is_selector(name: str, _: Value) -> bool:
    return name == "Selector"


def _python_part(tree: Value) -> Value:
    """The part that is a Python function."""
    found: list[Value] = []

    def look(name: str, body: Value) -> bool:
        if name == "AnonymousFunction":
            found.append({name: body})
        return bool(found)

    any_node(tree, look)
    return found[0] if found else tree


def _name_of(node: Value) -> str | None:
    return from_tree(node).meta.output_name(raise_if_undetermined=False)


def _mapping(body: Value) -> dict[str, Value]:
    if not isinstance(body, dict):
        raise TypeError(body)
    return body
