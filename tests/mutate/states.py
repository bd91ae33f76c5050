"""Rules by which partial states merge, keys find their places, and raw rows are kept."""

from __future__ import annotations

from tests.mutate.mutant import Mutant

_STATES = ("tests/engine/test_states.py",)
_KEYS = (
    "tests/engine/test_keys.py",
    "tests/engine/test_windows.py",
    "tests/engine/test_edges.py",
)
_RAW = ("tests/engine/test_rawrows.py", "tests/engine/test_edges.py")
_FILE, _SLOTS = "engine/states.py", "engine/keys.py"
_ROWS, _AGGREGATOR = "engine/rawrows.py", "engine/aggregator.py"


def _state(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _FILE, text, instead, why, _STATES)


def _slot(name: str, text: str, instead: str, why: str) -> Mutant:
    return Mutant(name, _SLOTS, text, instead, why, _KEYS)


_MERGES = (
    _state(
        "a batch replaces the sum",
        "total[slots] += _numbers(parts[0]).to_numpy().astype(total.dtype)",
        "total[slots] = _numbers(parts[0]).to_numpy().astype(total.dtype)",
        "sums and counts are of the last batch",
    ),
    _state(
        "nulls are counted",
        "return [value.count()]",
        "return [value.len()]",
        "count() is len()",
    ),
    _state(
        "min and max are swapped in a batch",
        "value.min() if self._least else value.max()",
        "value.max() if self._least else value.min()",
        "the greatest is the least",
    ),
    _state(
        "min and max are swapped between batches",
        "(np.fmin if self._least else np.fmax)",
        "(np.fmax if self._least else np.fmin)",
        "the least of the greatest",
    ),
    _state(
        "one NaN makes the extreme NaN",
        "(np.fmin if self._least else np.fmax)",
        "(np.minimum if self._least else np.maximum)",
        "min and max hang on whether NaN came in a batch of its own",
    ),
    _state(
        "an extreme begins at zero",
        "held[slots] = np.where(known[slots], better, values)",
        "held[slots] = better",
        "the least of positive numbers is 0",
    ),
    _state(
        "an extreme is never known",
        "known[slots] = True",
        "known[slots] = known[slots]",
        "each batch replaces the extreme, and it reads as null",
    ),
    _state(
        "null replaces an extreme",
        "there = parts[0].is_not_null().to_numpy()",
        "there = parts[0].is_not_null().to_numpy() | True",
        "a batch of nulls fails, or is taken for a number",
    ),
    _state(
        "the mean's total is of the last batch",
        'self._held["total"][slots] += parts[0].to_numpy()',
        'self._held["total"][slots] = parts[0].to_numpy()',
        "means are too small",
    ),
    _state(
        "the mean's count is of the last batch",
        'self._held["count"][slots] += parts[1].to_numpy()',
        'self._held["count"][slots] = parts[1].to_numpy()',
        "means are too large",
    ),
    _state(
        "the mean counts nulls",
        "return [value.cast(pl.Float64).sum(), value.count()]",
        "return [value.cast(pl.Float64).sum(), value.len()]",
        "means are too small",
    ),
    _state(
        "the mean's total is an integer",
        "return [value.cast(pl.Float64).sum(), value.count()]",
        "return [value.sum(), value.count()]",
        "the mean of large integers overflows",
    ),
    _state(
        "a mean of nothing is zero",
        "return _masked(pl.Series(mean), count > 0).cast(self._result)",
        "return pl.Series(mean).cast(self._result)",
        "0 where polars gives null",
    ),
    _state(
        "how far the means are apart does not count",
        "merged = squares[slots] + new_squares + across",
        "merged = squares[slots] + new_squares",
        "a variance is of the batches, not between them",
    ),
    _state(
        "the merged mean is that of the batch",
        "merged_mean = mean[slots] + apart * (new_count / both)",
        "merged_mean = new_mean",
        "a variance over three batches is wrong",
    ),
    _state(
        "the count of a variance is that of the batch",
        "count[slots] = both",
        "count[slots] = new_count",
        "variances are divided by too little",
    ),
    _state(
        "the weight of the batch is forgotten",
        "across = apart * apart * (old * (new_count / both))",
        "across = apart * apart * old",
        "variances are too large",
    ),
    _state(
        "infinity spreads as a number",
        "merged[~np.isfinite(merged_mean)] = np.nan",
        "merged[~np.isfinite(merged_mean)] = 0.0",
        "the variance of values with an infinite one is a number",
    ),
    _state(
        "the first batch is merged with nothing",
        "first = old == 0",
        "first = old < 0",
        "an infinite first value makes NaN of a mean",
    ),
    _state(
        "a lone null behind a filter varies by 0",
        "new_squares = parts[2].to_numpy()[there] * new_count",
        "new_squares = parts[2].drop_nulls().to_numpy() * new_count",
        "std of filtered values stops the frame",
    ),
    _state(
        "degrees of freedom are 0",
        'freedom = self._held["count"][slots] - self._ddof',
        'freedom = self._held["count"][slots]',
        "variances are too small",
    ),
    _state(
        "std is var",
        'self._root = partial.kind == "std"',
        "self._root = False",
        "deviations are squared",
    ),
    _state(
        "a variance of too few is zero",
        "return _masked(pl.Series(spread), freedom > 0).cast(self._result)",
        "return pl.Series(spread).cast(self._result)",
        "0 where polars gives null",
    ),
    _state(
        "any and all are swapped between batches",
        "(value[slots] | new) if self._any else (value[slots] & new)",
        "(value[slots] & new) if self._any else (value[slots] | new)",
        "one true batch is not enough",
    ),
    _state(
        "all begins false",
        "super().__init__(value=(np.bool_, not self._any))",
        "super().__init__(value=(np.bool_, False))",
        "all() is never true",
    ),
    _state(
        "a slot begins with what the last one left",
        "column[slots] = self._starts[name]",
        "column[slots] = column[slots]",
        "a new window begins with the values of a closed one",
    ),
)

