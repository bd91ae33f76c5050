"""Names of payload fields and of the columns they become.

A payload field may be called like one of our own columns ("_timestamp", "__time"); in a frame
it then carries one `_` more. So that `_key` and `_key_` in one payload stay apart, a field that
is such a name followed by any number of `_` gets one more as well: the rule looks at the name
alone, can be undone, and never maps two fields to one column.
"""

from __future__ import annotations

from streamlab.changes import HIDDEN
from streamlab.records import META

TAKEN = frozenset((*META, *HIDDEN))


def column_of(field: str) -> str:
    """The column that a payload's field becomes ("_key" → "_key_")."""
    return f"{field}_" if field.rstrip("_") in TAKEN else field


def field_of(column: str) -> str:
    """The payload's field that a column comes from ("_key_" → "_key")."""
    if column not in TAKEN and column.rstrip("_") in TAKEN:
        return column[:-1]
    return column
