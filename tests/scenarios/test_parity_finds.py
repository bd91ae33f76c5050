"""An engine that is wrong on purpose, and what `check_parity()` says: the first record that differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from streamlab.engine import hops, pending, states, unique, window
from streamlab.engine.aggregator import Aggregator
from streamlab.engine.keys import Slots
from streamlab.engine.lookup import Lookup
from streamlab.engine.rowwise import Chain
from streamlab.engine.running import RunningStage
from streamlab.engine.sessions import SessionOperator
from streamlab.errors import ParityError
from streamlab.live.frame import LiveFrame
from tests.scenarios.lab import row, topic

price = pl.col("price")
ROWS = [row(second, float(second), "AB"[second % 2]) for second in range(40)]
Frame = Callable[[LiveFrame], LiveFrame]
Wrong = Callable[[pytest.MonkeyPatch], None]


class Fault(NamedTuple):
    """A frame, an engine that is wrong for it, and what parity must say.

    Attributes:
        frame: made of the live topic.
        wrong: breaks the engine.
        says: words of the message: which row, which column, both values.
    """

    frame: Frame
    wrong: Wrong
    says: tuple[str, ...]


def windows(live: LiveFrame, **more: Any) -> LiveFrame:
    """Ten-second windows of each symbol."""
    return live.window("10s", by="symbol", lateness="5s", **more).agg(
        total=price.sum(),
        mean=price.mean(),
        least=price.min(),
        spread=price.std(),
        all=(price >= 0).all(),
        n=pl.len(),
        first=price.first(),
        middle=price.median(),
    )


def bent(owner: Any, name: str, how: Callable[..., Any]) -> Wrong:
    """`how(right, *arguments)` in place of a method or function."""

    def wrong(patch: pytest.MonkeyPatch) -> None:
        right = getattr(owner, name)
        patch.setattr(owner, name, lambda *given, **more: how(right, *given, **more))

    return wrong


def of_first(right: Any, self: Any, slots: Any, parts: Any) -> None:
    """A state that only ever takes a slot's first batch."""
    seen = self.__dict__.setdefault("_seen_slots", set())
    fresh = np.array([slot not in seen for slot in slots.tolist()], np.bool_)
    seen.update(slots.tolist())
    right(self, slots[fresh], [part.filter(pl.Series(fresh)) for part in parts])


def a_second_early(right: Any, node: Any, times: Any) -> Any:
    starts, ends = right(node, times)
    return starts - 1_000_000, ends - 1_000_000


def last_left_out(right: Any, self: Any, rows: Any, held: Any, height: int) -> Any:
    found = right(self, rows, held, height)
    return found._replace(rows=found.rows.head(max(0, found.rows.height - 1)))


def one_too_many(right: Any, self: Any, rows: pl.DataFrame, *more: Any) -> Any:
    if not rows.height:
        return right(self, rows, *more)
    found = right(self, rows, *more)
    return found._replace(rows=found.rows.with_columns(pl.col("price") + 1))


def reversed_order(right: Any, self: Any, *given: Any) -> Any:
    found = right(self, *given)
    return {n: c.reverse() if n == "middle" else c for n, c in found.items()}


def never(right: Any, self: Any, end: int) -> Any:
    return right(self, min(end, 0))


def shortened(right: Any, self: Any, last: Any, over: Any) -> Any:
    """The oldest of a row's windows is left out."""
    return right(self, last, over + (last > over))


def from_nothing(right: Any, self: Any, inputs: Any) -> Any:
    """What was before a batch is forgotten."""
    given = inputs[0].result.rows
    shown = {n: t for n, t in given.schema.items() if not n.startswith("__")}
    return right(RunningStage(self.node, pl.Schema(shown)), inputs)


def too_early(right: Any, self: Any, keys: Any, times: Any, *more: Any) -> Any:
    return right(self, keys, times - 3_000_000, *more)


def backwards(right: Any, self: Any, before: int) -> Any:
    return [piece.reverse() for piece in right(self, before)]


def without_last(right: Any, result: Any, passed: Any) -> Any:
    rows = right(result, passed)
    return rows.filter(pl.col("price") != 1.0)


