"""Rules of sessions: what is told of them, and of those that an earlier reading knew."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_TESTS = ("tests/engine/test_sessions.py", "tests/engine/test_golden_windows.py")
_STAGE = "engine/sessions.py"


def _stage(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _STAGE, text, instead, why, _TESTS)


RETOLD = (
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
)
