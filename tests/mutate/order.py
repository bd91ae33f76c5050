"""Rules by which rows wait for their order."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_TESTS = ("tests/engine/test_in_order.py", "tests/engine/test_edges.py")
_FILE, _WAITING = "engine/inorder.py", "engine/pending.py"


def _order(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _TESTS)


def _wait(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _WAITING, text, instead, why, _TESTS)


ORDER = (
    _order(
        "a row exactly at the limit is late",
        "late = times.good & (times.values < limit)",
        "late = times.good & (times.values <= limit)",
        "the lateness is a microsecond shorter than said",
    ),
    _order(
        "late rows are put out",
        "good = judged.times.good & ~judged.late",
        "good = judged.times.good",
        "rows come out of order",
    ),
    _order(
        "the end lets nothing go",
        "limit = FOREVER if final else self._limit",
        "limit = self._limit",
        "the last rows of a bounded input never come",
    ),
    _order(
        "lateness is not granted",
        "return less(self._watermark.mark, self.node.lateness.us)",
        "return self._watermark.mark",
        "rows leave before earlier ones have come",
    ),
    _order(
        "rows in order already wait",
        "if origin.frontier is None:\n            rows",
        "if True:\n            rows",
        "rows of a merge wait for a lateness that is not theirs",
    ),
    _order(
        "late by the wrong sign",
        "(judged.limit - judged.times.values)[judged.late]",
        "(judged.times.values - judged.limit)[judged.late]",
        "`_late_by` misleads whoever sets a lateness by it",
    ),
    _order(
        "what is late is not remembered",
        "self._late.add(late)",
        "pass",
        "a `.late` made later begins without it",
    ),
    _wait(
        "a row at the limit leaves",
        'end = int(np.searchsorted(run.times, before, "left"))',
        'end = int(np.searchsorted(run.times, before, "right"))',
        "rows of one time leave in two orders",
    ),
    _wait(
        "rows that left come again",
        "pieces.append(without(run.rows[run.start : end], (_CAME,)))",
        "pieces.append(without(run.rows[:end], (_CAME,)))",
        "rows come twice",
    ),
    _wait(
        "pieces are put one behind the other",
        "return pieces[0] if len(pieces) == 1 else in_event_order(pl.concat(pieces))",
        "return pl.concat(pieces)",
        "rows of two runs come out of order",
    ),
    _wait(
        "merged runs are not sorted",
        "whole = in_event_order(pl.concat(run.rows[run.start :] for run in last))",
        "whole = pl.concat(run.rows[run.start :] for run in last)",
        "rows of eight batches come out of order",
    ),
    _wait(
        "merged runs bring back what left",
        "whole = in_event_order(pl.concat(run.rows[run.start :] for run in last))",
        "whole = in_event_order(pl.concat(run.rows for run in last))",
        "rows come twice",
    ),
    _wait(
        "equal times count as sorted",
        "return bool((times[1:] > times[:-1]).all())",
        "return bool((times[1:] >= times[:-1]).all())",
        "ties hang on how partitions took turns",
    ),
    _wait(
        "rows are sorted by time alone",
        "return rows.sort(*HIDDEN, maintain_order=True)",
        "return rows.sort(TIME, maintain_order=True)",
        "ties hang on how partitions took turns",
    ),
    _wait(
        "runs are never merged",
        "if len(last) < _FEW or not alike or rows > _LARGEST_MERGE:",
        "if True:",
        "a release looks at thousands of runs",
    ),
    _wait(
        "rows that left are needed",
        'at = int(np.searchsorted(rows.at, run.start, "left"))',
        "at = 0",
        "nothing is ever committed",
    ),
    _wait(
        "the newest that waits is needed",
        "if at < len(rows.at) and rows.came[at] < first.get(part, FOREVER):",
        "if at < len(rows.at) and rows.came[at] > first.get(part, -1):",
        "a restart loses rows that waited",
    ),
)
