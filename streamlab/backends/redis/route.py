"""Which server holds a stream: one for all, or in a cluster the node that owns its slot."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from streamlab.backends.redis.options import Settings
from streamlab.backends.redis.wire import Dialer


class Route(Protocol):
    """The way to streams; owned by a `Connection`."""

    @property
    def settings(self) -> Settings:
        """As the user gave them."""
        ...

    def together(self, stream: str) -> Hashable:
        """Streams of which this is equal can stand in one command."""
        ...

    def reader(self, stream: str) -> Dialer:
        """Dials whoever has the stream by then; for connections that follow it when it moves."""
        ...

    async def node(self, stream: str) -> Dialer:
        """Who has the stream now. The same object for the same server.

        Raises:
            BrokerError: that could not be found out.
        """
        ...

    async def nodes(self) -> Sequence[Dialer]:
        """All servers that hold streams."""
        ...

    async def look_again(self) -> bool:
        """Find out anew who has what; False if that can't have changed."""
        ...

    async def aclose(self) -> None:
        """Give connections back that were made to find out."""
        ...


class OneServer:
    """One server has everything (it may move, as servers watched by Sentinels do)."""

    def __init__(self, dialer: Dialer) -> None:
        """All streams by `dialer`."""
        self._dialer = dialer
        self.settings = dialer.settings

    def together(self, stream: str) -> Hashable:  # noqa: ARG002 (all of them can)
        return ""

    def reader(self, stream: str) -> Dialer:  # noqa: ARG002 (the same for all)
        return self._dialer

    async def node(self, stream: str) -> Dialer:  # noqa: ARG002 (the same for all)
        return self._dialer

    async def nodes(self) -> Sequence[Dialer]:
        return [self._dialer]

    async def look_again(self) -> bool:
        return False

    async def aclose(self) -> None:
        """Nothing was asked."""
