"""The user's way in: brokers, topics, and what a topic does on the I/O loop."""

from __future__ import annotations
