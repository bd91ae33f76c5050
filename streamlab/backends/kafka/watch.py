"""Whether a Kafka reader is still being answered, and what is said if it isn't.

aiokafka tries a lost broker again and again and tells nobody. So a reader that waits looks at
when it was last answered; after some silence it goes and sees for itself what is wrong.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from streamlab.clocks import SYSTEM
from streamlab.errors import ConnectError

_SHORTEST_S, _LONGEST_S = 0.25, 10.0
_JITTER = secrets.SystemRandom()


class Watch:
    """Waits that double from 0.25 s to 10 s between looks; owned by one reader.

    Attributes:
        trouble: what the status line says; None while all is well.
    """

    def __init__(self, address: str, look: Callable[[], Awaitable[None]]) -> None:
        """All is well yet.

        Args:
            address: hosts and ports, for the status line.
            look: sees whether the cluster can be reached; raises a BrokerError if not.
        """
        self.trouble: str | None = None
        self._address = address
        self._look = look
        self._looking: asyncio.Task[None] | None = None
        self._tries = 0
        self._retry_at = 0.0

    def over(self) -> None:
        """An answer has come."""
        if self.trouble is None:
            return
        self.trouble = None
        self._tries = 0
        self._retry_at = 0.0
        self._drop()

    def stumbled(self) -> None:
        """A question went unanswered; it will be asked again."""
        if self.trouble is None:
            self._failed()

    async def silent(self) -> bool:
        """No answer has come for too long; cheap, to be called again and again.

        Returns:
            True once the cluster was found to be well: our own connections are at fault.

        Raises:
            BrokerError: what waiting can't mend.
        """
        if self._looking is None:
            if self.trouble is None:
                self._failed()
            elif SYSTEM.running() >= self._retry_at:
                self._looking = asyncio.create_task(self._looks())
            return False
        if not self._looking.done():
            return False
        looked, self._looking = self._looking, None
        self._failed()
        try:
            looked.result()
        except ConnectError:
            return False
        return True

    async def aclose(self) -> None:
        """End a look that is under way."""
        looking = self._drop()
        if looking is not None:
            await asyncio.gather(looking, return_exceptions=True)

    async def _looks(self) -> None:
        await self._look()

    def _drop(self) -> asyncio.Task[None] | None:
        """Forget a look, and what it may have found."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            looking.add_done_callback(_hear)
        return looking

    def _failed(self) -> None:
        delay = min(_LONGEST_S, _SHORTEST_S * 2 ** min(self._tries, 10))
        delay *= _JITTER.uniform(0.5, 1.0)
        self._tries += 1
        self._retry_at = SYSTEM.running() + delay
        wait = f"{delay:.0f} s" if delay >= 1 else f"{delay:.1f} s"
        self.trouble = (
            f"reconnecting {self._address}, try {self._tries}, next in {wait}"
        )


def _hear(looked: asyncio.Task[None]) -> None:
    """Take note of a failure that nobody asks for any more, or asyncio complains."""
    if not looked.cancelled():
        looked.exception()
