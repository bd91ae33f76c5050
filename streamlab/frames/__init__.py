"""FRAME: a running source: its stores, its operators' results, its one task on the I/O loop."""

from __future__ import annotations
