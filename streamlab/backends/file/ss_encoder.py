"""Writing `.ss` files, byte for byte as SeaStreamer does. Pure: columns in, bytes out."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from streamlab.backends.file import crc16, ss

_END = bytes([ss.END])
# A marker with the longest key; SeaStreamer reckons with it when it makes room for markers.
_LARGEST_MARKER = 282


def frame(
    key: str, shard: int, sequence: int, timestamp_ms: int, payload: bytes
) -> bytes:
    """One message as it stands in a file, but for beacons."""
    name = key.encode()
    return b"".join(
        (
            bytes([len(name)]),
            name,
            ss.FRAME.pack(shard, sequence, timestamp_ms, len(payload)),
            payload,
            crc16.checksum(payload).to_bytes(2, "big"),
            _END,
        )
    )


class Encoder:
    """Makes the bytes of one file, from its header on. Owned by its one writer."""

    def __init__(
        self, file_name: str, created_ms: int, interval: int = ss.INTERVAL
    ) -> None:
        """Begin a file.

        Args:
            file_name: the last part of its path, at most 111 bytes.
            created_ms: ms since 1970.
            interval: at least 128; SeaStreamer itself makes multiples of 1024.
        """
        name = file_name.encode()
        if len(name) > ss.HEADER_SIZE - 17 or interval < ss.HEADER_SIZE:
            raise ValueError(f"no header for {file_name!r} every {interval} bytes")
        head = (
            b"Ss\x01"
            + bytes([len(name)])
            + name
            + struct.pack(">QI", created_ms, interval)
        )
        self._interval = interval
        self._at = 0
        self._markers = 0
        self._streams: dict[tuple[bytes, int], tuple[int, int, int]] = {}
        self._header = self._put(head.ljust(ss.HEADER_SIZE - 1, b"\0") + _END)

    @property
    def header(self) -> bytes:
        """What the file begins with."""
        return self._header

    def message(
        self, key: str, shard: int, sequence: int, timestamp_ms: int, payload: bytes
    ) -> bytes:
        """The next bytes of the file: one message and the beacons that fall into it."""
        data = frame(key, shard, sequence, timestamp_ms, payload)
        stream = (key.encode(), shard)
        number, time, running = self._streams.get(stream, (0, 0, crc16.START))
        running = crc16.checksum(data[-3:-1], running)
        self._streams[stream] = (
            max(number, sequence),
            max(time, timestamp_ms),
            running,
        )
        return self._put(data)

    def messages(self, block: ss.Block) -> bytes:
        """All messages of a block."""
        rows = zip(block.sequences, block.timestamps_ms, block.values, strict=True)
        return b"".join(self.message(block.key, block.shard, *row) for row in rows)

    def end(self, timestamp_ms: int) -> bytes:
        """The end mark."""
        return self.message(ss.INTERNAL, 0, 0, timestamp_ms, ss.EOS)

    def _put(self, data: bytes) -> bytes:
        parts, pos = [], 0
        while pos < len(data):
            room = self._interval - self._at % self._interval
            part = data[pos : pos + room]
            parts.append(part)
            pos += len(part)
            self._at += len(part)
            if self._at % self._interval == 0:
                parts.append(self._beacon(len(data) - pos))
                self._at += len(parts[-1])
        return b"".join(parts)

    def _beacon(self, remaining: int) -> bytes:
        chosen = self._turn()
        markers = [
            bytes([len(key)]) + key + ss.MARKER.pack(shard, *self._streams[key, shard])
            for key, shard in chosen
        ]
        return (
            ss.BEACON.pack(ss.END, remaining, len(markers)) + b"".join(markers) + _END
        )

    def _turn(self) -> Sequence[tuple[bytes, int]]:
        """The streams whose turn it is to be named in a beacon."""
        room = min(255, (self._interval - 7) // _LARGEST_MARKER) // 2
        streams = sorted(self._streams)
        count = min(room, len(streams))
        first = self._markers % len(streams) if streams else 0
        self._markers += count
        return [*streams[first:], *streams[:first]][:count]
