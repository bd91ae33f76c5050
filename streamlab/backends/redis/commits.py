"""What groups have committed on Redis, and committing by position.

A group's place in a stream is its last delivered entry. Whoever assigns partitions by hand reads
with plain XREAD and moves that place (XGROUP SETID), so nothing piles up as pending. What the
reader wants to remember beside it is the name of a consumer in the group, exchanged in the same
MULTI: it lives and dies with the group, and needs no key and no right of its own. It names the
place too; a group that somebody else has moved since has no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hiredis

from streamlab.backends.base import GroupInfo, GroupMember
from streamlab.backends.redis import groupfacts as redis_groupfacts
from streamlab.backends.redis import ids as redis_ids
from streamlab.backends.redis.catalogue import Catalogue, is_missing, topic_of
from streamlab.backends.redis.groupfacts import Group, Reader
from streamlab.backends.redis.ids import Id
from streamlab.backends.redis.lines import Question, question
from streamlab.backends.redis.wire import Word
from streamlab.errors import GroupBusyError
from streamlab.records import Committed, Partition

_PAGE = 1_000
# A reader asks again every 2 s (ours) to 10 s (SeaStreamer) while it waits.
_READING_MS, _SILENT_MS = 5_000, 60_000


class Commits:
    """Looks at the groups of a server and moves them."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Asks over the catalogue's connections."""
        self._catalogue = catalogue
        self._lines = catalogue.lines

    async def groups(self) -> list[GroupInfo]:
        """All groups there are, sorted by name. Only looks."""
        streams = await self._catalogue.all_streams()
        there = await self._of(streams)
        places = [(s, group.name) for s in streams for group in there[s]]
        members = await self._readers(places)
        found: dict[bytes, dict[str, Sequence[Reader]]] = {}
        for (stream, name), inside in zip(places, members, strict=True):
            found.setdefault(name, {})[stream] = inside
        return [
            _info(name, mine)
            for name, mine in sorted(found.items(), key=lambda g: g[0])
        ]

    async def committed(self, group: str, topic: str) -> dict[Partition, Committed]:
        """What a group has committed of a topic. Only looks."""
        parts = sorted(await self._catalogue.partitions(topic))
        names = [self._catalogue.streams[partition] for partition in parts]
        there = await self._states(group, names)
        found: dict[Partition, Committed] = {}
        for partition, name in zip(parts, names, strict=True):
            if name in there:
                found[partition] = await self._place(name, there[name])
        return found

    async def commit(self, group: str, done: Mapping[Partition, Committed]) -> None:
        """Move the group to these places.

        Raises:
            GroupBusyError: members share it.
        """
        streams = await self._streams(done)
        there = await self._states(group, [*streams.values()])
        for name, known in there.items():
            self._check(group, name, known)
        questions: list[Question] = []
        for partition, name in streams.items():
            last = redis_ids.before(redis_ids.given(done[partition].next))
            state = there.get(name)
            acked = await self._below(name, group, last, state)
            mark = redis_groupfacts.marker(last, done[partition].memory)
            moving = _moving(name, group, last, mark, state)
            if acked:
                moving.append(("XACK", name, group, *acked))
            commands = (("MULTI",), *moving, ("EXEC",))
            questions += [question(name, *words) for words in commands]
        replies = await self._lines.ask_all(questions)
        for asked, reply in zip(questions, replies, strict=True):
            inside = reply if isinstance(reply, list) else [reply]
            for each in inside:
                self._lines.good(each, topic_of(asked.stream))

    # ---- within -------------------------------------------------------------

    async def _of(self, streams: Sequence[str]) -> dict[str, list[Group]]:
        """The groups of each stream; none where the stream is not there."""
        replies = await self._lines.ask_all(
            [question(name, "XINFO", "GROUPS", name) for name in streams]
        )
        found: dict[str, list[Group]] = {}
        for name, reply in zip(streams, replies, strict=True):
            known = [] if is_missing(reply) else self._good(reply, name)
            found[name] = redis_groupfacts.groups(known)
        return found

    async def _states(self, group: str, streams: Sequence[str]) -> dict[str, Group]:
        """The group on each stream that has it, its readers included."""
        there = await self._of(streams)
        mine = {
            name: each
            for name, known in there.items()
            for each in known
            if each.name == group.encode()
        }
        places = [(name, each.name) for name, each in mine.items()]
        inside = await self._readers(places)
        return {
            name: each._replace(readers=readers)
            for (name, each), readers in zip(mine.items(), inside, strict=True)
        }

    async def _readers(
        self, places: Sequence[tuple[str, bytes]]
    ) -> list[Sequence[Reader]]:
        """The readers of groups, given as (stream, group)."""
        replies = await self._lines.ask_all(
            [question(s, "XINFO", "CONSUMERS", s, group) for s, group in places]
        )
        return [
            redis_groupfacts.readers(
                [] if _is_gone(reply) else self._good(reply, place[0])
            )
            for place, reply in zip(places, replies, strict=True)
        ]

    async def _place(self, name: str, state: Group) -> Committed:
        memory = state.memory
        if memory is None and state.pending:
            # What others were given and have not acknowledged may still be needed.
            summary = await self._lines.ask(name, "XPENDING", name, state.name)
            if summary[0]:
                lowest = min(redis_ids.pair(summary[1]), redis_ids.after(state.last))
                return Committed(redis_ids.text(lowest))
        return Committed(redis_ids.text(redis_ids.after(state.last)), memory or "")

    async def _streams(
        self, done: Mapping[Partition, Committed]
    ) -> dict[Partition, str]:
        """The stream of each partition; one that isn't there will be made."""
        known = self._catalogue.streams
        for topic in {p.topic for p in done if p not in known}:
            await self._catalogue.partitions(topic)
        return {p: known.get(p) or self._catalogue.name_for(p) for p in done}

    def _check(self, group: str, name: str, state: Group) -> None:
        busy = [
            reader.name.decode(errors="backslashreplace")
            for reader in state.members
            if reader.idle_ms < (_SILENT_MS if reader.pending else _READING_MS)
        ]
        if busy:
            place = self._lines.settings.place
            raise GroupBusyError(
                f"group {group!r} on {place} is shared: {', '.join(sorted(busy))} read "
                f"{topic_of(name)!r} in it. Stop them (a member counts as gone after "
                f"{_SILENT_MS // 1000} s of silence), or take another group."
            )

    async def _below(
        self, name: str, group: str, last: Id, state: Group | None
    ) -> list[bytes]:
        """Entries up to `last` that readers before us were given and left."""
        found: list[bytes] = []
        start = "-"
        while state is not None and state.pending:
            page = await self._lines.ask(
                name, "XPENDING", name, group, start, redis_ids.text(last), _PAGE
            )
            found += [entry[0] for entry in page]
            if len(page) < _PAGE:
                break
            start = redis_ids.text(redis_ids.after(redis_ids.pair(found[-1])))
        return found

    def _good(self, reply: Any, name: str) -> Any:
        return self._lines.good(reply, topic_of(name))


