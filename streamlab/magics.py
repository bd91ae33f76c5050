"""`%load_ext streamlab` adds `%streams`."""

from __future__ import annotations

from typing import Any

from streamlab.live.frame import streams


def register(ipython: Any) -> None:
    """Add the magics to an IPython shell."""

    def show(line: str) -> object:  # noqa: ARG001 - the magic takes no argument
        """What runs, a row per source."""
        return streams()

    ipython.register_magic_function(show, "line", "streams")
