"""Single messages and receipts, for programs; frames never make such objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from streamlab.errors import DataError
from streamlab.records import Headers, Offset, Partition, Records, offset_rank

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_HEADERS: Headers = ()


class Message(NamedTuple):
    """One record. Two are equal if topic, partition and offset are.

    Attributes:
        topic, partition, offset: where it stands; on Redis the offset is the entry's id.
        timestamp_ms: the broker's time, ms since 1970.
        key: None if it has none.
        value: the payload; None is a tombstone.
        headers: pairs of name and bytes.
    """

    topic: str
    partition: int
    offset: Offset
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = _NO_HEADERS

    @property
    def id(self) -> tuple[str, int, Offset]:
        """Topic, partition and offset: what makes it this message."""
        return (self.topic, self.partition, self.offset)

    @property
    def timestamp(self) -> datetime:
        """The broker's time, in UTC."""
        return _EPOCH + timedelta(milliseconds=self.timestamp_ms)

    @property
    def text(self) -> str:
        """The payload as text.

        Raises:
            DataError: it is a tombstone, or not UTF-8.
        """
        if self.value is None:
            raise DataError(
                f"{self._place}: a tombstone has no payload; its value is None."
            )
        try:
            return self.value.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._place}: the payload is not text ({error.reason} at byte "
                f"{error.start}); take .value."
            ) from error

    def json(self) -> Any:
        """The payload, read as JSON.

        Raises:
            DataError: it isn't.
        """
        try:
            return json.loads(self.text)
        except json.JSONDecodeError as error:
            raise DataError(f"{self._place}: not JSON: {error}.") from error

    @property
    def _place(self) -> str:
        return f"{self.topic} p{self.partition} @ {self.offset}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.id == other.id

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.id)


class Receipt(NamedTuple):
    """What the broker said of a message it took.

    Attributes:
        topic, partition: where it went.
        offset: its offset there; -1 where the broker does not tell (in transactions).
        timestamp_ms: the time it was given, ms since 1970.
    """

    topic: str
    partition: int
    offset: Offset
    timestamp_ms: int

    @property
    def id(self) -> tuple[str, int, Offset]:
        """Topic, partition and offset, as of the `Message` it becomes."""
        return (self.topic, self.partition, self.offset)

    @property
    def timestamp(self) -> datetime:
        """The time it was given, in UTC."""
        return _EPOCH + timedelta(milliseconds=self.timestamp_ms)


def messages(block: Records) -> list[Message]:
    """A block as single messages."""
    topic, number = block.partition
    count = len(block.values)
    offsets: Sequence[Offset] = [
        o.decode() if isinstance(o, bytes) else o for o in block.offsets
    ]
    times = block.timestamps_ms
    if times is None:  # on Redis the first half of the id
        times = [offset_rank(offset)[0] for offset in offsets]
    keys = block.keys or [None] * count
    headers = block.headers or [_NO_HEADERS] * count
    return [
        Message(topic, number, *rest)
        for rest in zip(offsets, times, keys, block.values, headers, strict=True)
    ]


def partition_of(message: Message) -> Partition:
    """Where a message stands."""
    return Partition(message.topic, message.partition)
