"""Which state runs a step of a plan."""

from __future__ import annotations

import polars as pl

from streamlab.engine.inorder import InOrderStage
from streamlab.engine.rowwise import KEEP
from streamlab.engine.running import RunningStage
from streamlab.engine.stage import Aggregating, Direct, Setting
from streamlab.engine.window import WindowOperator
from streamlab.plans.nodes import InOrder, Running, Stateful, Window, label


def stage_of(
    node: Stateful, rows: tuple[pl.DataFrame | None, ...], setting: Setting
) -> Aggregating | Direct:
    """The state of a step, without anything in it.

    Args:
        node: the step.
        rows: of each input, rows as they will come; None where their columns are not known.
        setting: see there.
    """
    schemas = [None if each is None else _shown(each) for each in rows]
    first = schemas[0]
    match node:
        case Window() if first is not None:
            return WindowOperator(
                node,
                first,
                began=setting.began,
                max_open=setting.max_open,
                committing=setting.committing,
                past=setting.past,
            )
        case InOrder() if first is not None:
            return InOrderStage(node, committing=setting.committing)
        case Running() if first is not None:
            return RunningStage(node, first)
    raise TypeError(f"{label(node)} does not run batch by batch")


def _shown(rows: pl.DataFrame) -> pl.Schema:
    return pl.Schema({n: t for n, t in rows.schema.items() if n not in KEEP})
