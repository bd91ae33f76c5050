"""Logs kept in this process: what `memory` and `demo` are made of."""

from __future__ import annotations