A_WINDOW = "row window_start=2026-01-01 00:00:00+00:00, symbol='A'"
FAULTS: Mapping[str, Fault] = {
    "a sum that forgets": Fault(
        windows,
        bent(states.Sum, "merge", of_first),
        (A_WINDOW, "column 'total'", "in the live frame, 20.0 in batch"),
    ),
    "a mean that forgets": Fault(
        windows,
        bent(states.Mean, "merge", of_first),
        (A_WINDOW, "column 'mean'", "4.0 in batch"),
    ),
    "an extreme that forgets": Fault(
        lambda live: live.window("10s", by="symbol").agg(most=price.max()),
        bent(states.Extreme, "merge", of_first),
        (A_WINDOW, "column 'most'", "8.0 in batch"),
    ),
    "a deviation that forgets": Fault(
        windows,
        bent(states.Spread, "merge", of_first),
        (A_WINDOW, "column 'spread'", "3.16227766"),
    ),
    "a truth that forgets": Fault(
        lambda live: live.window("10s", by="symbol").agg(small=(price < 4).all()),
        bent(states.Truth, "merge", of_first),
        (A_WINDOW, "column 'small'", "True in the live frame, False in batch"),
    ),
    "windows that begin a second early": Fault(
        windows,
        bent(window, "spans", a_second_early),
        (
            "row window_start=2025-12-31 23:59:59+00:00, symbol='A'",
            "there in the live frame, missing in batch",
        ),
    ),
    "raw rows of other windows": Fault(
        windows,
        bent(Aggregator, "_from_rows", reversed_order),
        ("column 'middle'",),
    ),
    "a step that loses a row": Fault(
        lambda live: live.filter(price > 2),
        bent(Chain, "_read", last_left_out),
        ("row ", "in the live frame, 37 rows in batch"),
    ),
    "a step that computes otherwise": Fault(
        lambda live: live.with_columns(twice=price * 2),
        bent(Chain, "_read", one_too_many),
        ("row 0", "column 'price'", "1.0 in the live frame, 0.0 in batch"),
    ),
    "overlapping windows that miss one": Fault(
        lambda live: live.window("10s", period="30s").agg(n=pl.len()),
        bent(hops.Even, "windows", shortened),
        ("row window_start=2025-12-31 23:59:40+00:00", "missing in the live frame"),
    ),
    "sessions of another gap": Fault(
        lambda live: live.window(gap="3s", by="symbol").agg(total=price.sum()),
        lambda patch: patch.setattr(SessionOperator, "_gap", 1_000_000),
        ("row window_start=2026-01-01 00:00:0", "there in the live frame, missing in"),
    ),
    "a function that forgets what was before": Fault(
        lambda live: live.in_order("2s").with_columns(step=price.diff()),
        bent(RunningStage, "take", from_nothing),
        ("row ", "column 'step'", "in the live frame, 1.0 in batch"),
    ),
    "a join that finds its neighbour": Fault(
        lambda live: live.join_asof(
            live.select("symbol", quote=price),
            by="symbol",
            tolerance="1m",
            lateness="1s",
        ),
        bent(Lookup, "asof", too_early),
        ("row ", "column 'quote'", "in batch"),
    ),
    "rows in the wrong order": Fault(
        lambda live: live.in_order("5s"),
        bent(pending.Pending, "release", backwards),
        ("row 0 ", "column ", "in the live frame"),
    ),
    "a running sum that forgets": Fault(
        lambda live: live.group_by("symbol").agg(total=price.sum()),
        bent(states.Sum, "merge", of_first),
        ("row symbol='A'", "column 'total'", "in the live frame, 380.0 in batch"),
    ),
    "a first row that does not pass": Fault(
        lambda live: live.unique("price"),
        bent(unique, "_chosen", without_last),
        ("row 1 ", "column 'time': 2026-01-01 00:00:02", "2026-01-01 00:00:01"),
    ),
    "windows that never close": Fault(
        lambda live: windows(live).closed,
        bent(Slots, "pop_until", never),
        ("row 0 window_start=2026-01-01 00:00:00+00:00", "0 rows in the live frame"),
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_parity_names_the_first_record_that_a_wrong_engine_gets_wrong(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    fault = FAULTS[kind]
    good = answered(fault.frame, name)
    assert good.check_parity().startswith("equal: ")

    fault.wrong(monkeypatch)
    bad = answered(fault.frame, f"{name}-wrong")
    assert bad.error is None

    with pytest.raises(
        ParityError, match="differs from the batch answer: row "
    ) as caught:
        bad.check_parity()
    for words in fault.says:
        assert words in str(caught.value)


def answered(
    made: Frame, name: str, rows: Iterable[dict[str, Any]] = ROWS
) -> LiveFrame:
    """The frame over a topic that got its rows one after the other, in several batches."""
    source = topic(name)
    live = source.live(start="earliest", tick="1ms")
    frame = made(live)
    every = list(rows)
    for at in range(0, len(every), 3):
        source.send([json.dumps(each).encode() for each in every[at : at + 3]])
        live.wait(count=min(at + 3, len(every)))
    frame.wait()
    return frame
