"""What every view is given, and the scripts it brings into the page.

A view knows a frame by `streamlab.observed` alone and the I/O loop by `Post`. Its widget
sends from that loop only; messages from a page may arrive on any thread and are handed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, Protocol


def leave_pages(widget: Any) -> None:
    """Tell pages that a widget will say no more; what follows they do not hear.

    A page that hears of a closed model takes its picture away. It shall keep the last one.
    """
    if widget.comm is not None:
        widget.send({"t": "over"})
        widget.comm.publish_msg = lambda *_args, **_kwargs: None


class Post(Protocol):
    """The way onto the I/O loop's thread, which alone sends widget messages."""

    def post(self, call: Callable[[], object], delay: float = 0.0) -> None:
        """Run `call` on the I/O thread after `delay` seconds; any thread, returns at once."""
        ...

    def busy(self) -> bool:
        """Whether a cell is running, so that a page's answers may have to wait."""
        ...

    def adopt(self, widget: object) -> None:
        """Let the page's answers to `widget` be handled while a cell blocks, if possible."""
        ...


@cache
def script(name: str) -> str:
    """The text of one of our own scripts or style sheets, by file name."""
    return files("streamlab.views").joinpath("js", name).read_text("utf-8")


@cache
def library() -> bytes:
    """The drawing library for the page: one gzipped ES module, about 0.3 MB."""
    return files("streamlab.views").joinpath("js", "lib.mjs.gz").read_bytes()


@cache
def library_version() -> str:
    """Changes when the library does; pages keep one copy per version."""
    return hashlib.sha256(library()).hexdigest()[:12]
