"""FRAME: `sl.collect_all`: several frames at one moment."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from streamlab.errors import UsageError
from streamlab.frames.members import Member, Published
from streamlab.frames.pace import ReplayClock
from streamlab.frames.recompute import evaluate
from streamlab.live.frame import LiveFrame
from streamlab.plans import nodes
from streamlab.runtime.loop import io


def collect_all(frames: Iterable[LiveFrame]) -> list[pl.DataFrame]:
    """The rows of several frames at one version of their source.

    Frames of different sources have no common version, unless these are replayed by one clock:
    then it is the moment at which the clock stands.

    Args:
        frames: live frames; the answer is in their order.

    Raises:
        UsageError: they hang on different sources that share no replay clock.
    """
    wanted = list(frames)
    pairs = [(frame._feed, frame._member) for frame in wanted]  # noqa: SLF001 - one noun in several modules
    feeds = list({id(feed): feed for feed, _ in pairs}.values())
    if len(feeds) < 2:
        version = {id(feed): feed.published for feed in feeds}
    else:
        clock = _shared_clock(wanted)

        async def look() -> dict[int, Published]:
            async with clock.still():
                return {id(feed): feed.published for feed in feeds}

        version = io().call(look(), twin="asyncio.to_thread(sl.collect_all, frames)")
    return [_rows(member, version[id(feed)]) for feed, member in pairs]


def _rows(member: Member, published: Published) -> pl.DataFrame:
    if isinstance(member.node, nodes.Recompute):
        return evaluate(member, published)
    return member.display(published.held.get(member, member.held).frame())


def _shared_clock(frames: list[LiveFrame]) -> ReplayClock:
    """The replay clock that all frames go by."""
    clocks = {id(f._feed.spec.clock): f._feed.spec.clock for f in frames}  # noqa: SLF001 - as above
    clock = next(iter(clocks.values()))
    if len(clocks) == 1 and isinstance(clock, ReplayClock):
        return clock
    sources = {id(frame.source): frame.source.name for frame in frames}
    names = ", ".join(sorted(sources.values()))
    raise UsageError(
        f"these frames hang on different sources ({names}), which have no common version. "
        "One call for each source: sl.collect_all([…]). Replayed in step they have one: "
        "day = sl.clock(start=…), and topic.live(clock=day) for each."
    )
