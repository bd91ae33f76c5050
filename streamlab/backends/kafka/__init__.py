"""Kafka and what speaks its protocol, on aiokafka."""

from __future__ import annotations
