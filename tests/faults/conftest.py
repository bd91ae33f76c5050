"""What is alike in all fault tests."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """aiokafka drops connections that break while it makes them, and warns of its own doing."""
    dropped = pytest.mark.filterwarnings(
        "ignore:Unclosed AIOKafkaConnection:ResourceWarning"
    )
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(dropped)
