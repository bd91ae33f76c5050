"""Redis and Valkey streams."""

from __future__ import annotations
