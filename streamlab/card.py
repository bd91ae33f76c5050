"""The topic card: what a topic shows of itself, within two seconds."""
from __future__ import annotations
from typing import Any
def card_bundle(topic: Any) -> dict[str, str]:
    """x"""
    return {"text/plain": repr(topic)}
