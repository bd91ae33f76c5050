"""How a live frame is worked out: its steps, what each keeps, and how much that is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from streamlab.live.windows import windows_of_a_record
from streamlab.plans import aggregates, nodes
from streamlab.plans.nodes import output_schema
from streamlab.views.words import size


def explain(
    node: nodes.Node, schema: pl.Schema | None, state: Mapping[str, int]
) -> str:
    """One line per step, with the state it holds now; below a window or a running group how
    each aggregate is kept, and into how many windows a record falls.

    Args:
        node: the plan.
        schema: the source's columns; None before they are known.
        state: bytes held, by the step's name.
    """
    lines = []
    for step in nodes.chain(node):
        name = nodes.label(step)
        held = state.get(name) if isinstance(step, nodes.Stateful) else None
        lines.append(name if held is None else f"{name}    ({size(held)} of state)")
        if isinstance(step, nodes.Window | nodes.GroupBy) and schema is not None:
            lines += [f"    {line}" for line in _roads(step, schema)]
        lines += [f"    {line}" for line in _sides(step)]
    return "\n".join(lines)


def _sides(step: nodes.Node) -> Iterator[str]:
    """What a join is with, and what is kept for it."""
    if isinstance(step, nodes.StaticJoin | nodes.OuterJoin):
        yield f"with a table of {step.table.height:,} rows"
    if isinstance(step, nodes.OuterJoin):
        yield "kept: which of them have found a match; the others are shown until they do"
    elif isinstance(step, nodes.TwoSided):
        yield f"with {nodes.steps(step.other)}"
    if isinstance(step, nodes.Merge):
        yield "kept: rows of either side until the other has come as far"
    elif isinstance(step, nodes.Join):
        newest = step.kind == "asof" and step.strategy == "backward"
        more = ", of older ones the newest of each key" if newest else ""
        yield (
            "kept: rows of it that a row to come may want, those of the last "
            f"{step.tolerance.text}{more}"
        )


def _roads(step: nodes.Window | nodes.GroupBy, schema: pl.Schema) -> Iterator[str]:
    """How each aggregate is kept."""
    if isinstance(step, nodes.GroupBy) and step.compacted:
        yield "the newest row of each key: kept in the frame itself"
        return
    hopping = isinstance(step, nodes.Window) and step.period is not None
    if isinstance(step, nodes.Window) and hopping:
        yield f"a record falls into {windows_of_a_record(step)}"
    columns = output_schema(step.parent, schema)
    arrival = isinstance(step, nodes.GroupBy)
    for agg in step.aggs:
        road = aggregates.explain(agg, columns, arrival=arrival)
        each = hopping and road.startswith("raw rows")
        kept = ", kept once for each of them" if each else ""
        yield f"{agg.meta.output_name()}: {road}{kept}"
