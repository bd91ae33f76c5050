"""A reader's silence: looked into by and by, told meanwhile, mended or raised. No broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streamlab.backends.kafka.watch import Watch
from streamlab.errors import AuthError, BrokerError, ConnectError


class Looks:
    """What a look finds, one after the other; the last for ever."""

    def __init__(self, *finds: BrokerError | None) -> None:
        self.finds = [*finds]
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1
        found = self.finds.pop(0) if len(self.finds) > 1 else self.finds[0]
        if found is not None:
            raise found


def said(watch: Watch) -> str:
    return watch.trouble or ""


async def silent_until(watch: Watch, holds: Callable[[], bool]) -> bool:
    """Keep calling as a reader does that hears nothing."""
    well = False
    async with asyncio.timeout(20):
        while not holds() and not well:
            well = await watch.silent()
            await asyncio.sleep(0.01)
    return well


async def test_silence_is_told_before_anything_is_looked_at() -> None:
    looks = Looks(ConnectError("down"))
    watch = Watch("h:9092", looks)

    assert not await watch.silent()

    assert watch.trouble is not None
    assert watch.trouble.startswith("reconnecting h:9092, try 1, next in 0.")
    assert looks.count == 0


async def test_looks_go_on_and_are_counted_while_nobody_answers() -> None:
    looks = Looks(ConnectError("down"))
    watch = Watch("h:9092", looks)

    well = await silent_until(watch, lambda: "try 3" in said(watch))

    assert not well
    assert looks.count == 2
    await watch.aclose()


async def test_a_cluster_that_is_well_is_said_to_be() -> None:
    watch = Watch("h:9092", Looks(ConnectError("down"), None))

    assert await silent_until(watch, lambda: False)
    assert watch.trouble is not None


async def test_what_waiting_can_not_mend_is_raised() -> None:
    watch = Watch("h:9092", Looks(AuthError("wrong user")))

    with pytest.raises(AuthError, match="wrong user"):
        await silent_until(watch, lambda: False)


async def test_an_answer_ends_the_trouble_and_what_was_looked_at_is_forgotten() -> None:
    begun = asyncio.Event()

    async def look() -> None:
        begun.set()
        await asyncio.Event().wait()

    watch = Watch("h:9092", look)
    await silent_until(watch, begun.is_set)

    watch.over()

    assert said(watch) == ""
    assert not await watch.silent()
    assert "try 1" in said(watch)
    await watch.aclose()


async def test_a_question_that_failed_is_told_at_once() -> None:
    watch = Watch("h:9092", Looks(None))

    watch.stumbled()
    watch.stumbled()

    assert "try 1" in said(watch)
