"""Rules of overlapping windows: which hold a row, and how their rows are put together."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_TESTS = ("tests/engine/test_hopping_edges.py",)
_LINE, _FILE, _AGGREGATOR = (
    "engine/hops.py",
    "engine/hopping.py",
    "engine/aggregator.py",
)


def _line(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _LINE, text, instead, why, _TESTS)


def _hop(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _TESTS)


HOPPING = (
    _line(
        "a window is over a microsecond late",
        "number: Int64s = (times - self.first - self.length) // self.step",
        "number: Int64s = (times - self.first - self.length - 1) // self.step",
        "a row at the end of a window goes into it",
    ),
    _line(
        "a window begins a microsecond late",
        "number: Int64s = (times - self.first) // self.step",
        "number: Int64s = (times - self.first - 1) // self.step",
        "a row at the start of a window does not go into it",
    ),
    _line(
        "windows are as long as they are apart",
        "return place, starts, starts + self.length",
        "return place, starts, starts + self.step",
        "windows close too early",
    ),
    _line(
        "ends that do not rise are taken for rising",
        "self._rise = np.array_equal(self._sorted, ends)",
        "self._rise = True",
        "in the hour that comes twice rows go into windows that are over",
    ),
    _hop(
        "rows go into windows that are over",
        "line.over(clock), line.over(np.maximum(clock, limit))",
        "line.over(clock), line.over(clock)",
        "a closed window opens again",
    ),
    _hop(
        "a row that one window took is late",
        "late &= ~taken",
        "pass",
        "received = passed + … + late does not hold",
    ),
    _hop(
        "a window that ends at the limit is not over",
        "pairs = Pairs(row, starts, ends, behind).where(behind >= 0)",
        "pairs = Pairs(row, starts, ends, behind).where(behind > 0)",
        "a pair is neither taken nor late",
    ),
    _hop(
        "pairs that were taken are late",
        "pairs = Pairs(row, starts, ends, behind).where(behind >= 0)",
        "pairs = Pairs(row, starts, ends, behind)",
        "`.late` lists windows that the row went into",
    ),
    _hop(
        "rows that miss some windows go into them all the same",
        "return self._aggregator.over(judged.taken, (OVER, *self.node.by))",
        "return self._aggregator.over("
        "judged.taken.with_columns(pl.col(OVER).min()), (OVER, *self.node.by))",
        "a closed window opens again",
    ),
    _hop(
        "only the newest record of a window is needed",
        'first = taken.unique(alike, keep="first", maintain_order=True)',
        'first = taken.unique(alike, keep="last", maintain_order=True)',
        "a restart rebuilds windows with a part of their rows",
    ),
    Mutant(
        "a slot that is given several groups keeps the last",
        _AGGREGATOR,
        "            new = new[:0]",
        "            new = new[:]",
        "a window has a part of its rows",
        _TESTS,
    ),
    Mutant(
        "a row is kept for its first window only",
        _AGGREGATOR,
        "at = begin[group[row]] + within(copies)",
        "at = begin[group[row]]",
        "a median is of one window's rows",
        _TESTS,
    ),
)
