"""FRAME: verbs over rows in the order of event time."""

from __future__ import annotations

from streamlab.live.grouping import Grouping


class Ordering(Grouping):
    """Rows put in order, and what is in order may look back."""
