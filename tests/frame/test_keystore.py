"""The store of a keyed frame; the model is a dict."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.changes import Change
from streamlab.durations import Span
from streamlab.frames import keystore
from streamlab.frames.keystore import KeyRules, KeyStore
from streamlab.frames.store import Budget, Counts, Keep, bytes_held

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")
SCHEMA = pl.Schema({"at": TIME, "key": pl.String(), "value": pl.Int64()})
Key = tuple[int, str | None]

keys = st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None]))
steps = st.lists(
    st.tuples(
        st.dictionaries(keys, st.integers(0, 5), max_size=5), st.sets(keys, max_size=3)
    ),
    max_size=12,
)
Steps = list[tuple[dict[Key, int], set[Key]]]


def moment(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


def change(added: dict[Key, int], removed: set[Key]) -> Change:
    gone = sorted(removed - set(added), key=str)
    return Change(
        pl.DataFrame(
            [(moment(t), k, v) for (t, k), v in added.items()], SCHEMA, orient="row"
        ),
        pl.DataFrame(
            [(moment(t), k) for t, k in gone],
            {"at": TIME, "key": pl.String()},
            orient="row",
        ),
        0,
        0,
        None,
    )


def store(keep: Keep, budget: int = 10**9) -> KeyStore:
    return KeyStore(
        pl.DataFrame(schema=SCHEMA), KeyRules(("at", "key"), keep), Budget(budget)
    )


def content(made: KeyStore) -> list[tuple[Any, ...]]:
    return made.held().frame().rows()


def order(key: Key) -> tuple[int, bool, str]:
    return key[0], key[1] is not None, key[1] or ""


class Model:
    """A dict; what is forgotten is judged after every change."""

    def __init__(self, rows: int | None, age: int | None) -> None:
        self.rows, self.age = rows, age
        self.held: dict[Key, int] = {}
        self.put = self.forgotten = self.replaced = self.removed = 0

    def take(self, added: dict[Key, int], removed: set[Key]) -> None:
        self.put += len(added)
        self.replaced += len(added.keys() & self.held.keys())
        self.held |= added
        gone = (removed - set(added)) & self.held.keys()
        self.removed += len(gone)
        left = {k: v for k, v in self.held.items() if k not in gone}
        kept = dict(sorted(left.items(), key=lambda item: order(item[0])))
        if self.age is not None and kept:
            newest = max(time for time, _ in kept)
            kept = {k: v for k, v in kept.items() if k[0] >= newest - self.age}
        if self.rows is not None:
            kept = dict(list(kept.items())[-self.rows :])
        self.forgotten += len(left) - len(kept)
        self.held = kept

    def content(self) -> list[tuple[Any, ...]]:
        return [(moment(t), k, v) for (t, k), v in self.held.items()]


limits = st.one_of(st.none(), st.integers(1, 6))


@settings(deadline=None, max_examples=60)
@given(steps, limits, limits, st.randoms(use_true_random=False))
def test_the_last_word_on_every_key_is_kept_whoever_looks_when(
    changes: Steps, rows: int | None, age: int | None, chance: random.Random
):
    span = None if age is None else Span(0, age * 1_000_000)
    made, model = store(Keep(rows, span)), Model(rows, age)
    for added, removed in changes:
        made.put(change(added, removed), watched=chance.random() < 0.2)
        model.take(added, removed)
        if chance.random() < 0.3:
            assert content(made) == model.content()

    assert content(made) == model.content()
    counts = made.counts()
    assert counts.put == model.put
    assert (counts.kept, counts.removed) == (len(model.held), model.removed)
    assert (
        counts.put == counts.kept + counts.forgotten + counts.replaced + counts.removed
    )


@settings(deadline=None, max_examples=60)
@given(steps)
def test_each_term_is_counted_as_the_model_counts_it(changes: Steps):
    made, model = store(Keep(rows=4)), Model(4, None)
    for added, removed in changes:
        made.put(change(added, removed), watched=True)
        model.take(added, removed)

    assert made.counts() == Counts(
        model.put, len(model.held), model.forgotten, model.replaced, model.removed
    )


@settings(deadline=None, max_examples=150)
@given(steps, limits, limits, st.integers(2, 4), st.randoms(use_true_random=False))
def test_who_watches_is_told_what_was_forgotten_at_once(
    changes: Steps, rows: int | None, age: int | None, run: int, chance: random.Random
):
    """Whether or not it took settling, however many changes are put together."""
    span = None if age is None else Span(0, age * 1_000_000)
    made, model = store(Keep(rows, span)), Model(rows, age)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keystore, "RUN", run)
        for added, removed in changes:
            before = model.forgotten
            put = made.put(change(added, removed), watched=True)
            model.take(added, removed)
            assert put.forgotten == model.forgotten - before
            if chance.random() < 0.3:
                assert content(made) == model.content()

    assert content(made) == model.content()
    assert made.counts() == Counts(
        model.put, len(model.held), model.forgotten, model.replaced, model.removed
    )


@pytest.mark.parametrize(
    "keep",
    [Keep(), Keep(rows=10), Keep(age=Span(0, 10_000_000)), Keep(bytes=1_000_000)],
    ids=["all", "exactly what there is", "as old as it is", "bytes"],
)
def test_who_watches_does_not_make_each_change_cost_the_whole_frame(keep: Keep):
    made = store(keep)
    made.put(change({(t, "a"): 0 for t in range(10)}, set()))
    made.held().frame()

    for value in range(1000):
        made.put(change({(3, "a"): value, (7, "a"): value}, set()), watched=True)
        held = made.held()
        assert isinstance(held, keystore.HeldKeys)
        assert not held.settled

    assert made.bytes < 20_000
    assert made.held().height == 10


@pytest.mark.parametrize(
    "keep", [Keep(rows=50), Keep(age=Span(0, 49_000_000))], ids=["rows", "age"]
)
def test_a_full_frame_that_moves_on_lets_its_oldest_rows_go_without_settling(
    keep: Keep,
):
    made = store(keep)
    made.put(change({(t, "a"): 0 for t in range(50)}, set()))
    made.held().frame()

    for second in range(50, 80):
        put = made.put(change({(second, "a"): 1, (49, "a"): 2}, set()), watched=True)
        assert put.forgotten == 1
        held = made.held()
        assert isinstance(held, keystore.HeldKeys)
        assert not held.settled

    assert [at for at, _, _ in content(made)] == [moment(t) for t in range(30, 80)]
    # A key that went comes again: it is too old, and goes again.
    back = made.put(change({(3, "a"): 1}, set()), watched=True)
    assert back.forgotten == 1
    assert made.held().height == 50


@settings(deadline=None, max_examples=60)
@given(steps, st.randoms(use_true_random=False))
def test_a_snapshot_taken_earlier_never_changes(changes: Steps, chance: random.Random):
    made, model, snapshots = store(Keep(rows=6)), Model(6, None), []
    for added, removed in changes:
        made.put(change(added, removed))
        model.take(added, removed)
        snapshots.append((made.held(), model.content()))

    chance.shuffle(snapshots)

    for held, rows in snapshots:
        assert held.frame().rows() == rows


def test_one_version_is_put_together_once():
    made = store(Keep())
    made.put(change({(1, "a"): 1}, set()))

    assert made.held() is made.held()
    assert made.held().frame() is made.held().frame()


def test_who_watches_is_told_how_many_were_forgotten():
    made = store(Keep(rows=2))
    made.put(change({(1, "a"): 1, (2, "a"): 1}, set()), watched=True)

    told = made.put(change({(3, "a"): 1, (1, "b"): 1}, set()), watched=True)

    assert told.forgotten == 2


def test_many_changes_settle_without_anybody_looking():
    made = store(Keep())
    for number in range(200):
        made.put(change({(n, "a"): number for n in range(100)}, {(500, "a")}))

    assert len(made._waiting) < 40
    assert made.counts().replaced == 19_900


def test_shrinking_drops_the_older_half():
    made = store(Keep())
    made.put(change({(n, "a"): n for n in range(9)}, set()))

    assert made.shrink() == 5
    assert [row[2] for row in content(made)] == [5, 6, 7, 8]
    assert made.counts() == (9, 4, 5, 0, 0)
    assert [made.shrink() for _ in range(4)] == [2, 1, 1, 0]
    assert made.budget.held == made.bytes


def test_clearing_names_the_keys_that_go():
    made = store(Keep())
    made.put(change({(1, "a"): 1, (2, None): 2}, set()))

    told = made.clear()

    assert told.removed.rows() == [(moment(1), "a"), (moment(2), None)]
    assert content(made) == []
    assert made.counts() == Counts()


def test_rows_that_were_replaced_hold_no_memory():
    made = store(Keep(rows=100))
    for number in range(50):
        long = pl.DataFrame(
            {
                "at": [EPOCH] * 1000,
                "key": [f"{n:04}" + "x" * 1000 for n in range(1000)],
                "value": [number] * 1000,
            },
            SCHEMA,
        )
        one = long.head(1)  # holds a million bytes of its batch
        assert bytes_held(one) > 900_000
        made.put(Change(one, one.select("at", "key").clear(), 0, 0, None))

    assert made.bytes < 500_000
    assert made.height == 1
    made.put(change({}, set()))
    assert bytes_held(made.held().frame()) <= made.bytes < 10_000


group_keys = st.sampled_from(["a", "b", "c", "d", None])


@settings(deadline=None, max_examples=100)
@given(
    changes=st.lists(
        st.tuples(
            st.dictionaries(group_keys, st.integers(0, 5), max_size=4),
            st.sets(group_keys, max_size=2),
        ),
        max_size=12,
    ),
    rows=st.none() | st.integers(1, 4),
    chance=st.randoms(use_true_random=False),
)
def test_of_a_running_group_those_rows_stay_that_changed_last(
    changes: list[tuple[dict[str | None, int], set[str | None]]],
    rows: int | None,
    chance: random.Random,
):
    schema = pl.Schema({"key": pl.String(), "value": pl.Int64()})
    rules = KeyRules(("key",), Keep(rows), by_key=False)
    made = KeyStore(pl.DataFrame(schema=schema), rules, Budget(10**9))
    held: dict[str | None, int] = {}  # in the order of the last change

    for added, removed in changes:
        gone = removed - set(added)
        made.put(
            Change(
                pl.DataFrame(list(added.items()), schema, orient="row"),
                pl.DataFrame({"key": list(gone)}, {"key": pl.String()}),
                0,
                0,
                None,
            ),
            watched=chance.random() < 0.3,
        )
        for key in sorted(added, key=lambda each: (each is not None, each or "")):
            held.pop(key, None)
            held[key] = added[key]
        held = {k: v for k, v in held.items() if k not in gone}
        while rows is not None and len(held) > rows:
            del held[next(iter(held))]
        if chance.random() < 0.3:
            made.held().frame()

    order = sorted(held, key=lambda each: (each is not None, each or ""))
    assert content(made) == [(key, held[key]) for key in order]
    counts = made.counts()
    assert counts.kept == len(held)
    assert (
        counts.put == counts.kept + counts.forgotten + counts.replaced + counts.removed
    )


def test_shrinking_a_running_group_drops_what_has_not_changed_for_longest():
    schema = pl.Schema({"key": pl.String(), "value": pl.Int64()})
    made = KeyStore(
        pl.DataFrame(schema=schema),
        KeyRules(("key",), Keep(), by_key=False),
        Budget(10**9),
    )
    nothing = pl.DataFrame({"key": []}, {"key": pl.String})
    for value, key in enumerate("dcbad"):
        rows = pl.DataFrame({"key": [key], "value": [value]})
        made.put(Change(rows, nothing, 0, 0, None))

    assert made.shrink() == 2
    assert content(made) == [("a", 3), ("d", 4)]
    made.put(Change(pl.DataFrame({"key": ["z"], "value": [9]}), nothing, 0, 0, None))
    assert made.shrink() == 2
    assert content(made) == [("z", 9)]
