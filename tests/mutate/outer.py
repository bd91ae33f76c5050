"""Rules of right and full joins with a table: which of its rows are shown, and until when."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_STAGE = ("tests/engine/test_outer_join.py",)
_LIVE = ("tests/scenarios/test_live_outer_joins.py",)
_FILE = "engine/outerjoin.py"


def _outer(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _STAGE)


OUTER = (
    _outer(
        "rows of the table never leave",
        "return rows, gone if len(fresh) else None",
        "return rows, None",
        "a row is shown with its match and without",
    ),
    _outer(
        "rows of the table leave again and again",
        "self._matched[fresh] = True",
        "pass",
        "what has found a match long ago is taken back once more",
    ),
    _outer(
        "what has a match already leaves again",
        "fresh = np.sort(places[~self._matched[places]])",
        "fresh = np.sort(places)",
        "sinks are told that rows go which are not there",
    ),
    _outer(
        "the first batch matches nothing",
        "self._table.filter(pl.Series(~self._matched))",
        "self._table",
        "rows of the table are shown beside their match",
    ),
    _outer(
        "rows of the table come with every batch",
        "removed, self._begun = None, True",
        "removed = None",
        "rows of the table come back",
    ),
    _outer(
        "the table waits for its first match",
        "rows = pl.concat([rows, self._lonely(result.rows).select(rows.columns)])",
        "pass",
        "rows of the table without a match are missing",
    ),
    _outer(
        "each batch counts its rows anew",
        "self._joined += found.height",
        "pass",
        "rows of one batch replace those of the last",
    ),
    _outer(
        "rows of the table have the numbers of records",
        "keys = found.get_column(_PLACE).rename(JOINED) + UNMATCHED",
        "keys = found.get_column(_PLACE).rename(JOINED)",
        "joined rows replace rows of the table that have no match",
    ),
    _outer(
        "rows of the table stand among the joined ones",
        "return found.filter(pl.col(ROW) < rows.height).sort(",
        "return found.sort(",
        "what has no match in a batch is shown once more with every batch",
    ),
    _outer(
        "copies of few rows are records",
        "found.filter(pl.col(ROW) < rows.height)",
        "found.filter(pl.col(ROW).is_not_null())",
        "with an expression as a key each record is there many times",
    ),
    _outer(
        "matches stand in any order",
        "            ROW, _PLACE, nulls_last=True\n",
        "            ROW, -pl.col(_PLACE), nulls_last=True\n",
        "of several matches the last of the table comes first",
    ),
    _outer(
        "the index is not asked in the table's places",
        "return self._table if places is None else self._table[places]",
        "return self._table if places is None else self._table.head(len(places))",
        "large tables find other rows than small ones",
    ),
    _outer(
        "every record passes",
        "passed[found.get_column(ROW).unique().to_numpy()] = True",
        "passed[:] = True",
        "records without a row are not counted as held back",
    ),
    Mutant(
        "steps see the number of a row",
        "engine/keyed.py",
        "return without(with_copies, (JOINED,))",
        "return with_copies",
        "select(pl.all()) shows a column that nobody made",
        _STAGE,
    ),
    Mutant(
        "rows of the table are forgotten first",
        "frames/members.py",
        "by_key = not isinstance(reviser_of(self.node), GroupBy)",
        "by_key = not isinstance(reviser_of(self.node), GroupBy | OuterJoin)",
        "what has no match is gone as soon as records are many",
        _LIVE,
    ),
    Mutant(
        "a large table leaves no room for records",
        "frames/members.py",
        "keep = Keep(rows=KEYED_ROWS + _beside(node))",
        "keep = Keep(rows=KEYED_ROWS)",
        "of a table of 100,000 rows no record is shown",
        _LIVE,
    ),
    Mutant(
        "the table waits for the first record",
        "frames/members.py",
        "        if first.change.added.height:\n            self.put(first.change)",
        "        pass",
        "the frame is empty until a record comes",
        _LIVE,
    ),
    Mutant(
        "what was foreseen is not known to the engine",
        "frames/wiring.py",
        "self._start(member, self._root.seal().frame() if outer else None)",
        "self._start(member, None)",
        "rows of the table stay when the first record matches them",
        _LIVE,
    ),
    Mutant(
        "sinks are not told what a frame begins with",
        "frames/wiring.py",
        "self._begun[member] = put",
        "pass",
        "a sink is told that rows leave which it never had",
        _LIVE,
    ),
    Mutant(
        "sinks are told twice what a frame begins with",
        "frames/wiring.py",
        "foreseen = member.store is not None and member.store.height > 0",
        "foreseen = False",
        "a sink is given the table twice",
        _LIVE,
    ),
    Mutant(
        "sinks get rows without their keys",
        "frames/outlets.py",
        "self.member.as_given(change)",
        "self.member.as_shown(change)",
        "nobody knows which rows leave",
        _LIVE,
    ),
    Mutant(
        "loops get rows without their keys",
        "live/batches.py",
        "member.listen(self._take_in, keys=True)",
        "member.listen(self._take_in)",
        "a loop that is slow fails on two changes at once",
        _LIVE,
    ),
)
