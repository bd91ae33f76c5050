"""Rules of joins by time and of merges: who waits for whom, what is found, what is let go."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_JOINS = ("tests/engine/test_joins.py", "tests/engine/test_join_edges.py")
_MERGES = ("tests/engine/test_merge.py",)
_FILE, _LOOKUP = "engine/joining.py", "engine/lookup.py"
_SIDES, _MERGING = "engine/sides.py", "engine/merging.py"


def _join(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _JOINS)


def _look(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _LOOKUP, text, instead, why, _JOINS)


JOINS = (
    _join(
        "left rows do not wait for the tolerance",
        "ahead = self._tolerance if self._ahead else 0",
        "ahead = 0",
        "right rows that come in time are not found",
    ),
    _join(
        "joined rows are said to be further than they are",
        "return min(self._left.at, self._limit)",
        "return max(self._left.at, self._limit)",
        "what hangs on the join leaves rows out",
    ),
    _join(
        "rows without a partner are lost",
        "        if not self._inner:\n            asked",
        "        if self._inner:\n            asked",
        "left and inner joins change places",
    ),
    _join(
        "right rows are let go by the newest left row",
        "next_left = min(self._left.at, self._waiting.oldest)",
        "next_left = self._left.at",
        "a left row that waits does not find what it waited for",
    ),
    _join(
        "right rows are let go at once",
        'back = 0 if self.node.strategy == "forward" else self._tolerance',
        "back = 0",
        "the last known value is not found",
    ),
    _join(
        "right rows within the tolerance are let go",
        '        if self.node.kind == "within":\n            back = self._tolerance',
        '        if self.node.kind == "within":\n            back = 0',
        "pairs are missing",
    ),
    _join(
        "lonely rows come behind the others",
        'order = np.argsort(asked, kind="stable")',
        "order = np.arange(len(asked))",
        "rows are out of order",
    ),
    _look(
        "a row exactly at the time is not before it",
        'at = self.cut(numbers, times, "right") - 1',
        'at = self.cut(numbers, times, "left") - 1',
        "a quote of the same moment is not found",
    ),
    _look(
        "a row exactly at the time is not after it",
        'return self._checked(self.cut(numbers, times, "left"), numbers)',
        'return self._checked(self.cut(numbers, times, "right"), numbers)',
        "a quote of the same moment is not found",
    ),
    _look(
        "keys are mixed up",
        "same = inside & (codes // self._span == numbers)",
        "same = inside",
        "a trade finds another symbol's quote",
    ),
    _look(
        "exactly the tolerance away is too far",
        "better = (place != NOWHERE) & (away <= self._away)",
        "better = (place != NOWHERE) & (away < self._away)",
        "the tolerance is a microsecond shorter than said",
    ),
    _look(
        "of equal ones the last wins always",
        "better &= (self.run == NOWHERE) | (away < self._away)",
        "pass",
        "forward finds the last of one time, not the first",
    ),
    _look(
        "any tolerance will do",
        "self._away: Int64s = np.full(height, tolerance, np.int64)",
        "self._away: Int64s = np.full(height, 2**62, np.int64)",
        "stale values are joined",
    ),
    _look(
        "pairs exactly the tolerance earlier are missing",
        'low = run.cut(numbers, times - tolerance, "left")',
        'low = run.cut(numbers, times - tolerance, "right")',
        "the tolerance is a microsecond shorter than said",
    ),
    _look(
        "pairs exactly the tolerance later are missing",
        'high = run.cut(numbers, times + tolerance, "right")',
        'high = run.cut(numbers, times + tolerance, "left")',
        "the tolerance is a microsecond shorter than said",
    ),
    _look(
        "null keys are found",
        "if number == NOWHERE and not holes[place]:",
        "if number == NOWHERE:",
        "rows without a key are joined with each other",
    ),
    _look(
        "keys are never forgotten",
        "                del self._numbers[self._keys.pop(number)]",
        "                pass",
        "memory grows with every key",
    ),
    _look(
        "a replaced row replaces its successor",
        "replaced[:-1] = (keys[1:] == keys[:-1]) & (self.times[places[1:]] <= time)",
        "replaced[1:] = (keys[1:] == keys[:-1]) & (self.times[places[1:]] <= time)",
        "an old value is found in place of the new one",
    ),
    _look(
        "rows that can still be wanted are replaced",
        "replaced[:-1] = (keys[1:] == keys[:-1]) & (self.times[places[1:]] <= time)",
        "replaced[:-1] = keys[1:] == keys[:-1]",
        "a left row that waits finds nothing",
    ),
    _look(
        "nothing is let go",
        'run.first = int(np.searchsorted(run.times, oldest, "left"))',
        "run.first = run.first",
        "memory grows for ever",
    ),
    Mutant(
        "a side goes back",
        _SIDES,
        "self.at = max(self.at, self.newest if at is None else at)",
        "self.at = self.newest if at is None else at",
        "rows leave before their partners have come",
        (*_MERGES, *_JOINS),
    ),
    Mutant(
        "a side that ended holds the other back",
        _SIDES,
        "at = FOREVER if batch.final else batch.frontier",
        "at = batch.frontier",
        "the last rows never come",
        (*_MERGES, *_JOINS),
    ),
    Mutant(
        "a row at the limit leaves",
        _SIDES,
        'count = int(np.searchsorted(first.times, limit, "left"))',
        'count = int(np.searchsorted(first.times, limit, "right"))',
        "rows of one time leave before the other side's",
        (*_MERGES, *_JOINS),
    ),
    Mutant(
        "rows that pass through do not wait",
        _SIDES,
        'count = int(np.searchsorted(times, limit, "left"))\n        self.add',
        "count = len(times)\n        self.add",
        "rows leave before their partners have come",
        (*_MERGES, *_JOINS),
    ),
    Mutant(
        "one side is enough",
        _MERGING,
        "return min(front.at for front in self._fronts)",
        "return max(front.at for front in self._fronts)",
        "rows come out of order",
        _MERGES,
    ),
    Mutant(
        "the sides are put one behind the other",
        _MERGING,
        'return both[np.argsort(times_of(both), kind="stable")]',
        "return both",
        "rows come out of order",
        _MERGES,
    ),
    Mutant(
        "partitions of two sources have one number",
        _MERGING,
        "rows = rows.with_columns(pl.col(PART) + pl.lit(self._shift, pl.Int32))",
        "pass",
        "ties and watermarks of two topics are mixed up",
        _MERGES,
    ),
)
