"""Questions to a server, or to each node of a cluster, over connections kept open for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import hiredis

from streamlab.backends.redis import errors as redis_errors
from streamlab.backends.redis.options import Settings
from streamlab.backends.redis.route import Route
from streamlab.backends.redis.wire import Dialer, Link, Word, command
from streamlab.clocks import SYSTEM

# While a cluster or the Sentinels find a new primary.
_WAITS_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)


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
        left = [*range(len(questions))]
        broken: ConnectionError | None = None
        for wait in (*_WAITS_S, None):
            broken, unanswered = await self._ask(questions, left, replies)
            streams = {
                questions[i].stream
                for i in left
                if i in unanswered or redis_errors.is_moved(replies[i])
            }
            # All of a stream's: in a MULTI, the rest was refused because of one.
            left = [i for i in left if questions[i].stream in streams]
            if not left or wait is None or not await self._route.look_again():
                break
            await self._hang_up(streams)
            await SYSTEM.sleep(wait)
        if broken is not None:
            raise broken
        return replies

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
    ) -> tuple[ConnectionError | None, set[int]]:
        """Fill in what is answered; the error of who doesn't answer, and which that were."""
        broken: ConnectionError | None = None
        unanswered: set[int] = set()
        for node, mine in (await self._by_node(questions, which)).items():
            commands = b"".join([questions[i].words for i in mine])
            try:
                got = await self._pipeline(node, commands, len(mine))
            except ConnectionError as error:
                broken = error
                unanswered.update(mine)
                continue
            for i, reply in zip(mine, got, strict=True):
                replies[i] = reply
        return broken, unanswered

    async def _hang_up(self, streams: Collection[str]) -> None:
        """Don't go on asking who has given these streams away."""
        for stream in streams:
            link = self._links.pop(await self._route.node(stream), None)
            if link is not None:
                await link.aclose()

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
