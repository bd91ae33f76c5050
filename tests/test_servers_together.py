"""Servers that work together: a cluster, and sentinels over a primary and its replica."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from streamlab import servers
from tests.brokers import need

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def test_a_cluster_holds_every_slot_and_its_slots_can_move() -> None:
    need("valkey")
    with servers.valkey_cluster() as cluster:
        client = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
        for number in range(50):
            client.set(f"k{number}", number)
        singles = [redis.Redis(port=node.port) for node in cluster.nodes]
        in_slot_0 = "06S"

        held = [single.dbsize() for single in singles]
        assert singles[0].get(in_slot_0) is None
        cluster.move_slot(0, to=2)

        assert sum(held) == 50
        assert min(held) > 0
        with pytest.raises(redis.ResponseError, match=f":{cluster.nodes[2].port}"):
            singles[0].get(in_slot_0)
        client.close()
        for single in singles:
            single.connection_pool.disconnect()


def test_sentinels_let_the_replica_take_over() -> None:
    need("valkey")
    with servers.watched_valkey() as watched:
        places = [(s.host, s.port) for s in watched.sentinels]
        client: Any = redis
        sentinel = client.Sentinel(places)
        assert sentinel.discover_master("lab")[1] == watched.primary.port

        watched.fail_over()

        assert watched.leader_ports == {watched.replica.port}
        assert sentinel.discover_master("lab")[1] == watched.replica.port
    assert not watched.replica.dir.exists()
