"""Generated topics, without a broker."""

from __future__ import annotations
