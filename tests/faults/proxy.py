"""A network between a client and a broker that can be broken and mended at will.

    with Proxy(server.port) as proxy:
        client = connect(proxy.port)
        proxy.cut()            # every connection ends, as by a cable pulled for a moment
        proxy.refuse()         # and nobody gets in any more
        proxy.swallow()        # connections stay open, and nothing comes through
        proxy.delay(0.5)       # every piece takes so long
        proxy.mend()

It has a thread of its own: it goes on while the test's loop is blocked. Kafka tells its clients
where to connect, so one needs the listener that sends them back here:
`Proxy(kafka.listeners.behind, listen=kafka.listeners.proxied)`, and `kafka.proxied_url`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, Self, TypeVar

HOST = "127.0.0.1"
_WAIT_S = 20.0
_PIECE = 65_536
_T = TypeVar("_T")


class _Link(NamedTuple):
    """The two ends of one connection: towards the client and towards the broker."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter


class Proxy:
    """Hands on what comes to `port`, until told otherwise.

    Attributes:
        port: where it listens.
        accepted: connections taken since it began.
        sent: bytes handed on to the broker; `received`: bytes handed on to clients.
    """

    def __init__(self, target: int, *, listen: int = 0) -> None:
        self.target = target
        self.port = listen
        self.accepted = self.sent = self.received = 0
        self._delay_s = 0.0
        self._cut_after: int | None = None
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = threading.Condition()
        self._flows = asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="proxy", daemon=True
        )
        self._thread.start()
        self._do(self._listen())
        self._flows.set()

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def cut(self, *, after: int | None = None) -> None:
        """End every connection, without a farewell; new ones are let in.

        Args:
            after: let so many more bytes through to clients first, and cut there, mid-message.
        """
        self._do(self._cut(after))

    def refuse(self) -> None:
        """End every connection and let nobody in until `mend`."""
        self._do(self._refuse())

    def swallow(self) -> None:
        """Keep connections open and hand nothing on, either way, until `mend`."""
        self._do(self._swallow())

    def delay(self, seconds: float) -> None:
        """Keep every piece back for so long, either way; 0 ends it."""
        self._delay_s = seconds

    def mend(self) -> None:
        """Let everybody in and everything through; what was held back comes now."""
        self._delay_s, self._cut_after = 0.0, None
        self._do(self._mend())

    def wait_for(self, *, accepted: int = 0, connections: int | None = None) -> None:
        """Return once so many were taken since the beginning, and so many are open."""
        with self._changed:
            there = self._changed.wait_for(
                lambda: (
                    self.accepted >= accepted
                    and connections in {None, self.connections}
                ),
                _WAIT_S,
            )
        assert there, (self.accepted, self.connections)

    def close(self) -> None:
        """End it and every connection; may be called twice."""
        if self._loop.is_closed():
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_S)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _mend(self) -> None:
        self._flows.set()
        if self._server is None:
            await self._listen()

    async def _swallow(self) -> None:
        self._flows.clear()

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._cut(None)

    async def _cut(self, after: int | None) -> None:
        self._cut_after = after
        if after is None:
            for end in [end for link in self._links for end in link]:
                end.transport.abort()
            # Those that were on their way in are not in the list yet.
            await asyncio.sleep(0)

    async def _end(self) -> None:
        await self._refuse()
        self._flows.set()
        rest = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        try:
            await self._flows.wait()
            answers, broker = await asyncio.open_connection(HOST, self.target)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, broker)
        self._note(self._links.add, link)
        try:
            await asyncio.gather(
                self._pump(reader, broker, to_broker=True),
                self._pump(answers, client, to_broker=False),
            )
        finally:
            self._note(self._links.discard, link)
            for end in link:
                end.transport.abort()

    def _note(self, change: Any, link: _Link) -> None:
        with self._changed:
            change(link)
            self._changed.notify_all()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        to_broker: bool,
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._flows.wait()
                if to_broker:
                    self.sent += len(piece)
                else:
                    piece = await self._shortened(piece, writer)
                    self.received += len(piece)
                writer.write(piece)
                await writer.drain()
        # One side said goodbye: so does the other.
        with suppress(OSError, RuntimeError):
            writer.close()

    async def _shortened(self, piece: bytes, writer: asyncio.StreamWriter) -> bytes:
        """What is let through of an answer; the cut that was asked for comes after it."""
        if self._cut_after is None:
            return piece
        rest = self._cut_after - len(piece)
        if rest > 0:
            self._cut_after = rest
            return piece
        part = piece[: self._cut_after]
        writer.write(part)
        await writer.drain()
        self.received += len(part)
        await self._cut(None)
        raise ConnectionResetError
