"""Which pages watch a widget, and how many messages each has not answered yet.

Every message goes to every page (the kernel's channel has one address), so one sequence of
numbers serves all, and each page answers for itself. A page may have eight messages in flight.
When one falls silent the others go on without it; alone, it stops the widget's messages.
Owned by the I/O thread.
"""

from __future__ import annotations

from dataclasses import dataclass

CREDIT = 8  # with 2, and an answer each, a page painted 20 frames a second at most
LEFT_BEHIND_S = 1.0
FORGOTTEN_S = 60.0
TRICKLE_S = 0.25


@dataclass
class _Page:
    answered: int
    full_since: float | None = None  # running time when its credit was used up


class Pages:
    """The pages' credit."""

    def __init__(self) -> None:
        """Nobody watches."""
        self.seq = 0
        self._pages: dict[str, _Page] = {}
        self._sent = 0.0

    def __bool__(self) -> bool:
        return bool(self._pages)

    def __contains__(self, page: str) -> bool:
        return page in self._pages

    @property
    def count(self) -> int:
        """How many pages watch."""
        return len(self._pages)

    def hello(self, page: str) -> None:
        """The page shows the widget and knows nothing yet: its credit is whole."""
        self._pages[page] = _Page(self.seq)

    def bye(self, page: str) -> None:
        """The page shows it no longer."""
        self._pages.pop(page, None)

    def answer(self, page: str, seq: int) -> bool:
        """The page has painted everything up to `seq`; False if it was not counted on."""
        known = self._pages.get(page)
        if known is None:
            return False
        known.answered = max(known.answered, min(seq, self.seq))
        if self.seq - known.answered < CREDIT:
            known.full_since = None
        return True

    @property
    def in_flight(self) -> int:
        """The most messages that a page has not answered."""
        return max(
            (self.seq - page.answered for page in self._pages.values()), default=0
        )

    def wait(self, now: float, *, busy: bool) -> float | None:
        """Seconds until the next message may go out; 0 is now, None: when a page answers.

        Args:
            now: running time, in seconds.
            busy: a cell is running, so that answers may be stuck behind it. Then a little is
                sent all the same, less and less often.
        """
        full = [
            page.full_since
            for page in self._pages.values()
            if page.full_since is not None
        ]
        if not full:
            return 0.0 if self._pages else None
        if len(full) < len(self._pages):
            return max(0.0, max(full) + LEFT_BEHIND_S - now)
        silence = now - max(full)
        if busy:
            return max(0.0, self._sent + max(TRICKLE_S, silence / 30) - now)
        if silence > FORGOTTEN_S:
            self._pages.clear()  # they say hello, or answer, when they are back
        return None

    def next(self, now: float) -> tuple[int, bool]:
        """The number of the next message, and whether it must be answered."""
        self.seq += 1
        self._sent = now
        for page in self._pages.values():
            if self.seq - page.answered >= CREDIT and page.full_since is None:
                page.full_since = now
        # Answers cost a page about 7 ms each: few are asked for, but always before credit ends.
        return self.seq, self.in_flight >= CREDIT // 2
