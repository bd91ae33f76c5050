"""The moving table of a live frame: its newest rows, its status line, its failure.

It follows the same rule as the chart: the `Pump` and all that `_draw` touches belong to the
I/O thread, which alone sends; listeners and page messages only post. The frame is asked for a
snapshot only when a page watches and has credit left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from streamlab.clocks import SYSTEM, Clock
from streamlab.observed import Observed
from streamlab.views.base import Post, leave_pages, script
from streamlab.views.failure import failure_text
from streamlab.views.pump import Content, Message, Pump
from streamlab.views.rows import newest, table_html, table_text
from streamlab.views.status import status_parts

UPDATES_PER_SECOND = 8.0
_OVER = ("ended", "stopped", "failed")
_TITLES = {
    "late": "rows that came after their window was over: .late",
    "rejected": "records that could not be decoded: .errors",
}


class LiveTable(anywidget.AnyWidget):
    """The newest rows of one live frame."""

    _esm = script("table.js")
    _css = script("views.css")
    key = traitlets.Unicode().tag(sync=True)

    def __init__(self, frame: Observed, *, post: Post, clock: Clock = SYSTEM) -> None:
        """Show `frame` in every page that asks.

        Args:
            frame: the live frame.
            post: the way onto the I/O loop.
            clock: for pacing.
        """
        self._frame = frame
        self._pump = Pump(
            post,
            send=self._send_message,
            draw=self._draw,
            heard=self._heard,
            per_second=UPDATES_PER_SECOND,
            clock=clock,
        )
        self._changed = False
        super().__init__(key=uuid4().hex)
        post.adopt(self)
        self.on_msg(self._on_message)
        self._leave = frame.subscribe(self._listen)

    @property
    def frame(self) -> Observed:
        """The live frame on show."""
        return self._frame

    def close(self) -> None:
        """Leave the frame and end the model."""
        if self._pump.closed:
            return
        self._pump.close()
        self._leave()
        self.on_msg(self._on_message, remove=True)
        leave_pages(self)
        super().close()

    def __repr__(self) -> str:
        return f"LiveTable({self._frame.name})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, meta = bundle if isinstance(bundle, tuple) else (bundle, {})
        if not data:
            return bundle
        data["text/plain"] = table_text(self._frame)
        data["text/html"] = table_html(self._frame)
        return data, meta

    def _on_message(
        self, _widget: object, message: Mapping[str, Any], _: object
    ) -> None:
        self._pump.hear(message)  # any thread: only posts

    def _listen(self, _change: object) -> None:
        self._changed = True
        if self._pump.watched:
            self._pump.kick()

    # ------------------------------------------------------------ on the I/O thread

    def _send_message(self, content: Content, buffers: list[bytes]) -> None:
        self.send(content, buffers)

    def _heard(self, message: Content) -> None:
        if message.get("t") == "stop":
            self._frame.stop_source()

    def _draw(self, fresh: Sequence[str]) -> Message | None:
        if not (self._changed or fresh):
            return None
        self._changed = (
            False  # before the snapshot: a change from here on is drawn again
        )
        status, failure = self._frame.status(), self._frame.failure()
        table = newest(self._frame.snapshot().df)
        content: Content = {
            "t": "d",
            "name": self._frame.name,
            "steps": self._frame.steps,
            "columns": [head._asdict() for head in table.heads],
            "rows": table.rows,
            "size": table.size,
            "status": [
                {**part._asdict(), "title": _TITLES.get(part.role, "")}
                for part in status_parts(status)
            ],
            "failure": failure and failure_text(self._frame.name, failure),
            "siblings": self._frame.siblings(),
            "over": status.state in _OVER,
        }
        return content, []
