"""Names of Kafka options: librdkafka's and Java's spelling, and those that are ours to set."""

from __future__ import annotations

from collections.abc import Mapping

# Where "." → "_" is not all there is to it; names by librdkafka and the Java clients.
_SAME: Mapping[str, str] = {
    "api_version_request_timeout_ms": "request_timeout_ms",
    "batch_size": "max_batch_size",
    "compression_codec": "compression_type",
    "enable_ssl_certificate_verification": "ssl_verify",
    "fetch_message_max_bytes": "max_partition_fetch_bytes",
    "fetch_wait_max_ms": "fetch_max_wait_ms",
    "message_max_bytes": "max_request_size",
    "queue_buffering_max_ms": "linger_ms",
    "request_required_acks": "acks",
    "sasl_mechanisms": "sasl_mechanism",
    "sasl_password": "sasl_plain_password",
    "sasl_username": "sasl_plain_username",
    "socket_timeout_ms": "request_timeout_ms",
    "ssl_ca_location": "ssl_cafile",
    "ssl_certificate_location": "ssl_certfile",
    "ssl_endpoint_identification_algorithm": "ssl_check_hostname",
    "ssl_key_location": "ssl_keyfile",
    "ssl_key_password": "ssl_password",
    "topic_metadata_refresh_interval_ms": "metadata_max_age_ms",
}
_PEM = "PEM files are read: ssl_cafile, ssl_certfile, ssl_keyfile"
_FORMAT = "format= of sl.topic() says how payloads are read and written"
# What exists in other clients and must not be set behind our back; and where it is said instead.
FORBIDDEN: Mapping[str, str] = {
    "auto_offset_reset": "write start= of live() or read()",
    "bootstrap_servers": "write the hosts in the URL, kafka://a:9092,b:9092/topic",
    "metadata_broker_list": "write the hosts in the URL, kafka://a:9092,b:9092/topic",
    "enable_auto_commit": "a group commits what was really done with",
    "enable_auto_offset_store": "a group commits what was really done with",
    "auto_commit_interval_ms": "a group commits what was really done with",
    "group_id": "write group= of live()",
    "key_deserializer": _FORMAT,
    "key_serializer": _FORMAT,
    "value_deserializer": _FORMAT,
    "value_serializer": _FORMAT,
    "sasl_jaas_config": "write sasl.username and sasl.password",
    "ssl_context": _PEM,
    "ssl_keystore_location": _PEM,
    "ssl_keystore_password": _PEM,
    "ssl_truststore_location": _PEM,
    "ssl_truststore_password": _PEM,
    "transactional_id": "a writer of transactions is given its name when it is made",
}


def canonical(name: str) -> str:
    """The name as aiokafka spells it; unknown ones come back unchanged but for dots."""
    plain = name.replace(".", "_").replace("-", "_").lower()
    return _SAME.get(plain, plain)
