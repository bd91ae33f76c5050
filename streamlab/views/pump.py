"""When a widget sends: not too often, never more than its pages can take, from one thread.

A pump has three kinds of caller. Frames' listeners and pages' messages come from any thread
and only post. The turn itself runs on the I/O thread, which alone touches pages and sends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamlab.clocks import SYSTEM, Clock
from streamlab.views.base import Post, library, library_version
from streamlab.views.pages import Pages

log = logging.getLogger("streamlab")
Content = dict[str, Any]
Message = tuple[Content, Sequence[bytes]]


class Pump:
    """Turns changes into messages for the pages that watch."""

    def __init__(
        self,
        post: Post,
        *,
        send: Callable[[Content, list[bytes]], None],
        draw: Callable[[Sequence[str]], Message | None],
        heard: Callable[[Content], None] = lambda _: None,
        gather: Callable[[], None] = lambda: None,
        per_second: float = 15.0,
        clock: Clock = SYSTEM,
    ) -> None:
        """Wait for the first page.

        Args:
            post: the way onto the I/O thread.
            send: puts one message on the wire.
            draw: the message that brings pages up to date, if there is need of one; it is given
                the pages that know nothing yet.
            heard: is given what pages say beyond the protocol, on the I/O thread.
            gather: takes in what has changed, also while pages have no credit left.
            per_second: the most turns.
            clock: for pacing.
        """
        self.pages = Pages()
        self._post, self._clock = post, clock
        self._send, self._draw, self._heard, self._gather = send, draw, heard, gather
        self._pause = 1.0 / per_second
        self._turned = -1.0
        self._lock = threading.Lock()  # guards `_due` alone
        self._due: float | None = None  # running time of the next turn
        self._fresh: dict[str, None] = {}
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    @property
    def watched(self) -> bool:
        """Whether a page watches; may be asked from any thread."""
        return bool(self.pages)

    def others(self, fresh: Sequence[str]) -> bool:
        """Whether pages watch that are not among `fresh`; on the I/O thread."""
        return self.pages.count > len(fresh)

    def kick(self, delay: float = 0.0) -> None:
        """Let there be a turn soon, or no later than after `delay`; from any thread."""
        due = self._clock.running() + delay
        with self._lock:
            if self._closed.is_set() or (self._due is not None and self._due <= due):
                return
            self._due = due
        self._post.post(self._turn, delay)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a page's message; from any thread."""
        said = dict(message)
        self._post.post(lambda: self._hear(said))

    def close(self) -> None:
        """Send no more; from any thread."""
        self._closed.set()

    def _hear(self, message: Content) -> None:
        if self._closed.is_set():
            return
        page = str(message.get("page", ""))
        match message.get("t"):
            case "hello":
                self._welcome(page)
            case "ack":
                if not self.pages.answer(page, int(message.get("seq", 0))):
                    self._welcome(page)
            case "bye":
                self.pages.bye(page)
                self._fresh.pop(page, None)
            case "lib?":
                self._send({"t": "lib", "version": library_version()}, [library()])
            case _:
                self._heard(message)
        self.kick()

    def _welcome(self, page: str) -> None:
        self.pages.hello(page)
        self._fresh[page] = None

    def _turn(self) -> None:
        with self._lock:
            self._due = None
        if self._closed.is_set() or not self.pages:
            return
        try:
            self._take_turn()
        except Exception as error:
            if self._closed.is_set():  # the widget was taken away meanwhile
                return
            self.close()
            log.exception("a picture failed")
            said = f"✖ this picture failed: {type(error).__name__}: {error}"
            self._send({"t": "broken", "text": said}, [])

    def _take_turn(self) -> None:
        now = self._clock.running()
        early = self._turned + self._pause - now
        if early > 0 and not self._fresh:
            self.kick(early)
            return
        self._turned = now
        self._gather()
        wait = self.pages.wait(now, busy=self._post.busy())
        if wait is None:
            return
        if wait > 0:
            self.kick(wait)
            return
        fresh, self._fresh = list(self._fresh), {}
        message = self._draw(fresh)
        if message is not None:
            content, buffers = message
            seq, ask = self.pages.next(now)
            self._send({**content, "seq": seq, "ack": ask}, list(buffers))
