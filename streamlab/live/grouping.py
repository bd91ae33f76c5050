"""FRAME: verbs that keep something per key: running groups, the first row of each key."""

from __future__ import annotations

from streamlab.live.verbs import Verbs


class Grouping(Verbs):
    """Running aggregates, and rows that come once."""
