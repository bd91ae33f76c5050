"""The contract on a real Kafka, on both roads; what is Kafka's own is in test_kafka_quirks.py."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamlab import servers
from streamlab.backends.kafka import connection as backend
from tests.backends.kafka_lab import KafkaLab, lab_on
from tests.contracts.backend import BackendContract

pytestmark = pytest.mark.broker


class TestKafka(BackendContract):
    """Whole record batches."""

    @pytest.fixture
    async def lab(self, kafka: servers.Kafka) -> AsyncIterator[KafkaLab]:
        taken, why = backend.road()
        assert taken, why
        async with lab_on(f"{kafka.host}:{kafka.port}", narrow=True) as lab:
            yield lab


class TestKafkaFallback(BackendContract):
    """Record by record, as with an aiokafka that unpacks in a way we don't know."""

    @pytest.fixture
    async def lab(self, kafka: servers.Kafka) -> AsyncIterator[KafkaLab]:
        async with lab_on(f"{kafka.host}:{kafka.port}", fast=False, narrow=True) as lab:
            yield lab
