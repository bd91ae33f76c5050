"""TRANSFORM, executed: one operator per file; batch in, `Change` out. No I/O, no threads."""

from __future__ import annotations
