"""Rules by which windows close, are given up, and are corrected."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_TESTS = ("tests/engine/test_windows.py", "tests/engine/test_edges.py")
_NEEDS = ("tests/engine/test_needs.py", "tests/engine/test_edges.py")
_FRAMES = ("tests/engine/test_edges.py", "tests/engine/test_frames.py")
_KEPT = ("tests/engine/test_kept.py", "tests/engine/test_edges.py")
_FILE, _ACCOUNT = "engine/window.py", "engine/needs.py"
_KEYED = "engine/keyed.py"


def _window(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _TESTS)


def _need(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _ACCOUNT, text, instead, why, _NEEDS)


def _keyed(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _KEYED, text, instead, why, _FRAMES)


_CLOSING = (
    _window(
        "a window that ends at the limit is not over",
        "missed = good & (ends <= limit)",
        "missed = good & (ends < limit)",
        "a closed window opens again",
    ),
    _window(
        "late rows go in all the same",
        "            good = good & ~missed\n",
        "",
        "what was delivered as closed changes afterwards",
    ),
    _window(
        "rows of evicted windows are not late",
        "limit = np.maximum(self._limits(marks), self.evicted_until)",
        "limit = self._limits(marks)",
        "an evicted window comes again with a part of its rows",
    ),
    _window(
        "lateness is not granted to a row",
        "return np.where(marks == NONE, NONE, marks - lateness)",
        "return marks",
        "rows in time are late",
    ),
    _window(
        "windows close without their lateness",
        "return NONE if lateness is None else less(self._watermark.mark, lateness)",
        "return NONE if lateness is None else self._watermark.mark",
        "windows close before rows in time have come",
    ),
    _window(
        "the end closes nothing",
        "        if final:\n            return FOREVER\n",
        "",
        "the last windows of a bounded input never close",
    ),
    _window(
        "windows without a lateness close",
        "return NONE if lateness is None else less(self._watermark.mark, lateness)",
        "return less(self._watermark.mark, lateness or 0)",
        "lateness=None drops rows",
    ),
    _window(
        "the watermark stays where it was",
        "self._watermark = judged.watermark",
        "pass",
        "nothing closes",
    ),
    Mutant(
        "judging moves the watermark",
        _FILE,
        "watermark = self._watermark.copy()",
        "watermark = self._watermark",
        "a batch that fails and is judged again finds its own rows late",
        ("tests/engine/test_states.py",),
    ),
    _window(
        "closing windows take the room of open ones",
        "self._slots.pop_oldest(self._max_open + len(closing))",
        "self._slots.pop_oldest(self._max_open)",
        "windows are given up that would have fitted",
    ),
    _window(
        "evictions are forgotten",
        "self.evicted_until = max(self.evicted_until, latest)",
        "pass",
        "an evicted window comes again with a part of its rows",
    ),
    _window(
        "closed windows are corrected twice",
        "going[closing] = True",
        "pass",
        "a change holds the same key twice",
    ),
    _window(
        "closed windows come in any order",
        "closed = self._frame(closing, closed=True).sort(order)",
        "closed = self._frame(closing[::-1], closed=True)",
        "windows over closed windows find them late",
    ),
    _window(
        "closed windows are numbered from 0 each time",
        "self._closed_count += closed.height",
        "pass",
        "two closed windows have one offset",
    ),
    _window(
        "a window that begins with the frame is partial",
        "return starts < self._from\n",
        "return starts <= self._from\n",
        "whole windows are marked as partial",
    ),
    _window(
        "closed windows are not remembered",
        "self._done.add(closed)",
        "pass",
        "a frame made later begins without them",
    ),
    _window(
        "late rows are not remembered",
        "self._late.add(late)",
        "pass",
        "a `.late` made later begins without them",
    ),
    _window(
        "slots of closed windows are kept",
        "self._slots.release(slots)",
        "pass",
        "memory grows with every window gone by",
    ),
    _window(
        "raw rows of closed windows are kept",
        "self._aggregator.forget(np.unique(self._slots.starts[slots]).tolist())",
        "pass",
        "memory grows with every window gone by",
    ),
    _window(
        "raw rows are not kept",
        "self._aggregator.keep(slots, groups, judged.taken)",
        "pass",
        "a median is of nothing",
    ),
    _window(
        "the first row's own time is not noted",
        "self._from_first_row = False",
        "self._from_first_row = True",
        "every batch makes windows partial anew",
    ),
    Mutant(
        "rows of an earlier reading are late, not expired",
        _FILE,
        "return missed.where(~gone), missed.where(gone)",
        "return missed, missed.where(gone)",
        "a restart lists thousands of late rows that were not",
        _NEEDS,
    ),
    Mutant(
        "rows of an earlier reading's closed windows go in",
        _FILE,
        "self.evicted_until = self._past_over",
        "self.evicted_until = NONE",
        "after a restart windows come a second time with a part of their rows",
        _NEEDS,
    ),
    Mutant(
        "seed rows of an idle partition are late",
        "engine/graph.py",
        "holding = self._holding | set(parts)",
        "holding = self._holding",
        "a frame made later leaves out what its parent had in time",
        _TESTS,
    ),
)

_NEEDED = (
    _need(
        "the newest record is needed",
        "window.setdefault(part, (self._came + row, place))",
        "window[part] = (self._came + row, place)",
        "a restart rebuilds windows with a part of their rows",
    ),
    _need(
        "closed windows need their records",
        "self._first.pop(start, None)",
        "pass",
        "nothing is ever committed",
    ),
    _need(
        "the newest of all windows is needed",
        "found[part] = min(each, found.get(part, each))",
        "found[part] = max(each, found.get(part, each))",
        "a restart rebuilds windows with a part of their rows",
    ),
    _need(
        "the newest of all steps is needed",
        "found[part] = min(place, found.get(part, place), key=rank)",
        "found[part] = max(place, found.get(part, place), key=rank)",
        "a restart rebuilds windows with a part of their rows",
    ),
    _need(
        "the first record not read counts as read",
        "read |= mine & (seqs < seq)",
        "read |= mine & (seqs <= seq)",
        "a record is passed over after a restart",
    ),
    _need(
        "an id counts as read by its time alone",
        "earlier = (stamps < stamp) | ((stamps == stamp) & (seqs < seq))",
        "earlier = stamps <= stamp",
        "records of one millisecond are passed over after a restart",
    ),
)

_CHANGES = (
    _keyed(
        "rows that pass are not remembered",
        "inside.add(key)",
        "pass",
        "a row that stops passing a filter stays in the frame",
    ),
    _keyed(
        "rows that never passed are removed",
        "            elif key in inside:\n                inside.remove(key)\n                gone.append(place)\n        return changed",
        "            else:\n                inside.discard(key)\n                gone.append(place)\n        return changed",
        "sinks are told of deletions that are none",
    ),
    _keyed(
        "a removed row is removed again",
        "                inside.remove(key)\n                gone.append(place)",
        "                gone.append(place)",
        "sinks are told of a deletion twice",
    ),
    _keyed(
        "windows that are open are forgotten",
        "for s, keys in self._inside.items() if is_open(s)}",
        "for s, keys in self._inside.items() if not is_open(s)}",
        "a row that stops passing a filter stays in the frame",
    ),
    Mutant(
        "a piece too many is dropped",
        "engine/kept.py",
        "while self._rows - self._pieces[0][0].height >= self._most:",
        "while self._rows > self._most:",
        "a frame made later begins with less than was kept",
        _KEPT,
    ),
    Mutant(
        "bytes of what was dropped still count",
        "engine/kept.py",
        "            gone, held = self._pieces.popleft()\n"
        "            self._rows -= gone.height\n            self.bytes -= held",
        "            gone, held = self._pieces.popleft()\n"
        "            self._rows -= gone.height",
        "state seems to grow for ever",
        _KEPT,
    ),
)

WINDOWS = (*_CLOSING, *_NEEDED, *_CHANGES)
