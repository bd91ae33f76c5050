"""SeaStreamer .ss files."""

from __future__ import annotations
