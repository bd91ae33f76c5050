"""FRAME: verbs that bring two inputs together: joins with a table, joins and merges of frames."""

from __future__ import annotations

from streamlab.live.ordering import Ordering


class Combining(Ordering):
    """Joins and merges."""
