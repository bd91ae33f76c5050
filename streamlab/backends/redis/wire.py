"""One connection to a Redis server, speaking RESP2 on asyncio.

Answers come in two ways. `call` and `pipeline` parse them with hiredis. `ask` leaves the bytes of
one answer as they came, for `parse`: hiredis makes three tracked lists an entry, and in a
notebook's heap the garbage collector then took 25 ms per 10,000 entries, 7 times the parsing.

Where such an answer ends is seen without parsing it: behind the command goes an ECHO of random
bytes, and what ends in their echo is whole. No payload can imitate what it can't know.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

import hiredis

from streamlab.backends.redis import errors as redis_errors
from streamlab.backends.redis.options import Settings
from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError
from streamlab.veil import HIDDEN

Word = str | bytes | int
_CLOSE_S = 2.0


def command(*words: Word) -> bytes:
    """A command as it goes over the wire."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class _Hidden(bytes):
    """Bytes that a traceback does not show: a command with a password."""

    def __repr__(self) -> str:
        return HIDDEN


def _login(settings: Settings) -> bytes:
    return _Hidden(command("AUTH", *settings.login()))


class _Batch(NamedTuple):
    """A pipeline on its way: how many answers it wants, those there are, and who waits."""

    wanted: int
    replies: list[Any]
    done: asyncio.Future[list[Any]]


class Link(asyncio.Protocol):
    """A connection; owned by one task, except that several may `pipeline`.

    Attributes:
        lost: why it is gone, or None while it stands.
        whole: the answer to the last `ask`, once it is there: the bytes, or, where the user
            lacks the right to ECHO, what hiredis made of them.
        ready: logged in.
        heard_at: when the last bytes came, by the system's running clock.
    """

    def __init__(self, settings: Settings) -> None:
        """A protocol without a transport yet; `dial` makes them whole."""
        self.lost: BrokerError | None = None
        self.whole: Any = None
        self.heard_at = 0.0
        self.ready = False
        self._settings = settings
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[_Batch] = deque()
        self._asking = self._raw = False
        self._missing = 0
        self._parsed: list[Any] = []
        self._chunks: list[bytes] = []
        self._end = b""
        self._echo = b""
        self._waker: asyncio.Future[None] | None = None
        self._spoke = False
        self._closed = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._room.set()

    # ---- what the loop calls ------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            "asyncio.Transport", transport
        )  # create_connection makes no other

    def data_received(self, data: bytes) -> None:
        self.heard_at = SYSTEM.running()
        if self._asking and self._raw:
            self._gather(data)
            return
        try:
            self._reader.feed(data)
            while self._waiting or self._asking:
                reply = self._reader.gets()
                if reply is False:
                    break
                self._answer(reply)
        except hiredis.ProtocolError:
            self._break(redis_errors.garbled(self._settings, data))
        self._spoke = True

    def connection_lost(self, error: Exception | None) -> None:
        if self.lost is None:
            self._break(redis_errors.hung_up(self._settings, error, spoke=self._spoke))
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    # ---- what we call -------------------------------------------------------

    async def call(self, *words: Word, what: str = "") -> Any:
        """One command, one answer.

        Args:
            words: the command.
            what: the topic in question, for the message.

        Raises:
            BrokerError: the server refused, or the connection broke.
        """
        (reply,) = await self.pipeline(command(*words), 1)
        if isinstance(reply, hiredis.ReplyError):
            raise redis_errors.refusal(self._settings, str(reply), what)
        return reply

    async def pipeline(self, commands: bytes, count: int) -> list[Any]:
        """Several commands at once; refusals stand among the answers as ReplyError."""
        if self.lost is not None:
            raise self.lost
        batch = _Batch(count, [], asyncio.get_running_loop().create_future())
        self._waiting.append(batch)
        self._write(commands)
        # A password may be among them: no traceback from here on shall print it.
        del commands
        await self._room.wait()
        try:
            async with asyncio.timeout(self._settings.socket_timeout):
                return await batch.done
        except TimeoutError:
            silence = redis_errors.silent(self._settings)
            self._break(silence)
            raise silence from None

    def ask(self, commands: bytes, *, replies: int = 0) -> None:
        """Send something whose answer is fetched later; one at a time, nothing beside it.

        Args:
            commands: what is sent.
            replies: leaves the answer to one command in bytes if 0; otherwise that many are
                parsed, and refusals stand among them as ReplyError.
        """
        self.whole = None
        self._asking = True
        self._raw = bool(self._end) and not replies
        self._missing, self._parsed = replies, []
        self._write(commands + (self._echo if self._raw else b""))

    @property
    def asking(self) -> bool:
        """An `ask` is on its way."""
        return self._asking

    async def answered(self, timeout: float) -> bool:  # noqa: ASYNC109 (no cancelling: 20 µs a reply)
        """Whether the answer to `ask` is there, waiting up to `timeout` seconds.

        Raises:
            BrokerError: the connection broke before.
        """
        if self._asking and self.lost is None and timeout > 0:
            loop = asyncio.get_running_loop()
            self._waker = loop.create_future()
            timer = loop.call_later(timeout, self._wake)
            try:
                await self._waker
            finally:
                timer.cancel()
                self._waker = None
        elif self._asking:
            await asyncio.sleep(0)
        if not self._asking:
            return True
        if self.lost is not None:
            raise self.lost
        return False

    def abort(self, error: BrokerError) -> None:
        """Give it up: whoever waits is told `error`."""
        self._break(error)

    async def aclose(self) -> None:
        """Close it; what was sent is not waited for."""
        self._break(redis_errors.hung_up(self._settings, None, spoke=True))
        await asyncio.wait([self._closed], timeout=_CLOSE_S)

    async def log_in(self) -> None:
        """Everything a fresh connection needs before it is of use."""
        settings = self._settings
        if settings.password is not None:
            (reply,) = await self.pipeline(_login(settings), 1)
            if isinstance(reply, hiredis.ReplyError):
                raise redis_errors.refusal(settings, str(reply))
        if settings.db:
            await self.call("SELECT", settings.db)
        if settings.client_name:
            await self.call("CLIENT", "SETNAME", settings.client_name)
        token = secrets.token_hex(8).encode()
        echo = command("ECHO", token)
        replies = await self.pipeline(
            command("CLIENT", "SETINFO", "LIB-NAME", "streamlab") + echo,
            2,
        )
        # Old servers don't know SETINFO, and a user may lack either right: no harm.
        text = str(replies[1]) if isinstance(replies[1], hiredis.ReplyError) else ""
        if text.startswith("NOAUTH"):
            raise redis_errors.refusal(settings, text)
        if replies[1] == token:
            self._echo = echo
            self._end = b"$%d\r\n%b\r\n" % (len(token), token)
        self.ready = True

    # ---- within -------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._transport is not None and self.lost is None:
            self._transport.write(data)

    def _answer(self, reply: Any) -> None:
        if self._waiting:
            batch = self._waiting[0]
            batch.replies.append(reply)
            if len(batch.replies) >= batch.wanted:
                self._waiting.popleft()
                if not batch.done.done():
                    batch.done.set_result(batch.replies)
            return
        self._parsed.append(reply)
        if len(self._parsed) >= self._missing:
            self.whole = self._parsed if self._missing else reply
            self._asking = False
            self._wake()

    def _gather(self, data: bytes) -> None:
        """Keep bytes until the echo tells that the answer is whole."""
        end = self._end
        self._chunks.append(data)
        if len(data) < len(end):
            data = b"".join(self._chunks)
        if data.endswith(end):
            chunks, self._chunks = self._chunks, []
            self.whole = b"".join(chunks)[: -len(end)]
            self._asking = False
            self._wake()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def _break(self, error: BrokerError) -> None:
        if self.lost is None:
            self.lost = error
        if self._transport is not None:
            self._transport.abort()
        for batch in self._waiting:
            if not batch.done.done():
                batch.done.set_exception(self.lost)
        self._waiting.clear()
        self._room.set()
        self._wake()


