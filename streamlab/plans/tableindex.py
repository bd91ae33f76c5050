"""Where a table has each key, so that a join with it looks at the rows it wants alone.

polars makes a hash table of the whole right side at every call: with a million rows that costs
more than all else a micro-batch does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

# Types whose equal values have equal hashes; of floats -0.0 and NaN have not.
_EXACT = (pl.String, pl.Binary, pl.Boolean, pl.Date, pl.Datetime, pl.Duration, pl.Time)


class TableIndex:
    """Rows of a table by the hash of their keys."""

    def __init__(self, table: pl.DataFrame, keys: Sequence[str]) -> None:
        """Look at every row once."""
        self._table = table
        self._dtypes = table.select(keys).dtypes
        hashes = table.select(keys).hash_rows().to_numpy()
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    @staticmethod
    def fits(table: pl.DataFrame, keys: Sequence[str]) -> bool:
        """Whether keys of their types can be found by their hashes."""
        return all(
            dtype.is_integer() or isinstance(dtype, _EXACT)
            for dtype in table.select(keys).dtypes
        )

    def among(self, keys: pl.DataFrame) -> pl.DataFrame:
        """All rows of the table with one of these keys, and maybe a few more, in its order."""
        places = self.places(keys)
        return self._table if places is None else self._table[places]

    def places(self, keys: pl.DataFrame) -> NDArray[np.int64] | None:
        """Where these rows are, ascending; None if they may be anywhere."""
        if keys.dtypes != self._dtypes:  # polars brings them together, or refuses
            return None
        wanted = np.unique(keys.hash_rows().to_numpy())
        low = np.searchsorted(self._hashes, wanted, "left")
        counts = np.searchsorted(self._hashes, wanted, "right") - low
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        places = np.arange(total) + np.repeat(low - (ends - counts), counts)
        return np.sort(self._order[places])

    def __repr__(self) -> str:
        return (
            "an index"  # the same at every start: fingerprints of plans are made of it
        )
