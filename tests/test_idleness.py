from __future__ import annotations

from streamlab.frames.idleness import Idleness
from streamlab.records import Partition, PartitionState

A, B = Partition("t", 0), Partition("t", 1)


def at(offset: int, *, caught_up: bool = True) -> PartitionState:
    return PartitionState(offset, caught_up, ended=False, behind=None)


def watch(*, empty: set[Partition] | None = None, after: float | None = 10) -> Idleness:
    return Idleness([A, B], empty=empty or set(), after=after)


def test_a_partition_is_idle_when_it_had_nothing_for_long_enough():
    idleness = watch()
    idleness.observe({A: at(1), B: at(1)}, 0, listening=True)

    idleness.observe({A: at(1), B: at(1)}, 9, listening=True)
    assert idleness.holding() == {A, B}

    idleness.observe({A: at(2), B: at(1)}, 11, listening=True)
    assert idleness.idle() == {B}


def test_a_record_ends_its_idleness():
    idleness = watch()
    idleness.observe({A: at(1), B: at(1)}, 0, listening=True)
    idleness.observe({A: at(1), B: at(1)}, 20, listening=True)
    assert idleness.idle() == {A, B}

    idleness.observe({A: at(1), B: at(2)}, 21, listening=True)

    assert idleness.holding() == {B}


def test_time_without_listening_does_not_count():
    idleness = watch()
    idleness.observe({A: at(1), B: at(1)}, 0, listening=True)

    idleness.observe({A: at(1), B: at(1)}, 3_600, listening=False)
    idleness.observe({A: at(1), B: at(1)}, 3_605, listening=True)

    assert idleness.holding() == {A, B}


def test_time_behind_the_end_does_not_count():
    idleness = watch()
    idleness.observe({A: at(1), B: at(1)}, 0, listening=True)

    idleness.observe({A: at(1, caught_up=False), B: at(1)}, 11, listening=True)

    assert idleness.holding() == {A}


def test_a_partition_that_was_empty_at_the_start_never_holds_before_its_first_record():
    idleness = watch(empty={B})
    idleness.observe({A: at(1), B: at(0)}, 0, listening=True)
    assert idleness.holding() == {A}

    idleness.observe({A: at(1), B: at(1)}, 1, listening=True)

    assert idleness.holding() == {A, B}


def test_without_a_limit_nobody_is_ever_idle():
    idleness = watch(after=None)
    idleness.observe({A: at(1), B: at(1)}, 0, listening=True)

    idleness.observe({A: at(1), B: at(1)}, 10**6, listening=True)

    assert idleness.holding() == {A, B}
