"""Which state runs a step of a plan."""

from __future__ import annotations

import polars as pl

from streamlab.engine.groups import GroupStage
from streamlab.engine.hopping import HoppingOperator
from streamlab.engine.inorder import InOrderStage
from streamlab.engine.joining import JoinStage
from streamlab.engine.merging import MergeStage
from streamlab.engine.outerjoin import OuterStage
from streamlab.engine.rowwise import KEEP
from streamlab.engine.running import RunningStage
from streamlab.engine.sessions import SessionOperator
from streamlab.engine.stage import Aggregating, Direct, Setting
from streamlab.engine.trail import TrailStage
from streamlab.engine.unique import UniqueStage, UniqueWithin
from streamlab.engine.window import WindowOperator
from streamlab.plans.nodes import (
    GroupBy,
    InOrder,
    Join,
    OuterJoin,
    Running,
    Stateful,
    Trail,
    TwoSided,
    Unique,
    Window,
    label,
)


def stage_of(
    node: Stateful, rows: tuple[pl.DataFrame | None, ...], setting: Setting
) -> Aggregating | Direct:
    """The state of a step, without anything in it.

    Args:
        node: the step.
        rows: of each input, rows as they will come; None where their columns are not known.
        setting: see there.
    """
    if isinstance(node, Trail):
        return TrailStage(node)
    if isinstance(node, OuterJoin):
        return OuterStage(node)
    if isinstance(node, TwoSided):
        return JoinStage(node) if isinstance(node, Join) else MergeStage(node)
    return _one_sided(node, rows, setting)


def _one_sided(
    node: Stateful, rows: tuple[pl.DataFrame | None, ...], setting: Setting
) -> Aggregating | Direct:
    schemas = [None if each is None else _shown(each) for each in rows]
    first = schemas[0]
    match node:
        case Window() if first is not None:
            return _kind_of_window(node)(
                node,
                first,
                began=setting.began,
                max_open=setting.max_open,
                committing=setting.committing,
                past=setting.past,
            )
        case InOrder() if first is not None:
            return InOrderStage(node, committing=setting.committing)
        case GroupBy() if first is not None:
            return GroupStage(node, first, max_open=setting.max_open)
        case Unique() if first is not None:
            return _first_rows(node, first, setting)
        case Running() if first is not None:
            return RunningStage(node, first)
    raise TypeError(f"{label(node)} does not run batch by batch")


def _first_rows(node: Unique, schema: pl.Schema, setting: Setting) -> Direct:
    if node.within is None:
        return UniqueStage(node, schema)
    return UniqueWithin(node, node.within, schema, setting)


def _kind_of_window(node: Window) -> type[WindowOperator]:
    if node.session:
        return SessionOperator
    return WindowOperator if node.period is None else HoppingOperator


def _shown(rows: pl.DataFrame) -> pl.Schema:
    return pl.Schema({n: t for n, t in rows.schema.items() if n not in KEEP})
