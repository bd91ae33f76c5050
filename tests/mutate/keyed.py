"""Rules of running groups and first rows: what enters, what is gone, what is the same."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_GROUPS = ("tests/engine/test_groups.py",)
_UNIQUE = ("tests/engine/test_unique.py",)
_FILE, _SAME, _EXPIRY = "engine/groups.py", "engine/unique.py", "engine/expiry.py"


def _group(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _GROUPS)


def _unique(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _SAME, text, instead, why, _UNIQUE)


def _expiry(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _EXPIRY, text, instead, why, _GROUPS)


KEYED = (
    _group(
        "a row exactly as old as the time to live enters",
        "good = times.good & (times.values > limits)",
        "good = times.good & (times.values >= limits)",
        "a key that is gone comes back by an old row",
    ),
    _group(
        "old rows enter",
        "good = times.good & (times.values > limits)",
        "good = times.good",
        "a key that is gone comes back by an old row",
    ),
    _group(
        "a key goes on after it was gone",
        "begins = (newest != NONE) & (newest <= limits)",
        "begins = (newest != NONE) & (newest < NONE + 1)",
        "sums hang on whether a batch ended in the meantime",
    ),
    _group(
        "a key that was seen in an earlier batch only never goes",
        "held = np.where(slots < 0, NONE, self._expiry.newest(np.maximum(slots, 0)))",
        "held = np.full(len(slots), NONE)",
        "sums hang on whether a batch ended in the meantime",
    ),
    _group(
        "rows before the key was gone stay in",
        "stays = np.arange(taken.height) >= last[codes]",
        "stays = np.arange(taken.height) >= 0",
        "sums hang on whether a batch ended in the meantime",
    ),
    _group(
        "a key that begins anew has its old state",
        "anew = np.union1d(new, fresh)",
        "anew = new",
        "a new life goes on with the sums of the old one",
    ),
    _group(
        "keys never leave",
        "gone.append(np.setdiff1d(self._expiry.due(limit), gone[-1]))",
        "pass",
        "memory grows with every key",
    ),
    _group(
        "a key that is gone is not told of",
        "removed = self._slots.keys(gone[leaving[gone]], self._node.by)",
        "removed = self._slots.keys(gone[:0], self._node.by)",
        "rows stay in the frame for ever",
    ),
    _group(
        "a key that was never shown is removed",
        "leaving[new] = False  # was never shown",
        "pass",
        "sinks are told of deletions that are none",
    ),
    _group(
        "a tombstone deletes what came after it",
        "pl.col(_CUT).is_null() | (pl.col(ROW) >= pl.col(_CUT))",
        "pl.col(_CUT).is_null()",
        "a key that was written again is missing",
    ),
    _group(
        "a tombstone deletes nothing of its own batch",
        "pl.col(_CUT).is_null() | (pl.col(ROW) >= pl.col(_CUT))",
        "pl.col(_CUT).is_null() | (pl.col(ROW) >= 0)",
        "whether a key is there hangs on the cut",
    ),
    _group(
        "a tombstone deletes nothing of earlier batches",
        "gone.append(np.setdiff1d(found[found >= 0], slots))",
        "pass",
        "deleted keys stay",
    ),
    _group(
        "a deleted key that is written again is gone",
        "gone.append(np.setdiff1d(found[found >= 0], slots))",
        "gone.append(found[found >= 0])",
        "a key that was written again is missing",
    ),
    _group(
        "the keys that changed last leave first",
        "oldest = left[np.argpartition(self._turn[left], many - 1)[:many]]",
        "oldest = left[np.argpartition(-self._turn[left], many - 1)[:many]]",
        "what is in use is given up",
    ),
    _group(
        "a batch's rows count from 0",
        "self._turn[slots] = self._seen + groups.get_column(ROW).to_numpy()",
        "self._turn[slots] = groups.get_column(ROW).to_numpy()",
        "what is in use is given up",
    ),
    _group(
        "a key's newest row is its last",
        "beside |= {CLOCK: pl.col(CLOCK).max()",
        "beside |= {CLOCK: pl.col(CLOCK).last()",
        "a key leaves though it had a newer row",
    ),
    _expiry(
        "an older row makes a key older",
        "self._newest[slots] = np.where(held == _FREE, times, np.maximum(held, times))",
        "self._newest[slots] = times",
        "a key leaves though it had a newer row",
    ),
    _expiry(
        "a key that is due exactly now stays",
        "gone.append(slots[newest <= limit])",
        "gone.append(slots[newest < limit])",
        "a key leaves one row late",
    ),
    _expiry(
        "a key with newer rows is not filed anew",
        "rest.append(slots[(newest > limit) & (newest != _FREE)])",
        "pass",
        "keys in use never leave afterwards",
    ),
    _expiry(
        "a slot that is free keeps its time",
        "self._newest[slots] = _FREE",
        "pass",
        "a new key leaves with the old one's time, or lives by it",
    ),
    _unique(
        "the last row of a key passes",
        'first = keys.hstack([at]).unique(self._subset, keep="first")',
        'first = keys.hstack([at]).unique(self._subset, keep="last")',
        "which row passes hangs on the cut",
    ),
    _unique(
        "keys are not remembered",
        "self._seen.update(new)",
        "pass",
        "duplicates in another batch pass",
    ),
    _unique(
        "a row exactly so far from its like is the same",
        "if at < len(held) and held[at] - time < self._within.us:",
        "if at < len(held) and held[at] - time <= self._within.us:",
        "`within` is a microsecond longer than said",
    ),
    _unique(
        "a row exactly so long after its like is the same",
        "if at and time - held[at - 1] < self._within.us:",
        "if at and time - held[at - 1] <= self._within.us:",
        "`within` is a microsecond longer than said",
    ),
    _unique(
        "rows after one that passed are not looked at",
        "if at and time - held[at - 1] < self._within.us:",
        "if False:",
        "duplicates pass",
    ),
    _unique(
        "rows before one that passed are not looked at",
        "if at < len(held) and held[at] - time < self._within.us:",
        "if False:",
        "duplicates that come out of order pass",
    ),
    _unique(
        "near the first row is near them all",
        "left = np.abs(times - near[codes]) >= self._within.us",
        "left = np.abs(times - near[codes]) > 2 * self._within.us",
        "rows that have no like nearby do not pass",
    ),
    _unique(
        "a row exactly as old as is waited for is expired",
        "wanted = times.good & (times.values >= limits)",
        "wanted = times.good & (times.values > limits)",
        "`within` is a microsecond shorter than said",
    ),
    _unique(
        "old rows pass",
        "wanted = times.good & (times.values >= limits)",
        "wanted = times.good",
        "duplicates of what is forgotten pass",
    ),
    _unique(
        "what has passed is forgotten too soon",
        "limit = self._watermark.mark - 2 * width",
        "limit = self._watermark.mark",
        "duplicates pass",
    ),
    _unique(
        "the one time at which a key has passed is not looked at",
        "if abs(held - time) < self._within.us:",
        "if False:",
        "duplicates pass",
    ),
    _unique(
        "a reading that goes on forgets what it had read",
        "old = (times.values < limits) & (times.values > limits - self._within.us)",
        "old = np.zeros(len(limits), np.bool_)",
        "duplicates pass after a crash",
    ),
    _unique(
        "a reading that goes on begins with no time",
        "self._watermark = Watermark(over)",
        "self._watermark = Watermark()",
        "what was held back before a crash passes after it",
    ),
    _unique(
        "records of rows that passed are not needed",
        "self.needs.add(buckets, part, stamp, seq)",
        "pass",
        "duplicates pass after a crash",
    ),
    _unique(
        "what has passed is never forgotten",
        "while self._order and (self._order[0] + 1) * width - 1 <= limit:",
        "while False:",
        "memory grows with every key",
    ),
)
