"""One frame on its way into a picture: its changes, gathered into a window of rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import polars as pl

from streamlab.changes import Change
from streamlab.views.spec import Source
from streamlab.views.window import AppendWindow, KeyedWindow, Window

QUEUED_ROWS = 500_000  # beyond this, a look at the whole frame is cheaper
SLICE_ROWS = 250_000  # taken in at one turn: about 20 ms of the I/O thread


class Feed:
    """Follows one frame while somebody watches.

    `_listen` runs on the worker thread and only queues; everything else belongs to the I/O
    thread. While nobody watches nothing is queued: the first look after it takes a snapshot.
    """

    def __init__(
        self, source: Source, *, watched: Callable[[], bool], kick: Callable[[], None]
    ) -> None:
        """Subscribe; `kick` is called after each change while `watched`."""
        self.source = source
        self.window = new_window(source)
        self._watched, self._kick = watched, kick
        self._queue: deque[Change] = deque()
        self._queued = 0
        self._stale = True
        self._version = -1
        self._rest: pl.DataFrame | None = None
        self._leave = source.frame.subscribe(self._listen)

    def close(self) -> None:
        """Hear of no more changes."""
        self._leave()
        self._queue.clear()

    def _listen(self, change: Change) -> None:
        if not self._watched():
            self._stale = True
            return
        self._queue.append(change)
        self._queued += change.added.height
        if self._queued > QUEUED_ROWS and self._rest is None:
            self._stale = True
            self._queue.clear()
            self._queued = 0
        self._kick()

    def gather(self) -> None:
        """Take in what has changed since the last call."""
        if self._stale:
            self._look()
        elif self._rest is not None:
            self._take_slice(self._rest)
        if self._rest is None:
            self._follow()
        if self.window.lost:
            self._look()

    def _look(self) -> None:
        # Cleared first: what is queued from here on is either in the snapshot or newer.
        self._stale = False
        frame, self._version = self.source.frame.snapshot()
        if isinstance(self.window, AppendWindow):
            self.window.load(frame.head(SLICE_ROWS))
            self._keep_rest(frame)
        else:
            self.window.load(frame)

    def _take_slice(self, rest: pl.DataFrame) -> None:
        self.window.apply(
            Change(rest.head(SLICE_ROWS), pl.DataFrame(), 0, self._version, None)
        )
        self._keep_rest(rest)

    def _keep_rest(self, frame: pl.DataFrame) -> None:
        more = frame.height > SLICE_ROWS
        self._rest = frame.slice(SLICE_ROWS) if more else None
        if more:
            self._kick()

    def _follow(self) -> None:
        while self._queue:
            change = self._queue.popleft()
            self._queued -= change.added.height
            if change.version > self._version:
                self._version = change.version
                self.window.apply(change)


def new_window(source: Source) -> Window:
    """An empty window that fits the frame."""
    frame = source.frame
    if frame.key:
        return KeyedWindow(source.plan, source.columns, frame.key, frame.time_column)
    return AppendWindow(source.plan, source.columns)
