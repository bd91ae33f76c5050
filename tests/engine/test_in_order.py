"""Rows in the order of event time: who waits, who leaves, who is late, however the stream was cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import HIDDEN, PART, SEQ, TIME
from streamlab.engine.graph import Graph
from streamlab.engine.inorder import InOrderStage
from streamlab.engine.outcome import Batch, Counts, Outcome
from streamlab.plans.nodes import Explode, Filter, InOrder, Late, Node, Source
from tests.engine.lab import cut, seconds, table

SOURCE = Source("trades")


def in_order(lateness: float = 2, parent: Node = SOURCE) -> InOrder:
    return InOrder(parent, seconds(lateness), seconds(3600))


class Line:
    """A graph with rows put in order and what came too late, and all they put out."""

    def __init__(
        self, node: InOrder, *, committing: bool = False, **more: Node
    ) -> None:
        self.graph = Graph(committing=committing)
        plans: dict[str, Node] = {"rows": node, "late": Late(node), **more}
        self.handles = {name: self.graph.add(n, None) for name, n in plans.items()}
        self.all: dict[str, list[Outcome]] = {name: [] for name in plans}

    def step(
        self, rows: pl.DataFrame, holding: Iterable[int] = (0,), *, final: bool = False
    ) -> pl.DataFrame:
        """What a batch let go."""
        self.blank = rows.clear()
        outcomes = self.graph.step(Batch(rows, frozenset(holding), final))
        for name, handle in self.handles.items():
            assert outcomes[handle].error is None, outcomes[handle].error
            self.all[name].append(outcomes[handle])
        return outcomes[self.handles["rows"]].change.added

    def quiet(
        self, holding: Iterable[int] = (0,), *, final: bool = False
    ) -> pl.DataFrame:
        """What a batch without rows let go."""
        return self.step(self.blank, holding, final=final)

    def lines(self, name: str = "rows") -> pl.DataFrame:
        return pl.concat([each.change.added for each in self.all[name]])

    @property
    def counts(self) -> Counts:
        found = [each.counts for each in self.all["rows"]]
        return Counts(*(sum(column) for column in zip(*found, strict=True)))

    @property
    def stage(self) -> InOrderStage:
        (operator,) = self.graph._operators.values()
        assert isinstance(operator.state, InOrderStage)
        return operator.state


def times(rows: pl.DataFrame) -> list[float]:
    return (rows.get_column(TIME).dt.epoch("us") / 1e6).to_list()


def test_a_row_leaves_when_the_limit_is_later_than_its_time_not_at_it() -> None:
    line = Line(in_order(2))

    assert times(line.step(table([5.0, 6.0, 7.0]))) == []
    assert times(line.step(table([7.5]))) == [5.0]
    assert times(line.step(table([8.0, 8.000001]))) == [6.0]


def test_a_row_that_trails_by_exactly_the_lateness_is_in_time() -> None:
    line = Line(in_order(2))

    line.step(table([10.0, 8.0, 7.999999], note=["a", "b", "c"]))
    line.step(table([20.0], note=["d"]))

    assert line.lines()["note"].to_list() == ["b", "a"]
    late = line.lines("late")
    assert late["note"].to_list() == ["c"]
    assert late["_late_by"].dt.total_microseconds().to_list() == [1]
    assert late.columns == [
        *("_late_by", "_partition", "_offset", "_timestamp", "note"),
        *HIDDEN,
    ]


def test_rows_of_one_time_leave_together_by_partition_and_offset() -> None:
    line = Line(in_order(1))

    line.step(table([3.0, 3.0, 3.0, 3.0], [1, 0, 1, 0]), (0, 1))
    out = line.step(table([9.0, 9.0], [0, 1]), (0, 1))

    assert out.select(PART, SEQ).rows() == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_rows_that_come_in_two_batches_leave_in_one_order() -> None:
    line = Line(in_order(5))

    line.step(table([3.0, 1.0], note=["c", "a"]))
    line.step(table([2.0, 4.0], note=["b", "d"]))
    out = line.step(table([9.5], note=["e"]))

    assert out["note"].to_list() == ["a", "b", "c", "d"]


def test_a_silent_partition_holds_everything_back_until_it_is_idle() -> None:
    line = Line(in_order(1))

    assert times(line.step(table([1.0, 50.0], 0), (0, 1))) == []
    assert times(line.quiet()) == [1.0]


def test_the_end_lets_everything_go() -> None:
    line = Line(in_order(1000))

    assert times(line.step(table([3.0, 1.0]))) == []
    assert times(line.step(table([2.0]), final=True)) == [1.0, 2.0, 3.0]
    assert line.stage.frontier == 2**63 - 1
    assert line.stage._pending.height == 0


def test_a_row_without_a_time_or_of_the_future_is_rejected_and_moves_nothing() -> None:
    line = Line(in_order(1))

    line.step(table([1.0, None, 99_999.0, 1.5], 0, [1.0, 1.0, 1.0, 1.0]))

    (outcome,) = line.all["rows"]
    assert outcome.rejected is not None
    assert outcome.rejected["_reason"].to_list() == [
        "no event time",
        "time in the future",
    ]
    assert times(line.quiet(final=True)) == [1.0, 1.5]
    assert line.counts == Counts(received=4, passed=2, rejected=2)


def test_rows_that_a_filter_holds_back_move_the_watermark_all_the_same() -> None:
    kept = Filter(SOURCE, (pl.col("n") > 0,))
    line = Line(in_order(1, kept))

    out = line.step(table([1.0, 5.0, 2.0], n=[1, 0, 1]))

    assert times(out) == [1.0]
    assert line.counts == Counts(received=3, passed=1, filtered=1, late=1)


def test_the_elements_of_a_record_stay_together_and_count_once() -> None:
    line = Line(in_order(1, Explode(SOURCE, ("n",))))

    line.step(table([3.0, 2.0], n=[[5, 4], [9, 8, 7]]))
    line.quiet(final=True)

    assert line.lines()["n"].to_list() == [9, 8, 7, 5, 4]
    assert line.counts == Counts(received=2, passed=2)


def test_what_is_in_order_already_goes_straight_through() -> None:
    first = in_order(2)
    line = Line(first, again=in_order(3600, first))

    line.step(table([5.0, 4.0, 9.0, 1.0]))
    line.step(table([10.0, 8.0]))

    assert times(line.lines("again")) == times(line.lines()) == [4.0, 5.0]
    line.quiet(final=True)
    assert times(line.lines("again")) == [4.0, 5.0, 8.0, 9.0, 10.0]


def test_the_oldest_record_that_waits_is_needed_for_a_commit() -> None:
    line = Line(in_order(3), committing=True)

    def needs() -> object:
        return line.graph.low.oldest

    line.step(table([8.0, 6.0, 7.0], [0, 0, 1]), (0, 1))
    assert needs() == {0: (8000, 0), 1: (7000, 0)}
    line.step(table([9.5, 9.5], [0, 1]).with_columns(pl.col(SEQ) + 5), (0, 1))
    assert needs() == {0: (8000, 0), 1: (7000, 0)}
    line.step(table([10.5, 10.5], [0, 1]).with_columns(pl.col(SEQ) + 6), (0, 1))
    assert needs() == {0: (8000, 0), 1: (9500, 5)}
    line.quiet((0, 1), final=True)
    assert needs() == {}


def test_a_late_frame_made_later_begins_with_the_late_rows_there_were() -> None:
    node = in_order(1)
    graph = Graph()
    graph.add(node, None)
    graph.step(Batch(table([5.0, 1.0, 2.0]), frozenset({0})))

    handle = graph.add(Late(node), None)

    first = graph.first_change(handle)
    assert first is not None
    assert times(first.change.added) == [1.0, 2.0]


def test_the_state_is_what_waits() -> None:
    line = Line(in_order(10))
    text = ["a long text that does not fit into a view " * 20] * 100
    line.step(table([float(i % 7) for i in range(100)], note=text))
    held = line.stage.bytes
    assert held > 80_000

    line.quiet(final=True)

    assert line.stage.bytes == 0


STREAM = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.integers(0, 2),
        st.sampled_from([True, True, True, True, False]),
    ),
    max_size=60,
)
LENGTHS = st.lists(st.integers(0, 9), max_size=40)


def stream(drawn: list[tuple[int, int, bool]]) -> pl.DataFrame:
    """Times that rise by fits and starts, over three partitions; some rows have none."""
    seen = [
        None if not timed else at / 4 + back / 2
        for at, (back, _, timed) in enumerate(drawn)
    ]
    parts = [part for _, part, _ in drawn]
    return table(seen, parts, [0.0] * len(drawn), n=list(range(len(drawn))))


def run(rows: pl.DataFrame, lengths: list[int], **given: Any) -> Line:
    line = Line(in_order(1), **given)
    for piece in cut(rows, lengths):
        line.step(piece, (0, 1, 2))
    return line


@settings(max_examples=100, deadline=None)
@given(STREAM, LENGTHS)
def test_any_cut_gives_the_same_rows_and_the_same_late_ones(
    drawn: list[tuple[int, int, bool]], lengths: list[int]
) -> None:
    rows = stream(drawn)
    whole, pieces = run(rows, []), run(rows, lengths)

    assert pieces.lines().equals(whole.lines())
    assert pieces.lines("late").equals(whole.lines("late"))
    assert pieces.counts == whole.counts
    for line in (whole, pieces):
        line.step(rows.clear(), (0, 1, 2), final=True)
    good = rows.join(whole.lines("late"), on=[PART, SEQ], how="anti").filter(
        pl.col(TIME).is_not_null()
    )
    assert pieces.lines().equals(good.sort(HIDDEN))
    assert pieces.stage._pending.height == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=50),
    LENGTHS,
    st.randoms(use_true_random=False),
)
def test_any_interleaving_gives_the_same_if_nobody_trails_too_far(
    drawn: list[tuple[int, int]], lengths: list[int], chance: Any
) -> None:
    ahead = [at / 4 + jump / 4 for at, (jump, _) in enumerate(drawn)]  # ≤ 0.75 s behind
    rows = table(ahead, [part for _, part in drawn])
    queues = [rows.filter(pl.col(PART) == part).rows() for part in range(3)]
    mixed = []
    while any(queues):
        mixed.append(chance.choice([each for each in queues if each]).pop(0))
    other = pl.DataFrame(mixed, schema=rows.schema, orient="row")

    ends = []
    for each in (rows, other):
        line = run(each, lengths)
        line.step(each.clear(), (0, 1, 2), final=True)
        assert line.counts.late == 0
        ends.append(line.lines())

    assert ends[0].equals(ends[1])
    assert ends[0].equals(rows.sort(HIDDEN))


@settings(max_examples=40, deadline=None)
@given(STREAM, LENGTHS)
def test_what_is_needed_is_the_oldest_of_what_has_not_left(
    drawn: list[tuple[int, int, bool]], lengths: list[int]
) -> None:
    rows = stream(drawn)
    line = Line(in_order(1), committing=True)
    came = rows.clear()
    for piece in cut(rows, lengths):
        line.step(piece, (0, 1, 2))
        came = pl.concat([came, piece])
        gone = pl.concat([line.lines(), line.lines("late").select(rows.columns)])
        left = came.filter(pl.col(TIME).is_not_null())
        left = left.join(gone, on=[PART, SEQ], how="anti")
        oldest = left.group_by(PART).agg(pl.col("__stamp", SEQ).sort_by(SEQ).first())
        assert line.graph.low.oldest == {p: (s, q) for p, s, q in oldest.rows()}


def test_thousands_of_small_batches_keep_few_runs() -> None:
    line = Line(in_order(100_000))

    for number in range(300):
        line.step(
            table([float(number * 7 % 50)]).with_columns(pl.lit(number).alias(SEQ))
        )

    assert line.stage._pending.height == 300
    assert len(line.stage._pending._runs) <= 8 * 3
    line.quiet(final=True)
    assert times(line.lines()) == sorted(times(line.lines()))
