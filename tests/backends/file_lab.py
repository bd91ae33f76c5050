"""The lab of the file backend: writes a recording and reads it through a connection."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from streamlab import uri
from streamlab.backends.base import Connection, Consumer
from streamlab.backends.file import recording as file
from streamlab.backends.file.ss_encoder import Encoder
from streamlab.errors import DamagedFileError
from streamlab.records import Earliest, Latest, Partition
from tests.contracts.lab import NONE, T0, Abilities, Row


class FileLab:
    """Fills a file of its own through the encoder; small beacons, so that many are crossed."""

    can = Abilities(
        empty=False,
        trims=False,
        counts_lost=False,
        sends=False,
        tombstones=False,
        keys=False,
        headers=False,
    )

    def __init__(self, folder: Path, *, interval: int = 700) -> None:
        self.path = folder / "lab.ss"
        self.encoder = Encoder("lab.ss", T0, interval)
        self.path.write_bytes(self.encoder.header)
        self.sequences: dict[Partition, int] = {}
        self.connection: Connection = connect(f"file://{folder}/lab.ss")

    async def fill(
        self,
        topic: str,
        rows: Mapping[int, Sequence[Row]],
        deleted: Mapping[int, Collection[int]] = NONE,
    ) -> None:
        out = b""
        for number, part in rows.items():
            first = self.sequences.get(Partition(topic, number), 1)
            self.sequences[Partition(topic, number)] = first + len(part)
            for place, row in enumerate(part):
                if place not in deleted.get(number, ()):
                    out += self.encoder.message(
                        topic, number, first + place, row.ms, row.value or b""
                    )
        self.append(out)

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as there:
            there.write(data)

    def let_rest(self) -> None:
        """As if nobody had written for an hour."""
        os.utime(self.path, (1_700_000_000, 1_700_000_000))

    async def trim(self, topic: str, partition: int, *, keep: int) -> None:
        raise NotImplementedError("a file forgets nothing")

    async def reading(self, topic: str, *, bounded: bool) -> Consumer:
        start = await self.connection.resolve(topic, Earliest())
        stop = await self.connection.resolve(topic, Latest()) if bounded else None
        return await self.connection.consumer(start, stop)


def connect(text: str) -> Connection:
    return file.connect(uri.parse(text), {})


async def values_until_damage(
    consumer: Consumer,
) -> tuple[list[bytes | None], DamagedFileError]:
    """What is delivered before the error, and the error."""
    got: list[bytes | None] = []
    for _ in range(100):
        try:
            blocks = await consumer.receive(7, 5.0)
        except DamagedFileError as error:
            return got, error
        got += [value for block in blocks for value in block.values]
    raise AssertionError("no error")