# Asked at each dial: the server as it is to be reached now.
Where = Callable[[], Awaitable[Settings]]


class Dialer:
    """Makes connections to one server; owned by a `Connection`."""

    def __init__(self, settings: Settings, where: Where | None = None) -> None:
        """Touches neither network nor files.

        Args:
            settings: of the server.
            where: says at each dial where it is, for servers that move; None stays with
                `settings`.
        """
        self.settings = settings
        self._where = where
        self._context: Any = None
        self._worked = False

    async def dial(self) -> Link:
        """A connection, logged in.

        Raises:
            BrokerError: ConnectError, TlsError, AuthError or PermissionDeniedError, within
                the connect time-out.
        """
        if self._where is not None:
            self.settings = await self._where()
        settings = self.settings
        link: Link | None = None
        if settings.tls and self._context is None:
            self._context = await asyncio.to_thread(settings.context)
        try:
            async with asyncio.timeout(settings.socket_connect_timeout):
                link = await self._connect(settings)
                await link.log_in()
        except OSError as error:
            if isinstance(error, BrokerError):
                raise
            raise redis_errors.failure(settings, error) from error
        finally:
            if link is not None and not link.ready:
                link.abort(redis_errors.hung_up(settings, None, spoke=True))
        self._worked = True
        return link

    async def _connect(self, settings: Settings) -> Link:
        loop = asyncio.get_running_loop()
        handshake = settings.socket_connect_timeout * 0.6 if settings.tls else None
        if settings.unix_socket_path is not None:
            _, link = await loop.create_unix_connection(
                lambda: Link(settings), settings.unix_socket_path
            )
            return link
        try:
            _, link = await loop.create_connection(
                lambda: Link(settings),
                settings.host,
                settings.port,
                ssl=self._context,
                ssl_handshake_timeout=handshake,
                happy_eyeballs_delay=0.25,
            )
        except ConnectionAbortedError as error:
            # asyncio's word for a handshake that ran out of time; where TLS has worked
            # before, the server is only stuck.
            if settings.tls and not self._worked:
                raise redis_errors.no_handshake(settings) from error
            raise
        return link
