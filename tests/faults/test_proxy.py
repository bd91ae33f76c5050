"""The proxy breaks what it should, and only that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamlab import servers
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.broker


@pytest.fixture
def proxy(valkey: servers.Valkey) -> Iterator[Proxy]:
    with Proxy(valkey.port) as between:
        yield between


def client(proxy: Proxy, timeout: float = 20.0) -> redis.Redis:
    return redis.Redis(
        port=proxy.port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0)
    )


def test_whole_it_hands_on_all_and_counts(proxy: Proxy) -> None:
    with client(proxy) as near:
        assert near.echo("x" * 1_000_000) == b"x" * 1_000_000

    assert proxy.accepted == 1
    assert min(proxy.sent, proxy.received) > 1_000_000
    proxy.wait_for(connections=0)


def test_a_cut_ends_connections_and_lets_new_ones_in(proxy: Proxy) -> None:
    with client(proxy) as near:
        line = near.connection_pool.get_connection()
        line.send_command("PING")
        assert line.read_response() == b"PONG"

        proxy.cut()

        with pytest.raises(redis.ConnectionError):  # noqa: PT012 (either may notice)
            line.send_command("PING")
            line.read_response()
        near.connection_pool.release(line)
        assert near.ping()
    assert proxy.accepted == 2


def test_a_cut_can_come_in_the_middle_of_an_answer(proxy: Proxy) -> None:
    with client(proxy) as near:
        near.ping()
        before = proxy.received

        proxy.cut(after=10)

        with pytest.raises(redis.ConnectionError):
            near.echo("x" * 1_000)
        assert proxy.received - before == 10
        assert near.ping()


def test_refusing_lets_nobody_in_until_mended(proxy: Proxy) -> None:
    with client(proxy) as near:
        near.ping()

        proxy.refuse()

        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                near.ping()
        proxy.mend()
        assert near.ping()


def test_swallowing_hangs_and_mending_delivers(proxy: Proxy) -> None:
    with client(proxy, timeout=0.2) as hasty, client(proxy) as patient:
        hasty.ping()
        patient.ping()

        proxy.swallow()
        with pytest.raises(redis.TimeoutError):
            hasty.ping()
        sock = patient.connection_pool.get_connection()
        sock.send_command("PING")
        proxy.mend()

        assert sock.read_response() == b"PONG"
        patient.connection_pool.release(sock)


def test_a_delay_is_longer_than_the_patience_of_a_client(proxy: Proxy) -> None:
    with client(proxy, timeout=0.2) as near:
        near.ping()

        proxy.delay(2)

        with pytest.raises(redis.TimeoutError):
            near.ping()


@pytest.mark.timeout(120)
async def test_all_that_a_kafka_client_says_goes_through_it(
    kafka: servers.Kafka, name: str
) -> None:
    with Proxy(kafka.listeners.behind, listen=kafka.listeners.proxied) as proxy:
        place = f"127.0.0.1:{proxy.port}"
        producer = AIOKafkaProducer(bootstrap_servers=place)
        consumer = AIOKafkaConsumer(
            name, bootstrap_servers=place, auto_offset_reset="earliest"
        )
        await producer.start()
        await producer.send_and_wait(name, b"x" * 100_000)
        await consumer.start()

        assert len((await consumer.getone()).value) == 100_000
        assert min(proxy.sent, proxy.received) > 100_000
        proxy.cut()
        await producer.send_and_wait(name, b"after")
        assert (await consumer.getone()).value == b"after"
        await producer.stop()
        await consumer.stop()
