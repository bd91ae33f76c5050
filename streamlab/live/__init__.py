"""FRAME: `LiveFrame`, what a user holds of a running source."""

from __future__ import annotations
