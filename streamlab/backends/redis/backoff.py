"""When to try a lost connection again, and what is said meanwhile."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from streamlab.clocks import SYSTEM

_SHORTEST_S, _LONGEST_S = 0.1, 10.0
_JITTER = secrets.SystemRandom()


class BackOff:
    """Waits that double from 0.1 s to 10 s, each shortened by up to half: readers that lost
    one server together don't come back together.

    Attributes:
        retry_at: not before this, by the system's running clock.
        trouble: what the status line says; None while all is well.
    """

    def __init__(self, address: Callable[[], str]) -> None:
        """Nothing has failed yet; `address` says host and port as they are by then."""
        self.retry_at = 0.0
        self.trouble: str | None = None
        self._address = address
        self._tries = 0

    def failed(self) -> None:
        """The connection broke, or could not be made."""
        delay = min(_LONGEST_S, _SHORTEST_S * 2 ** min(self._tries, 10))
        delay *= _JITTER.uniform(0.5, 1.0)
        self._tries += 1
        self.retry_at = SYSTEM.running() + delay
        wait = f"{delay:.0f} s" if delay >= 1 else f"{delay:.1f} s"
        self.trouble = (
            f"reconnecting {self._address()}, try {self._tries}, next in {wait}"
        )

    def over(self) -> None:
        """The server has answered."""
        self._tries = 0
        self.trouble = None
