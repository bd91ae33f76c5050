"""The one request that aiokafka lacks: how many bytes a broker's partitions take."""

from __future__ import annotations

from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
)

_DESCRIBE_LOG_DIRS = 35


# aiokafka ships no types, hence the ignored lines.
class LogDirsResponse(Response):  # type: ignore[misc]
    """Version 1: per folder its partitions with their sizes."""

    API_KEY = _DESCRIBE_LOG_DIRS
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "log_dirs",
            Array(
                ("error_code", Int16),
                ("log_dir", String("utf-8")),
                (
                    "topics",
                    Array(
                        ("name", String("utf-8")),
                        (
                            "partitions",
                            Array(
                                ("partition", Int32),
                                ("size", Int64),
                                ("offset_lag", Int64),
                                ("is_future_key", Boolean),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


class LogDirsStruct(RequestStruct):  # type: ignore[misc]
    """Version 1: some topics' partitions."""

    API_KEY = _DESCRIBE_LOG_DIRS
    API_VERSION = 1
    RESPONSE_TYPE = LogDirsResponse
    SCHEMA = Schema(
        (
            "topics",
            Array(("topic", String("utf-8")), ("partitions", Array(Int32))),
        )
    )


class LogDirsRequest(Request[LogDirsStruct]):  # type: ignore[misc]
    """How many bytes some of a broker's partitions take."""

    API_KEY = _DESCRIBE_LOG_DIRS

    def __init__(self, topic: str, partitions: list[int]) -> None:
        """Ask for `partitions` of `topic`."""
        self._topics = [(topic, partitions)]

    def build(self, request_struct_class: type[LogDirsStruct]) -> Any:
        return request_struct_class(self._topics)
