"""Topics in this process's memory, with groups."""

from __future__ import annotations