_PLACES = (
    _slot(
        "a window that ends exactly then stays",
        "while self._order and self._order[0][0] <= end:",
        "while self._order and self._order[0][0] < end:",
        "windows close one row late",
    ),
    _slot(
        "one less is kept open",
        "while self.used - len(gone) > most and",
        "while self.used - len(gone) >= most and",
        "the oldest window is given up too early",
    ),
    _slot(
        "the newest window may be evicted",
        "and len(self._windows) > 1:",
        "and len(self._windows) > 0:",
        "a window with many keys loses the rows just come",
    ),
    _slot(
        "evicted windows are not named",
        "latest = self._order[0][0]",
        "latest = None",
        "rows of evicted windows make partial windows anew",
    ),
    _slot(
        "windows leave by their start's number alone",
        "heapq.heappush(self._order, (int(ends[at]), start))",
        "self._order.append((int(ends[at]), start))",
        "windows that came out of order close late",
    ),
    _slot(
        "slots are never given back",
        "self._free.extend(slots.tolist())",
        "pass",
        "memory grows with every window gone by",
    ),
    _slot(
        "bytes of keys that are gone still count",
        "self._key_bytes -= sized(key)",
        "self._key_bytes -= 0",
        "the state's limit is met by keys long gone",
    ),
    _slot(
        "NaN is no key",
        "return [_NAN if value != value else value for value in values]",
        "return list(values)",
        "every NaN has a window of its own",
    ),
    _slot(
        "NaN within a key is no key",
        "return _NAN if isinstance(value, float) and value != value else value",
        "return value",
        "every NaN has a window of its own",
    ),
    _slot(
        "a window is found by its key alone",
        "window = self._windows.get(start)",
        "window = next(iter(self._windows.values()), None)",
        "all windows are one",
    ),
)

_RAWS = (
    Mutant(
        "order of arrival inside a window is lost",
        _ROWS,
        "pieces.insert(place, _Slice(number, offset, length))",
        "pieces.append(_Slice(number, offset, length))",
        "first, last and lists have another answer after a copy",
        _RAW,
    ),
    Mutant(
        "rows of closed windows are never let go",
        _ROWS,
        "block.live -= piece.length",
        "block.live -= 0",
        "one late row keeps a whole batch",
        _RAW,
    ),
    Mutant(
        "rows of a window are not told apart",
        _ROWS,
        'order = np.argsort(starts, kind="stable")',
        "order = np.arange(len(starts))",
        "a window has its neighbours' rows",
        _RAW,
    ),
    Mutant(
        "rows keep the batch they came in",
        _ROWS,
        "own, held = own_buffers(rows[order])",
        "own = rows[order]\n        held = int(own.estimated_size())",
        "a megabyte of text is kept for ten bytes",
        _RAW,
    ),
    Mutant(
        "lists are in order of arrival",
        _AGGREGATOR,
        "rows = rows.sort(*self._order, maintain_order=True)",
        "pass",
        "first is not the first by event time",
        ("tests/engine/test_windows.py", "tests/engine/test_states.py"),
    ),
    Mutant(
        "partitions tie by chance",
        _AGGREGATOR,
        "rows = rows.sort(*self._order, maintain_order=True)",
        "rows = rows.sort(CLOCK, maintain_order=True)",
        "first hangs on how partitions took turns",
        ("tests/engine/test_states.py",),
    ),
    Mutant(
        "copies are counted",
        _AGGREGATOR,
        "inputs = inputs.filter(pl.col(PLACE) < pl.len() // enough())",
        "pass",
        "rows of small batches count several times",
        _STATES,
    ),
    Mutant(
        "a state is not emptied for its next window",
        _AGGREGATOR,
        "            state.reset(new)\n",
        "",
        "a new window begins with the values of a closed one",
        _STATES,
    ),
    Mutant(
        "a filter inside an aggregation is passed over",
        _AGGREGATOR,
        "part = value if where is None else value.filter(where)",
        "part = value",
        "x.filter(…).sum() is x.sum()",
        _STATES,
    ),
)

STATES = (*_MERGES, *_PLACES, *_RAWS)
