"""Rules of sessions: what touches what, what is bridged, what is late for a closed one."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_TESTS = ("tests/engine/test_session_edges.py",)
_FILE, _SLOTS = "engine/sessions.py", "engine/sessionslots.py"


def _session(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _TESTS)


def _slot(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _SLOTS, text, instead, why, _TESTS)


SESSIONS = (
    _session(
        "a row exactly a gap later goes on with the session of its batch",
        "first[1:] = (np.diff(code) != 0) | (np.diff(time) >= gap)",
        "first[1:] = (np.diff(code) != 0) | (np.diff(time) > gap)",
        "sessions are longer than said",
    ),
    _session(
        "rows of two keys are one session",
        "first[1:] = (np.diff(code) != 0) | (np.diff(time) >= gap)",
        "first[1:] = np.diff(time) >= gap",
        "keys are mixed up",
    ),
    _session(
        "a session is over a microsecond late",
        "over = good & (clock + gap <= limit)",
        "over = good & (clock + gap < limit)",
        "a row whose own session is over begins one",
    ),
    _session(
        "a row that touches a closed session goes in",
        "taken[touching.rows] = False",
        "pass",
        "a second session overlaps one that was delivered",
    ),
    _session(
        "a session that ends at the limit is open",
        "closed = [each for each in mine[low:high] if each[1] <= over]",
        "closed = [each for each in mine[low:high] if each[1] < over]",
        "a second session overlaps one that was delivered",
    ),
    _session(
        "a session that this batch closed takes rows",
        "mine[low:high] = [whole]",
        "pass",
        "verdicts hang on how the stream was cut",
    ),
    _session(
        "what was in a bridged session is lost",
        "self._aggregator.absorb(joined.into, joined.absorbed)",
        "pass",
        "sums are of the first half",
    ),
    _session(
        "rows of a bridged session are lost",
        "mine += [absorbed, *self._aliases.pop(absorbed, [])]",
        "pass",
        "a median is of the first half",
    ),
    _session(
        "rows of a session bridged twice are lost",
        "mine += [absorbed, *self._aliases.pop(absorbed, [])]",
        "mine += [absorbed]",
        "a median is of the first half",
    ),
    _session(
        "old keys of bridged sessions stay",
        "return pl.DataFrame([starts, *keys.get_columns()])",
        "return pl.DataFrame([starts, *keys.get_columns()]).clear()",
        "the frame holds the halves beside the whole",
    ),
    _session(
        "a bridged session is needed under its old number",
        "self.needs.absorb(one, other)",
        "pass",
        "a restart rebuilds a session with a part of its rows",
    ),
    _session(
        "closed sessions are forgotten at once",
        "gone = self._sessions.forget(limit - self._gap)",
        "gone = self._sessions.forget(limit)",
        "a second session overlaps one that was delivered",
    ),
    _slot(
        "a row exactly a gap later goes on with the session",
        "low = bisect_right(mine, first, key=lambda slot: int(self.ends[slot]))",
        "low = bisect_right(mine, first - 1, key=lambda slot: int(self.ends[slot]))",
        "sessions are longer than said",
    ),
    _slot(
        "a session exactly a gap later is bridged",
        "while high < len(mine) and self.starts[mine[high]] < end:",
        "while high < len(mine) and self.starts[mine[high]] <= end:",
        "sessions are longer than said",
    ),
    _slot(
        "a session does not grow backwards",
        "start, end = min(first, int(self.starts[slot])), max(end, int(self.ends[last]))",
        "start, end = int(self.starts[slot]), max(end, int(self.ends[last]))",
        "rows lie before the start of their session",
    ),
    _slot(
        "a session ends where its newest batch does",
        "start, end = min(first, int(self.starts[slot])), max(end, int(self.ends[last]))",
        "start, end = min(first, int(self.starts[slot])), end",
        "sessions close too early",
    ),
    _slot(
        "a session closes where it once ended",
        "elif self.ends[slot] != end:",
        "elif self.ends[slot] < end:",
        "sessions close too early",
    ),
    _slot(
        "absorbed sessions close too",
        "self.serials[each] = -self.serials[each]  # not in the heap any more",
        "pass",
        "halves of a session are delivered",
    ),
    _slot(
        "sessions that end exactly then stay",
        "while (top := self._top()) is not None and top[0] <= end:",
        "while (top := self._top()) is not None and top[0] < end:",
        "sessions close one row late",
    ),
    _slot(
        "closed sessions are not remembered",
        "self._over[key] = start, end",
        "self._over[key] = 0, 0",
        "a second session overlaps one that was delivered",
    ),
)
