"""Kafka and what speaks its protocol (Redpanda). Looking joins no group and commits nothing."""

from __future__ import annotations