def _moving(
    name: str, group: str, last: Id, mark: bytes, state: Group | None
) -> list[tuple[Word, ...]]:
    """The commands that move a group on one stream and exchange its marker."""
    at = redis_ids.wire(last)
    first: tuple[Word, ...] = ("XGROUP", "CREATE", name, group, at, "MKSTREAM")
    old: Sequence[bytes] = ()
    if state is not None:
        first, old = ("XGROUP", "SETID", name, group, at), state.markers
    return [
        first,
        *(("XGROUP", "DELCONSUMER", name, group, m) for m in old if m != mark),
        ("XGROUP", "CREATECONSUMER", name, group, mark),
    ]


def _is_gone(reply: Any) -> bool:
    """Whether an answer says that stream or group went meanwhile."""
    gone = isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOGROUP")
    return gone or is_missing(reply)


def _info(name: bytes, streams: Mapping[str, Sequence[Reader]]) -> GroupInfo:
    """One group over all its streams."""
    members: dict[bytes, GroupMember] = {}
    for readers in streams.values():
        for reader in readers:
            if reader.is_ours:
                continue
            known = members.get(reader.name)
            members[reader.name] = GroupMember(
                reader.name.decode(errors="backslashreplace"),
                pending=reader.pending + (known.pending or 0 if known else 0),
                idle_ms=min(reader.idle_ms, known.idle_ms or 0)
                if known
                else reader.idle_ms,
            )
    alive = any((member.idle_ms or 0) < _SILENT_MS for member in members.values())
    return GroupInfo(
        name.decode(errors="backslashreplace"),
        "stable" if alive else "empty",
        tuple(sorted({topic_of(stream) for stream in streams})),
        tuple(sorted(members.values())),
    )
