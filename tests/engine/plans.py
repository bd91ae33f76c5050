"""A plan of every kind of operator, alone and behind others, for the proofs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Literal

import polars as pl

from streamlab.plans.nodes import (
    Closed,
    Drop,
    Explode,
    Filter,
    GroupBy,
    InOrder,
    Join,
    Merge,
    Node,
    OuterJoin,
    Rename,
    Running,
    Select,
    Source,
    StaticJoin,
    Unique,
    Window,
    WithColumns,
)
from tests.engine.lab import seconds, table, window

PARTS = (0, 1, 2)
YES_NO = (True, False)
LATENESS_S = 4.0
SOURCE = Source("lab")
x, q, k, b = (pl.col(name) for name in "xqkb")
AGGS = (
    pl.len().alias("n"),
    x.sum().alias("sum"),
    x.mean().alias("mean"),
    q.filter(b).max().alias("top"),
    x.std().alias("std"),
    x.first().alias("first"),
    q.alias("list"),
    x.median().alias("median"),
)
_BY_ARRIVAL = {"first", "list", "median"}
Plan = Callable[[Random], Node]


def some(random: Random) -> list[pl.Expr]:
    """A few aggregations."""
    return random.sample(AGGS, random.randint(1, 4))


def by(random: Random) -> tuple[str, ...]:
    """Keys, or none."""
    return random.choice([(), ("k",), ("k", "b")])


def steps_before(random: Random) -> Node:
    """Row-wise steps, or none."""
    node: Node = SOURCE
    for _ in range(random.randint(0, 2)):
        choices: list[Node] = [
            Filter(node, (q > -2,)),
            Filter(node, (b | (x > 0),)),
            WithColumns(node, ((q * 2).alias("q"), (x / 3).alias("third"))),
            WithColumns(node, ((x // 0.5).alias("halves"),)),
            Select(node, (x, q, k, b, pl.col("ls"))),
        ]
        node = random.choice(choices)
    return node


def exploded(random: Random) -> Node:
    """Several rows of a record, or none."""
    return WithColumns(
        Explode(steps_before(random), ("ls",)), (pl.col("ls").alias("q"),)
    )


def tumbling(
    random: Random, parent: Node | None = None, lateness: float | None = LATENESS_S
) -> Window:
    """Tumbling windows of some length."""
    return window(
        steps_before(random) if parent is None else parent,
        some(random),
        every=random.choice([3, 10, 40]),
        by=by(random),
        offset=seconds(random.choice([0, 1])),
        lateness=None if lateness is None else seconds(lateness),
    )


def closed(random: Random) -> Closed:
    """Closed windows of tumbling ones."""
    return Closed(tumbling(random))


def corrected(random: Random) -> Node:
    """Row-wise steps over rows that are revised; rows come and go."""
    node = window(steps_before(random), AGGS, by=("k",), lateness=seconds(LATENESS_S))
    changed = WithColumns(node, ((pl.col("n") * 2 + pl.col("sum")).alias("twice"),))
    kept = Filter(changed, (pl.col("n") % 2 == 1, pl.col("top").is_not_null()))
    return Drop(Rename(kept, {"k": "key"}), ("list", "median"))


def twice(random: Random) -> Node:
    """Windows over closed windows."""
    inner = window(SOURCE, AGGS[:3], every=3, by=("k",), lateness=seconds(LATENESS_S))
    totals = (pl.col("sum").sum().alias("total"), pl.col("n").alias("ns"))
    return window(Closed(inner), totals, every=12, lateness=seconds(0))


def hopping(random: Random) -> Window:
    """Overlapping windows, or windows with gaps."""
    made = tumbling(random)
    period = random.choice([5, 20, 50])
    return replace(made, period=seconds(period))


def sessions(random: Random, parent: Node | None = None) -> Window:
    """Rows of a key less than a gap apart."""
    made = tumbling(random, parent)
    gap = seconds(random.choice([1, 3, 9]))
    return replace(made, every=gap, offset=seconds(0), session=True)


def looking_back(random: Random) -> Running:
    """Rows in order, and what those before them were."""
    makers: list[pl.Expr] = [
        q.shift(1).alias("before"),
        q.diff().over("k").alias("step"),
        q.cum_sum().over("k").alias("so_far"),
        x.forward_fill().alias("known"),
        q.cum_max().alias("record"),
        q.cum_count().over("k", "b").alias("number"),
        q.rolling_sum(3, min_samples=1).alias("three"),
        (q - q.shift(2).over("b")).alias("second"),
    ]
    parent = in_order(random)
    return Running(parent, tuple(random.sample(makers, random.randint(1, 3))))


def in_order(random: Random, parent: Node | None = None) -> InOrder:
    """Rows in the order of event time."""
    node = steps_before(random) if parent is None else parent
    return InOrder(node, seconds(LATENESS_S), seconds(3600))


def window_in_order(random: Random) -> Node:
    """Windows over rows in order, which are never late there."""
    return tumbling(random, in_order(random, exploded(random)), 0)


def joined(random: Random, kind: Literal["asof", "within"]) -> Join:
    """A frame joined with itself, filtered otherwise on either side."""
    left = Filter(SOURCE, (q > 0,))
    right = WithColumns(Filter(SOURCE, (q <= 2,)), (x.alias("other"),))
    return Join(
        in_order(random, left),
        Select(in_order(random, right), (k, pl.col("other"), q)),
        kind,
        random.choice([(), (("k", "k"),)]),
        seconds(random.choice([0, 1, 6])),
        random.choice(["backward", "forward", "nearest"]),
        random.choice(["left", "inner"]),
    )


def merged(random: Random) -> Merge:
    """Two parts of a frame, as one."""
    one, other = (Filter(SOURCE, (each,)) for each in (q > 0, q <= 0))
    return Merge(in_order(random, one), in_order(random, other))


def windows_of_joined(random: Random) -> Node:
    """Windows over joined rows."""
    totals = (pl.col("other").sum().alias("total"), pl.len().alias("n"))
    return window(
        joined(random, "asof"), totals, every=7, by=("k",), lateness=seconds(0)
    )


def with_table(random: Random) -> Node:
    """Rows with the columns of a table that does not change; windows over them."""
    rates = pl.DataFrame({"k": ["a", "é", "é", None], "rate": [2, 3, 5, 7]})
    how: Literal["inner", "left", "semi", "anti"] = random.choice(
        ["inner", "left", "semi", "anti"]
    )
    many = how in {"inner", "left"}  # a key of the table comes twice
    found = StaticJoin(steps_before(random), rates, how, {"on": "k"}, many)
    return found if random.random() < 0.5 else tumbling(random, found)


def with_all_of_a_table(random: Random) -> Node:
    """Rows with the columns of a table, and its rows without a match."""
    rates = pl.DataFrame({"k": ["a", "é", "é", None], "rate": [2, 3, 5, 7]})
    how: Literal["right", "full"] = random.choice(["right", "full"])
    keys = {"left_on": ["k"], "right_on": ["k"]}
    coalesce = {"coalesce": random.choice([True, False])}
    found = OuterJoin(steps_before(random), rates, how, keys | coalesce)
    known = (pl.col("rate") > 2).fill_null(value=True)
    return found if random.random() < 0.5 else Filter(found, (known,))


def groups(random: Random) -> GroupBy:
    """All rows there have been, by key."""
    aggs = [a for a in some(random) if a.meta.output_name() not in _BY_ARRIVAL]
    ttl = random.choice([None, seconds(9)])
    return GroupBy(steps_before(random), ("k",), (*aggs, pl.len().alias("all")), ttl)


def first_rows(random: Random) -> Unique:
    """The first row of each key."""
    within = random.choice([None, seconds(5)])
    return Unique(steps_before(random), random.choice([("k",), ("k", "b")]), within)


PLANS: Mapping[str, Plan] = {
    "rows joined with all of a table": with_all_of_a_table,
    "row-wise steps": steps_before,
    "exploded rows": exploded,
    "windows": tumbling,
    "windows without a lateness": lambda random: tumbling(random, None, None),
    "windows over exploded rows": lambda random: tumbling(random, exploded(random)),
    "closed windows": closed,
    "steps over windows": corrected,
    "windows over closed windows": twice,
    "overlapping windows": hopping,
    "closed overlapping windows": lambda random: Closed(hopping(random)),
    "rows in order": in_order,
    "windows over rows in order": window_in_order,
    "sessions": sessions,
    "closed sessions": lambda random: Closed(sessions(random)),
    "sessions over exploded rows": lambda random: sessions(random, exploded(random)),
    "functions that look back": looking_back,
    "windows over what looks back": lambda random: tumbling(
        random, looking_back(random), 0
    ),
    "nearest rows": lambda random: joined(random, "asof"),
    "rows within a time": lambda random: joined(random, "within"),
    "windows over joined rows": windows_of_joined,
    "merged rows": merged,
    "rows with a table": with_table,
}
"""Plans of one source that give the same however partitions take turns."""
BY_ARRIVAL: Mapping[str, Plan] = {
    "groups": groups,
    "first rows": first_rows,
}
"""Plans that follow the order of arrival across partitions."""


def columns_of(random: Random, height: int) -> dict[str, pl.Series]:
    """Shown columns; floats whose sums are exact, so that nothing is lost in a tolerance."""

    def some_of(*values: object) -> list[object]:
        return [random.choice(values) for _ in range(height)]

    return {
        "x": pl.Series(some_of(None, float("nan"), *range(-8, 9)), dtype=pl.Float64)
        / 4,
        "q": pl.Series(some_of(None, *range(-5, 6)), dtype=pl.Int64),
        "k": pl.Series(some_of(None, "", "a", "é", "zz"), dtype=pl.String),
        "b": pl.Series(some_of(None, *YES_NO), dtype=pl.Boolean),
        "ls": pl.Series(
            some_of(None, [], [1], [2, None], [3, 3, 4]), dtype=pl.List(pl.Int64)
        ),
    }


def rows_in_disorder(random: Random, height: int) -> pl.DataFrame:
    """Rows of three partitions, some late, some without a time or far in the future."""
    at, times = 0.0, list[float | None]()
    for _ in range(height):
        at += random.choice([0, 0.5, 1, 1, 2])
        back = random.choice([0, 0, 0, 1, LATENESS_S, 12])
        times.append(None if random.random() < 0.03 else max(0.0, at - back))
    ahead = [7200 if random.random() < 0.03 else 0 for _ in times]
    stamps = [None if t is None else t - by for t, by in zip(times, ahead, strict=True)]
    parts = [random.choice(PARTS) for _ in times]
    return table(times, parts, stamps, **columns_of(random, height))


def rows_by_partition(random: Random, height: int) -> dict[int, pl.DataFrame]:
    """Rows of each partition, none of which trails its newest by more than the lateness."""
    found = {}
    for part in PARTS:
        newest, times = 0.0, list[float]()
        for _ in range(random.randint(0, height)):
            newest += random.choice([0, 0.5, 1, 2, 5])
            times.append(max(0.0, newest - random.choice([0, 0, 1, LATENESS_S])))
        found[part] = table(times, part, times, **columns_of(random, len(times)))
    return found


def interleaved(random: Random, by_part: Mapping[int, pl.DataFrame]) -> pl.DataFrame:
    """The partitions' rows in turns, by chance; each one's in its own order."""
    turns = [part for part, rows in by_part.items() for _ in range(rows.height)]
    random.shuffle(turns)
    left = dict.fromkeys(by_part, 0)
    pieces = [rows.clear() for rows in by_part.values()]
    for part in turns:
        pieces.append(by_part[part].slice(left[part], 1))
        left[part] += 1
    return pl.concat(pieces)


def cuts(random: Random) -> list[int]:
    """Lengths of pieces."""
    return [random.randint(0, 9) for _ in range(random.randint(0, 9))]
