"""Scenarios of programs run on every kind of broker."""

from __future__ import annotations

from tests.scenarios.site import site

__all__ = ["site"]
