"""The streams of a topic: made before anything is written, and trimmed."""

from __future__ import annotations

from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis.catalogue import Catalogue
from streamlab.backends.redis.lines import Lines, question
from streamlab.errors import UsageError
from streamlab.records import Resolved

_MAKES = "streamlab:makes"  # a group only for its making a stream without entries


async def sharded(
    lines: Lines, topic: str, streams: dict[int, str], partitions: int | None
) -> dict[int, str]:
    """The streams to write to; makes those of a new topic, so that readers find them.

    Args:
        lines: to the server.
        topic: whose they are.
        streams: those there are, by partition.
        partitions: how many a new topic gets; 1 is the plain stream, None leaves that to
            the first entry.

    Raises:
        UsageError: there are some, but fewer.
    """
    if partitions is None:
        return streams
    if partitions < 1:
        raise UsageError(f"partitions={partitions}: write a number from 1 up.")
    if streams and len(streams) < partitions:
        raise UsageError(
            f"partitions={partitions}: {topic!r} on {lines.settings.place} has "
            f"{len(streams)} already. Take another name, or leave partitions out."
        )
    if streams:
        return streams
    numbered = {n: f"{topic}:{n}" for n in range(partitions)}
    made = numbered if partitions > 1 else {0: topic}
    questions = []
    for name in made.values():
        words = ("XGROUP", "CREATE", name, _MAKES, "$", "MKSTREAM")
        questions.append(question(name, *words))
        questions.append(question(name, "XGROUP", "DESTROY", name, _MAKES))
    # Without the right to do so they come with their first entry.
    await lines.ask_all(questions)
    return made


async def trim(
    catalogue: Catalogue, topic: str, keep: int | None, before: Resolved | None
) -> int:
    """Take away exactly what was said, though Redis trims whole nodes faster (`~`)."""
    if keep is None and before is None:
        raise UsageError("trim: say keep= or before=.")
    if keep is not None and keep < 0:
        raise UsageError(f"trim: keep={keep}: write a number from 0 up.")
    questions = []
    for partition in await catalogue.look(topic):
        name = catalogue.streams[partition]
        if keep is not None:
            questions.append(question(name, "XTRIM", name, "MAXLEN", "=", keep))
        if before is not None and partition in before:
            first = redis_ids.text(redis_ids.given(before[partition]))
            questions.append(question(name, "XTRIM", name, "MINID", "=", first))
    replies = await catalogue.lines.ask_all(questions)
    return sum(catalogue.lines.good(reply, topic) for reply in replies)
