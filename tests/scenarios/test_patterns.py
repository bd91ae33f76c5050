"""A pattern instead of a name: every topic that matches, as one."""

from __future__ import annotations

import pytest

import streamlab as sl
from streamlab.errors import TopicNotFoundError, UsageError
from tests.scenarios.site import Site

pytestmark = pytest.mark.broker


def matching(site: Site, pattern: str) -> sl.Topic:
    """As a user writes it: in a URL."""
    where = site.broker.place.rstrip("/")
    return sl.topic(f"{where}/{pattern}", format="text", meta=["_topic"])


async def test_a_pattern_in_a_url_reads_all_that_match(site: Site):
    base = site.name()
    for at, name in enumerate((f"{base}-a", f"{base}-b", f"{base}xa")):
        await site.send(name, at)
    topic = matching(site, f"{base}-*")

    rows = await topic.aio.read()
    info = await topic.aio.info()
    newest = await topic.aio.peek(1)

    assert sorted(rows["_topic"]) == [f"{base}-a", f"{base}-b"]
    assert info["topic"].unique().sort().to_list() == [f"{base}-a", f"{base}-b"]
    assert newest.height == 1
    with pytest.raises(UsageError, match="send to one topic"):
        await topic.aio.send([b"x"])


async def test_a_live_frame_reads_topics_that_come_to_match(site: Site):
    base = site.name()
    await site.send(f"{base}-a", 1)
    topic = matching(site, f"{base}-*")
    live = await topic.aio.live(start="earliest")

    await live.aio.wait(count=1)
    await site.send(f"{base}-b", 2)
    rows = await live.aio.wait(count=2)

    assert rows["_topic"].to_list() == [f"{base}-a", f"{base}-b"]
    live.stop()


async def test_a_pattern_without_a_match_names_the_nearest(site: Site):
    base = site.name()
    await site.send(f"{base}-a", 1)

    with pytest.raises(TopicNotFoundError, match=f"no topic '{base}-b.*'{base}-a'"):
        await matching(site, f"{base}-b*").aio.read()


async def test_by_name_a_star_is_a_star(site: Site):
    if site.kind == "kafka":
        pytest.skip("no topic can have such a name there")
    base = site.name()
    for name in (f"{base}-*", f"{base}-a"):
        await site.send(name, 1)

    rows = await site.broker.topic(f"{base}-*", format="text").aio.read()

    assert rows.height == 1
