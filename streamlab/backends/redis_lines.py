"""Questions to a server, or to each node of a cluster, over connections kept open for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis

from streamlab.backends import redis_errors
from streamlab.backends.redis_options import Settings
from streamlab.backends.redis_route import Route
from streamlab.backends.redis_wire import Dialer, Link, Word, command


class Question(NamedTuple):
    """One command about one stream."""

    stream: str
    words: bytes


def question(stream: str, *words: Word) -> Question:
    """A command about `stream`."""
    return Question(stream, command(*words))


class Lines:
    """Asks; may be used by several tasks. Commands must bear being sent twice."""

    def __init__(self, route: Route) -> None:
        """Connects at the first question."""
        self._route = route
        self._links: dict[Dialer, Link] = {}
        self._dialing = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        """Of the server."""
        return self._route.settings

    async def aclose(self) -> None:
        """Give the connections back."""
        links, self._links = self._links, {}
        await asyncio.gather(*(link.aclose() for link in links.values()))

    async def ask(self, stream: str, *words: Word, what: str = "") -> Any:
        """One command; its answer.

        Args:
            stream: which it is about.
            words: the command.
            what: the topic in question, for the message.

        Raises:
            BrokerError: the server refused.
        """
        (reply,) = await self.ask_all([question(stream, *words)])
        return self.good(reply, what)

    async def ask_all(self, questions: Sequence[Question]) -> list[Any]:
        """Several at once; refusals stand among the answers as ReplyError.

        Those about one stream are sent in a row, in their order.
        """
        replies: list[Any] = [None] * len(questions)
        await self._ask(questions, [*range(len(questions))], replies)
        moved = [i for i, reply in enumerate(replies) if redis_errors.is_moved(reply)]
        if moved and await self._route.look_again():
            streams = {questions[i].stream for i in moved}
            again = [i for i, q in enumerate(questions) if q.stream in streams]
            await self._ask(questions, again, replies)
        return replies

    async def ask_everywhere(self, *words: Word) -> list[Any]:
        """One command to each node."""
        return [
            self.good(await self.ask_node(node, *words))
            for node in await self._route.nodes()
        ]

    async def nodes(self) -> Sequence[Dialer]:
        """All servers that hold streams."""
        return await self._route.nodes()

    async def ask_node(self, node: Dialer, *words: Word) -> Any:
        """One command to one node; its answer."""
        (reply,) = await self._pipeline(node, command(*words), 1)
        return self.good(reply)

    def good(self, reply: Any, topic: str = "") -> Any:
        """The answer, if it is none of refusal."""
        if isinstance(reply, hiredis.ReplyError):
            raise redis_errors.refusal(self.settings, str(reply), topic)
        return reply

    async def _ask(
        self, questions: Sequence[Question], which: Sequence[int], replies: list[Any]
    ) -> None:
        for node, mine in (await self._by_node(questions, which)).items():
            try:
                got = await self._pipeline(
                    node, b"".join([questions[i].words for i in mine]), len(mine)
                )
            except ConnectionError:
                # The node may be gone for good, and another one in its place.
                if not await self._route.look_again():
                    raise
                await self._ask_anew(questions, mine, replies)
                continue
            for i, reply in zip(mine, got, strict=True):
                replies[i] = reply

    async def _ask_anew(
        self, questions: Sequence[Question], which: Sequence[int], replies: list[Any]
    ) -> None:
        for node, mine in (await self._by_node(questions, which)).items():
            got = await self._pipeline(
                node, b"".join([questions[i].words for i in mine]), len(mine)
            )
            for i, reply in zip(mine, got, strict=True):
                replies[i] = reply

    async def _by_node(
        self, questions: Sequence[Question], which: Sequence[int]
    ) -> dict[Dialer, list[int]]:
        found: dict[Dialer, list[int]] = {}
        for i in which:
            found.setdefault(await self._route.node(questions[i].stream), []).append(i)
        return found

    async def _pipeline(self, node: Dialer, commands: bytes, count: int) -> list[Any]:
        link = await self._connected(node)
        try:
            return await link.pipeline(commands, count)
        except ConnectionError:
            # It may have gone stale since the last question: once more on a fresh one.
            return await (await self._connected(node)).pipeline(commands, count)

    async def _connected(self, node: Dialer) -> Link:
        async with self._dialing:
            link = self._links.get(node)
            if link is None or link.lost is not None:
                link = self._links[node] = await node.dial()
            return link
