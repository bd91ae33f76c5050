"""A plan as a whole: the steps on the way to it, its key, its order, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamlab.changes import JOINED, WINDOW_START
from streamlab.plans.kinds import (
    Closed,
    Drop,
    Errors,
    Explode,
    Filter,
    GroupBy,
    InOrder,
    Join,
    Late,
    Merge,
    Node,
    OuterJoin,
    Recompute,
    Rename,
    Revising,
    RowWise,
    Running,
    Select,
    Source,
    StaticJoin,
    Trail,
    TwoSided,
    Unique,
    Unnest,
    Window,
    WithColumns,
)


def chain(node: Node) -> list[Node]:
    """The nodes from the source down to `node`, both included; of two inputs the left one's."""
    return list(_up(node))[::-1]


def source_of(node: Node) -> Source:
    """The source at the top of the chain."""
    *_, top = _up(node)
    if not isinstance(top, Source):  # pragma: no cover - the types exclude it
        raise TypeError(top)
    return top


def others(node: Node) -> list[Node]:
    """The second inputs on the way to `node`, and on the way to these."""
    found: list[Node] = []
    for each in _up(node):
        if isinstance(each, TwoSided):
            found += [each.other, *others(each.other)]
    return found


def is_known(node: Node) -> bool:
    """Whether the columns of all second inputs on the way to `node` are known."""
    return all(source_of(each).schema is not None for each in others(node))


def reviser_of(node: Node) -> Revising | None:
    """The step that revises the rows of `node`: its nearest, with only row-wise ones between.

    None if its rows never change.
    """
    for each in _up(node):
        if isinstance(each, Revising):
            return each
        if not isinstance(each, RowWise):
            return None
    return None


def window_of(node: Node) -> Window | None:
    """The window that revises the rows of `node`; None if its rows never change, or are
    revised by something else.
    """
    found = reviser_of(node)
    return found if isinstance(found, Window) else None


def key_columns(node: Revising) -> tuple[str, ...]:
    """The columns that name a row of it."""
    if isinstance(node, OuterJoin):
        return (JOINED,)
    return (WINDOW_START, *node.by) if isinstance(node, Window) else node.by


def is_keyed(node: Node) -> tuple[str, ...]:
    """The key columns of a frame whose rows are revised; () for one whose rows never change.

    Columns go by the names they have after renaming. A column that was dropped, or never
    selected, is still part of the key: the engine keeps it out of sight.
    """
    reviser = reviser_of(node)
    if reviser is None:
        return ()
    key = key_columns(reviser)
    for each in chain(node)[len(chain(reviser)) :]:
        if isinstance(each, Rename):
            key = tuple(each.mapping.get(name, name) for name in key)
    return key


def is_ordered(node: Node) -> bool:
    """Whether rows come in the order of event time, and never change."""
    for each in _up(node):
        if isinstance(each, InOrder | Join | Merge):
            return True
        if isinstance(each, Closed):
            return not each.parent.session
        if not isinstance(each, RowWise | Running):
            return False
    return False


def label(node: Node) -> str:
    """The step itself in a word or two ("filter", "window 10s by symbol")."""
    match node:
        case Source():
            text = node.name
        case Window():
            text = f"{_length(node)}{_by(node.by)}"
        case GroupBy():
            text = f"group{_by(node.by)}"
        case Join():
            text = f"join_{node.kind} {node.tolerance.text}"
        case StaticJoin(how="asof"):
            text = "join_asof"
        case Running():
            text = node.verb
        case InOrder():
            text = f"in order {node.lateness.text}"
        case _:
            text = _LABELS[type(node)]
    return text


def steps(node: Node) -> str:
    """The whole plan in a few words ("trades → filter → window 10s by symbol")."""
    return " → ".join(label(each) for each in chain(node))


def where(node: Node) -> str:
    """What a message calls the frame ("orders (2 steps: filter, with_columns)")."""
    source, *rest = (label(each) for each in chain(node))
    if not rest:
        return source
    count = f"{len(rest)} step{'s' if len(rest) > 1 else ''}"
    return f"{source} ({count}: {', '.join(rest)})"


_LABELS: Mapping[type, str] = {
    Filter: "filter",
    Select: "select",
    WithColumns: "with_columns",
    Drop: "drop",
    Rename: "rename",
    Explode: "explode",
    Unnest: "unnest",
    Unique: "unique",
    StaticJoin: "join",
    OuterJoin: "join",
    Merge: "merge_sorted",
    Trail: "lateness",
    Closed: "closed",
    Late: "late",
    Errors: "errors",
    Recompute: "recompute",
}


def _length(node: Window) -> str:
    def text(value: object) -> str:
        return str(value) if isinstance(value, int) else str(getattr(value, "text", ""))

    if node.session:
        return f"session {text(node.every)}"
    if node.period is None:
        return f"window {text(node.every)}"
    return f"window {text(node.period)} every {text(node.every)}"


def _by(columns: tuple[str, ...]) -> str:
    return f" by {', '.join(columns)}" if columns else ""


def _up(node: Node) -> Iterator[Node]:
    at: Node | None = node
    while at is not None:
        yield at
        at = None if isinstance(at, Source) else at.parent
