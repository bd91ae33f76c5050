"""A recorded market, replayed into a local broker: the demo's and the notebooks' live data.

`recorded_market()` is what a notebook calls: it starts a Valkey out of its wheel and a child
process that replays `data/trades.ss` into it at the recorded pace, again and again, with times
moved to now. `streamlab demo` does the same for JupyterLab and names the broker in
`STREAMLAB_DEMO`, so that the notebook finds it running.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

from streamlab.backends.base import Connection, Producer
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError
from streamlab.records import Outgoing
from streamlab.runtime.loop import io
from streamlab.servers import Valkey, valkey
from streamlab.topics.brokers import connection_for
from streamlab.topics.desk import Desk
from streamlab.uri import parse

VARIABLE = "STREAMLAB_DEMO"
STREAMS = ("trades", "status")
LEAD_MS = 60_000  # of history at the start, so that there is something to look at
STEP_S = 0.02
START_S = 30.0
_TIME = re.compile(rb'("time":\s*)(\d+)')


class Message(NamedTuple):
    """One recorded message."""

    stamp_ms: int
    topic: str
    partition: int
    value: bytes


def recording() -> str:
    """The path of the recording that ships with the package."""
    return str(files("streamlab").joinpath("data", "trades.ss"))


async def recorded(path: str) -> list[Message]:
    """All messages of a recording, in the order of their time."""
    url = parse(f"file://{path}/{','.join(STREAMS)}")
    desk = Desk(
        connection_for(url, {}),
        STREAMS,
        format_name="raw",
        schema=None,
        time=None,
        meta=(),
    )
    begin = await desk.resolve("earliest", "start")
    end = await desk.resolve("latest", "until")
    found: list[Message] = []
    async for blocks in desk.stretch(begin, end):
        for block in blocks:
            topic, number = block.partition
            stamps = block.timestamps_ms or ()
            found.extend(
                Message(stamp, topic, number, value or b"")
                for stamp, value in zip(stamps, block.values, strict=True)
            )
    return sorted(found, key=lambda message: message.stamp_ms)


async def due(
    messages: Sequence[Message], *, speed: float, lead_ms: int
) -> AsyncIterator[list[Message]]:
    """The messages as they fall due, for ever, with their times moved to now.

    Event times keep their distance to the broker's times, so what was 3 s late still is.
    """
    period = messages[-1].stamp_ms - messages[0].stamp_ms + 1
    begun = SYSTEM.now_ms() - lead_ms
    waiting = _endless(messages, period, begun, speed)
    upcoming = next(waiting)
    while True:
        ready = []
        while upcoming.stamp_ms <= SYSTEM.now_ms():
            ready.append(upcoming)
            upcoming = next(waiting)
        if ready:
            yield ready
        await SYSTEM.sleep(STEP_S)


def _endless(
    messages: Sequence[Message], period: int, begun: int, speed: float
) -> Iterator[Message]:
    first = messages[0].stamp_ms
    lap = 0
    while True:
        for message in messages:
            elapsed = message.stamp_ms - first + lap * period
            at = begun + round(elapsed / speed)
            yield message._replace(
                stamp_ms=at, value=_moved(message.value, at - message.stamp_ms)
            )
        lap += 1


def _moved(value: bytes, by_ms: int) -> bytes:
    return _TIME.sub(lambda m: m[1] + str(int(m[2]) + by_ms).encode(), value, count=1)


async def replay(
    connection: Connection,
    *,
    speed: float = 1.0,
    lead_ms: int = LEAD_MS,
    sent: Callable[[int], None] = lambda _: None,
) -> None:
    """Replay the recording into a broker until cancelled.

    Args:
        connection: the broker.
        speed: how many times the recorded pace.
        lead_ms: how much of it is there at once, in ms of now.
        sent: is told how many messages were sent, after each few.
    """
    messages = await recorded(recording())
    producers: dict[str, Producer] = {
        name: await connection.producer(name) for name in STREAMS
    }
    try:
        async for ready in due(messages, speed=speed, lead_ms=lead_ms):
            for name, producer in producers.items():
                mine = [message for message in ready if message.topic == name]
                if mine:
                    sent(len((await producer.send(_outgoing(mine))).offsets))
    finally:
        for producer in producers.values():
            await producer.aclose()


def _outgoing(messages: Sequence[Message]) -> Outgoing:
    numbers = [message.partition for message in messages]
    return Outgoing(
        [message.value for message in messages],
        timestamps_ms=[message.stamp_ms for message in messages],
        partitions=numbers if any(numbers) or messages[0].topic == "trades" else None,
    )


class Market:
    """A local broker with the recording being replayed into it."""

    def __init__(self, *, speed: float = 1.0) -> None:
        """Start both; `close` ends them, and so does the end of this process."""
        self.server: Valkey = valkey()
        self.url = self.server.url
        command = [sys.executable, "-m", "streamlab.replay", self.url]
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [*command, "--speed", str(speed)], stdin=subprocess.PIPE
        )
        try:
            io().call(self._first_messages(), twin="Market(…) on a thread of its own")
        except BaseException:
            self.close()
            raise

    async def _first_messages(self) -> None:
        """Return once the first messages of all streams are there."""
        connection = connection_for(parse(self.url), {})
        give_up = SYSTEM.running() + START_S
        while not set(STREAMS) <= set(await connection.topics()):
            if self._child.poll() is not None or SYSTEM.running() > give_up:
                raise BrokerError(
                    f"the replay into {self.url} did not start; its own message is above."
                )
            await SYSTEM.sleep(STEP_S)

    def close(self) -> None:
        """End the replay, then the broker."""
        if self._child.stdin is not None:
            with contextlib.suppress(OSError):
                self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(3)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self.server.close()


_market: list[Market] = []


def recorded_market(*, speed: float = 1.0) -> str:
    """The URL of a broker in which recorded trades arrive now.

    The broker that `streamlab demo` runs, if it started this notebook; else one that lives as
    long as this process. Calling it again gives the same one.

    Args:
        speed: how many times the recorded pace of about 100 trades per second.
    """
    if there := os.environ.get(VARIABLE):
        return there
    if not _market:
        market = Market(speed=speed)
        _market.append(market)
        atexit.register(market.close)
    return _market[0].url


async def _until_orphaned(url: str, speed: float) -> None:
    """Replay until the parent's end of the pipe closes, however that happens."""
    work = asyncio.create_task(replay(connection_for(parse(url), {}), speed=speed))
    orphaned = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait({work, orphaned}, return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError, BrokerError):
        await work


def main() -> None:
    """`python -m streamlab.replay URL [--speed N]`; ends with its parent."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("url")
    arguments.add_argument("--speed", type=float, default=1.0)
    given = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        io().call(_until_orphaned(given.url, given.speed), twin="replay(…)")


if __name__ == "__main__":
    main()
