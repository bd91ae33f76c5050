"""What is missing on this machine for each kind of local server."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import Literal

from streamlab.errors import StreamlabError
from streamlab.servers import certificates, kafka_jars
from streamlab.servers.redislike import NEED_REDIS, valkey_binary

Kind = Literal["valkey", "redis", "kafka", "kafka_light"]
NEED_LIBRDKAFKA = (
    "the light Kafka needs 'confluent-kafka': pip install 'streamlab[demo]'"
)


def lacks(kind: Kind) -> str:
    """What is missing for a server of that kind and how to get it; "" if nothing is."""
    if kind == "valkey":
        return _valkey()
    if kind == "kafka_light":
        return NEED_LIBRDKAFKA if find_spec("confluent_kafka") is None else ""
    if kind == "redis" and shutil.which("redis-server") is None:
        return NEED_REDIS
    if shutil.which("openssl") is None:
        return certificates.NEED
    return kafka_jars.lacks() if kind == "kafka" else ""


def _valkey() -> str:
    try:
        valkey_binary()
    except StreamlabError as error:
        return str(error)
    return ""
