"""Groups on a real Kafka: the contract, and what is Kafka's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamlab import servers
from tests.backends.kafka_lab import KafkaLab, connect, lab_on
from tests.contracts.groups import GroupContract

pytestmark = pytest.mark.broker
SESSION_MS = 1_000


class KafkaGroupLab(KafkaLab):
    """A lab whose members are missed after a second."""

    async def wait_dead(self) -> None:
        """Those who still read learn of it from the broker by themselves."""


@pytest.fixture
async def lab(kafka: servers.Kafka) -> AsyncIterator[KafkaGroupLab]:
    address = f"{kafka.host}:{kafka.port}"
    async with lab_on(address) as plain:
        await plain.connection.aclose()
        quick = connect(
            f"kafka://{address}",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=200,
            rebalance_timeout_ms=20_000,
        )
        yield KafkaGroupLab(quick, plain.admin, plain.producer, plain.undone)
        await quick.aclose()


class TestKafkaGroups(GroupContract):
    @pytest.fixture
    async def lab(self, lab: KafkaGroupLab) -> KafkaGroupLab:
        return lab
