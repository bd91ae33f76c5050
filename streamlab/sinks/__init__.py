"""SINK: where a frame's changes go; a sink may wait, and never misses one."""

from __future__ import annotations
