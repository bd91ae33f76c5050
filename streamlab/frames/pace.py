"""FRAME: the replay clock: event time at some multiple of real time, or by hand.

Sources that share a clock go in rounds. A round has a moment; every source hands over what is
due by then, and when all have published it, the clock stands at that moment. It never goes where
some source has not read yet, so a slow source holds it and all others: they stay in step.

Everything that begins with `_` belongs to the I/O loop; the rest may be asked from any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from streamlab.clocks import SYSTEM, HandClock
from streamlab.durations import fixed_span, seconds
from streamlab.errors import SpanError, UsageError, WaitTimeoutError
from streamlab.frames.ahead import EVER
from streamlab.frames.played import Played
from streamlab.runtime.loop import Supervised, io

GATHER_S = 0.3  # after the last source has come: those of one cell begin together
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReplayClock:
    """A clock that replays the past; made by `sl.clock(…)`, given to `topic.live(clock=…)`."""

    def __init__(
        self, start_ms: int | None, speed: float, *, own: bool = False
    ) -> None:
        """Not called by users. `own` means that one source has it for itself."""
        self.speed = speed
        self.start_ms = start_ms
        self._own = own
        self._now: int | None = start_ms
        self._moved = False
        self._begun = 0.0
        self._hand = HandClock()  # who sleeps by this clock
        self._sources: list[Played] = []
        self._expected = 0
        self._joined_at = 0.0
        self._stirred = asyncio.Event()
        self._round = asyncio.Lock()
        self._step_lock = asyncio.Lock()
        self._task: Supervised | None = None
        self._trouble = ""

    # -- for people ------------------------------------------------------------------------

    @property
    def now(self) -> datetime | None:
        """The time that it is on this clock; None before a record has told where it begins."""
        at = self._now
        return None if at is None else _EPOCH + timedelta(milliseconds=at)

    def step(self, span: Any = None, *, timeout: Any = "60s") -> None:
        """Go on by `span`, and return when all that became due is in the frames.

        Only a clock that stands (`speed=0`) is moved by hand.

        Args:
            span: how far: "1s", "500ms", a `timedelta`. None goes to the next record there is,
                of whichever source, and hands over what is due at that moment.
            timeout: seconds or a span; None waits for ever.

        Raises:
            UsageError: the clock runs by itself, nothing reads by it, or a source is paused.
            WaitTimeoutError: a source did not get its records in time.
        """
        limit = seconds(timeout, "timeout")
        work = self._step(self._wish(span), limit)
        io().call(work, twin="clock.aio.step(…)", note="Stopped waiting.")

    @property
    def aio(self) -> AioClock:
        """The waiting call for async code: `await clock.aio.step("1s")`."""
        return AioClock(self)

    @property
    def words(self) -> str:
        """How fast, and where it is: "10×, at 2026-11-22 15:41:07"."""
        pace = f"{self.speed:g}×" if self.speed else "by hand"
        now = self.now
        if now is None:
            return f"{pace}, not begun"
        part = now.microsecond // 1000
        fraction = f".{part:03}" if part and not self.speed else ""
        return f"{pace}, at {now:%Y-%m-%d %H:%M:%S}{fraction}"

    @property
    def trouble(self) -> str:
        """What holds it, or ""."""
        return self._trouble

    def __repr__(self) -> str:
        held = f", {self._trouble}" if self._trouble else ""
        return f"<clock {self.words}{held}>"

    # -- as a clock ------------------------------------------------------------------------

    def now_ms(self) -> int:
        at = self._now
        return SYSTEM.now_ms() if at is None else at

    def running(self) -> float:
        return self._hand.running()

    async def sleep(self, seconds: float) -> None:
        await self._hand.sleep(seconds)

    # -- for sources, on the I/O loop ---------------------------------------------------------

    def expect(self) -> None:
        """A source is about to come; the clock stands until it has."""
        self._expected += 1

    def expect_no_more(self) -> None:
        """It came, or did not."""
        self._expected = max(0, self._expected - 1)
        self._joined_at = SYSTEM.running()
        self.stir()

    def join(self, source: Played) -> None:
        """A source reads by this clock from now on."""
        self._sources.append(source)
        self.expect_no_more()
        if self.speed and len(self._sources) == 1:
            self._task = io().spawn(
                self._run(), name="streamlab-clock", failed=self._fail
            )

    def leave(self, source: Played) -> None:
        """It does no longer."""
        if source in self._sources:
            self._sources.remove(source)
        self.stir()
        if self._sources:
            return
        self._trouble = ""
        if self._task is not None and self._task.task is not None:
            self._task.task.cancel()
        if (
            self._own
        ):  # a source that has it for itself begins anew, and so does the clock
            self._now, self._moved = self.start_ms, False

    def stir(self) -> None:
        """Something has come that the clock may have waited for."""
        self._stirred.set()

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """No source hands anything over meanwhile."""
        async with self._round:
            await self._crossed(tuple(self._sources))
            yield

    # -- by itself ---------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._gathered()
        self._begin()
        anchor, since = self.now_ms(), SYSTEM.running()
        while True:
            if self._expected:  # it will begin where the clock is
                await self._gathered()
                anchor, since = self.now_ms(), SYSTEM.running()
            began = SYSTEM.running()
            goal = self._no_future(anchor + int((began - since) * 1000 * self.speed))
            while await self._toward(goal):
                pass
            now = SYSTEM.running()
            if (
                self.now_ms() < goal
            ):  # what was held is not caught up with: the clock stood
                anchor, since = self.now_ms(), now
            await SYSTEM.sleep(self._pause(now - began))

    def _pause(self, cost: float) -> float:
        tick = min((source.tick for source in self._sources), default=0.1)
        firsts = [source.first for source in self._sources]
        due = min((first for first in firsts if first is not None), default=EVER)
        until_due = max(0.0, (due - self.now_ms()) / 1000 / self.speed)
        return min(tick, max(0.001, 2 * cost, until_due))

    async def _gathered(self) -> None:
        """Return once all sources have come that are about to, and know their first record."""
        while True:
            wait = self._joined_at + GATHER_S - SYSTEM.running()
            if self._expected or not all(map(_ready, self._sources)):
                self._say_trouble()
                await self._stir()
            elif wait > 0 and not self._moved:
                await SYSTEM.sleep(wait)
            else:
                return

    def _no_future(self, goal: int) -> int:
        """Where all records are handed over, no clock is ahead of the brokers' own."""
        if any(source.first is not None for source in self._sources):
            return goal
        return min(goal, max(self.now_ms(), SYSTEM.now_ms()))

    # -- by hand -----------------------------------------------------------------------------

    def _wish(self, span: Any) -> int | None:
        if self.speed:
            raise UsageError(
                f"this clock runs by itself, {self.speed:g}×. One that is moved by hand: "
                'sl.clock(start=…, speed=0), then clock.step("1s").'
            )
        if span is None:
            return None
        us = fixed_span(span, "step").us
        if us % 1000 or not us:
            raise SpanError(f"step({span!r}): this clock counts whole milliseconds.")
        return us // 1000

    async def _step(self, span: int | None, timeout: float | None) -> None:  # noqa: ASYNC109 - the plain twin's own argument
        async with self._step_lock:
            self._refuse()
            try:
                async with asyncio.timeout(timeout):
                    sources = list(self._sources)
                    await self._go(span)
                    await self._crossed([*sources, *self._sources])
            except TimeoutError:
                raise WaitTimeoutError(
                    f"after {timeout:g} s the clock is at {self.words}: "
                    f"{self._trouble or 'a source is still reading'}. Step again, or raise "
                    "timeout=."
                ) from None

    async def _crossed(self, sources: Sequence[Played]) -> None:
        """Return once joins have taken what these have handed over, and joins of joins."""
        while any(source.crossing for source in sources):
            for source in sources:
                await source.crossed()

    def _refuse(self) -> None:
        if not self._sources and not self._expected:
            was = "any more: all its sources have ended" if self._moved else "yet"
            raise UsageError(
                f"nothing reads by this clock {was}. topic.live(clock=clock) makes a frame "
                "that does; then clock.step(…)."
            )
        self._refuse_held()

    async def _go(self, span: int | None) -> None:
        asked = {id(source): source.ask() for source in self._sources}
        while self._expected or not all(
            s.answered(asked.get(id(s), 0)) and s.knows_first for s in self._sources
        ):
            await self._stir()
        goal = self._goal(span)
        if goal is None:
            return
        while True:
            if await self._toward(goal):
                continue
            if self._there(goal):
                return
            self._refuse_held()
            await self._stir()

    def _refuse_held(self) -> None:
        for source in self._sources:
            if source.held:
                raise UsageError(
                    f"{source.name} is {source.held}, and the clock waits for all its sources: "
                    "resume() it, or stop() it."
                )

    def _goal(self, span: int | None) -> int | None:
        """Where a step leads; None if there is nothing to go to."""
        firsts = [source.first for source in self._sources]
        first = min((each for each in firsts if each is not None), default=None)
        if self._now is None:
            if first is None:
                return None
            self._now = first
        self._begin()
        if span is not None:
            return self._now + span
        if first is None:
            ending = any(source.ending for source in self._sources)
            return self._now if ending else None
        return max(first, self._now)

    def _there(self, goal: int) -> bool:
        return self.now_ms() >= goal and not any(
            source.over or _has_due(source, goal) for source in self._sources
        )

    # -- rounds ------------------------------------------------------------------------------

    def _begin(self) -> None:
        """The clock is about to move for the first time."""
        if self._now is None:
            firsts = [source.first for source in self._sources]
            self._now = min(
                (first for first in firsts if first is not None),
                default=SYSTEM.now_ms(),
            )
        self._moved = True

    async def _toward(self, goal: int) -> bool:
        """One round, as far as all sources are known; False if that is no way at all."""
        now = self.now_ms()
        reach = min([goal, *(source.through for source in self._sources)])
        turns = [source.turn(now) for source in self._sources]
        # Before the clock's own time where a source that came late has its old records first.
        reach = min([reach, *(turn for turn in turns if turn is not None)])
        due = [s for s in self._sources if _has_due(s, reach)]
        self._say_trouble()
        if any(s.held for s in self._sources) or not (due or now < reach):
            return False
        async with self._round:
            moment = max(now, reach)
            await asyncio.gather(*(s.play(reach) for s in tuple(self._sources)))
            self._hand.advance((moment - now) / 1000)
            self._now = moment
        return True

    def _say_trouble(self) -> None:
        now = self.now_ms()
        held = next((s for s in self._sources if s.held), None)
        behind = next((s for s in self._sources if s.through < now), None)
        self._trouble = ""
        if held is not None:
            self._trouble = f"waits for {held.name}, which is {held.held}"
        elif behind is not None:
            self._trouble = f"waits for {behind.name}"

    async def _stir(self) -> None:
        self._stirred.clear()
        await self._stirred.wait()

    def _fail(self, error: BaseException) -> None:
        self._trouble = f"stopped: {error}"


def _ready(source: Played) -> bool:
    return source.knows_first and not source.held


def _has_due(source: Played, reach: int) -> bool:
    return source.ending or (source.first is not None and source.first <= reach)


class AioClock:
    """A clock's waiting call, as a coroutine on the caller's loop."""

    def __init__(self, clock: ReplayClock) -> None:
        """Twin of `clock`'s call."""
        self._clock = clock

    async def step(self, span: Any = None, *, timeout: Any = "60s") -> None:  # noqa: ASYNC109 - the plain twin's own argument
        """As `ReplayClock.step`."""
        limit = seconds(timeout, "timeout")
        wish = self._clock._wish(span)  # noqa: SLF001
        await io().bridge(self._clock._step(wish, limit))  # noqa: SLF001
