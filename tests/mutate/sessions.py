"""Rules of sessions: what touches, what becomes one, what is over."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_TESTS = ("tests/engine/test_sessions.py", "tests/engine/test_golden_windows.py")
_STAGE, _SLOTS = "engine/sessions.py", "engine/sessionslots.py"


def _stage(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _STAGE, text, instead, why, _TESTS)


def _slots(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _SLOTS, text, instead, why, _TESTS)


SESSIONS = (
    _stage(
        "an exact gap is no gap",
        "(np.diff(time) >= gap)",
        "(np.diff(time) > gap)",
        "two sessions of one batch become one",
    ),
    _stage(
        "a row whose own session is just over is on time",
        "over = good & (clock + gap <= limit)",
        "over = good & (clock + gap < limit)",
        "a session is over as it begins",
    ),
    _stage(
        "rows may touch closed sessions",
        "closed = [each for each in mine[low:high] if each[1] <= over]",
        "closed = []",
        "a session that was delivered begins again inside of itself",
    ),
    _stage(
        "late by the row's own session",
        "found.append((row, start, until, over - until))",
        "found.append((row, time, end, over - end))",
        "a row is late by less than nothing",
    ),
    _stage(
        "a session that grows backwards keeps its old row",
        "return effect._replace(removed=self._removed)",
        "return effect",
        "two rows for one session",
    ),
    _stage(
        "closed sessions are never forgotten",
        "gone = self._sessions.forget(limit - self._gap)",
        "gone = self._sessions.forget(NONE)",
        "memory and commits stand still",
    ),
    _stage(
        "closed sessions are forgotten at once",
        "gone = self._sessions.forget(limit - self._gap)",
        "gone = self._sessions.forget(limit)",
        "rows touch sessions that were delivered",
    ),
    _stage(
        "absorbed sessions lose their states",
        "self._aggregator.absorb(joined.into, joined.absorbed)",
        "pass",
        "sums of a part of the rows",
    ),
    _stage(
        "absorbed sessions lose their rows",
        "mine += [absorbed, *self._aliases.pop(absorbed, [])]",
        "self._aliases.pop(absorbed, [])",
        "medians of a part of the rows",
    ),
    _stage(
        "absorbed sessions lose their needs",
        "self.needs.absorb(one, other)",
        "pass",
        "a restart rebuilds a session with a part of its rows",
    ),
    _stage(
        "what an earlier reading closed comes again in parts",
        "return slots[self._sessions.ends[slots] > self._past_over]",
        "return slots",
        "a session is delivered a second time with a part of its rows",
    ),
    _stage(
        "rows read again are judged by where the earlier reading was",
        "limit = np.where(again, limit, np.maximum(limit, self._past_over))",
        "limit = np.maximum(limit, self._past_over)",
        "an open session is rebuilt without its first rows",
    ),
    _stage(
        "sessions are whole from the first row on",
        "return starts < self._from + self._gap",
        "return starts < self._from",
        "a session that had begun before is not marked as partial",
    ),
    _slots(
        "sessions touch at their ends",
        "while high < len(mine) and self.starts[mine[high]] < end:",
        "while high < len(mine) and self.starts[mine[high]] <= end:",
        "two sessions an exact gap apart become one",
    ),
    _slots(
        "a bridged session stays open",
        "del mine[low + 1 : high]",
        "pass",
        "a session that is not there any more closes",
    ),
    _slots(
        "a session ends when it first did",
        "heapq.heapreplace(self._order, (int(self.ends[slot]), serial, slot))",
        "return self._order[0]",
        "sessions close before their last row has come",
    ),
    _slots(
        "a session does not grow backwards",
        "start, end = min(first, int(self.starts[slot])), max(end, int(self.ends[last]))",
        "start, end = int(self.starts[slot]), max(end, int(self.ends[last]))",
        "rows lie before the window they are in",
    ),
)
