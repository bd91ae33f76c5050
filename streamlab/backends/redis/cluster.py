"""Which node of a Redis Cluster holds a stream, as redis-py's cluster client finds it out."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    RedisClusterException,
    RedisError,
)

from streamlab.backends.redis.options import Settings, plain, tls_options
from streamlab.backends.redis.wire import Dialer
from streamlab.clocks import SYSTEM
from streamlab.errors import AuthError, BrokerError, ConnectError

# Readers that lost one node together need not ask one by one where its streams are.
_FRESH_S = 1.0
_REFUSALS = ("uthenticat", "invalid username-password")


Address = tuple[str, int]


class Cluster:
    """The nodes of one cluster. A command can name streams of one slot only."""

    def __init__(self, settings: Settings) -> None:
        """Asks nobody yet."""
        self.settings = settings
        self._owners: Mapping[int, Address] = {}
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        self._nodes: dict[Address, Dialer] = {}
        self._readers: dict[int, Dialer] = {}

    def together(self, stream: str) -> Hashable:
        return key_slot(stream.encode())

    def reader(self, stream: str) -> Dialer:
        slot = key_slot(stream.encode())
        if slot not in self._readers:
            where = partial(self._where, slot)
            self._readers[slot] = Dialer(self.settings, where)
        return self._readers[slot]

    async def node(self, stream: str) -> Dialer:
        if self._looked_at is None:
            await self._look(0.0)
        return self._dialer(self._owner(key_slot(stream.encode())))

    async def nodes(self) -> Sequence[Dialer]:
        if self._looked_at is None:
            await self._look(0.0)
        return [self._dialer(address) for address in sorted({*self._owners.values()})]

    async def look_again(self) -> bool:
        await self._look(0.0)
        return True

    async def aclose(self) -> None:
        """Nothing stays open between two looks."""

    async def _where(self, slot: int) -> Settings:
        """Called when a connection is to be made: the first one, or one that has broken."""
        await self._look(_FRESH_S)
        host, port = self._owner(slot)
        return replace(self.settings, host=host, port=port)

    async def _look(self, fresh: float) -> None:
        """Ask the nodes, unless that was done within the last `fresh` seconds."""
        asked_at = SYSTEM.running()
        async with self._looking:
            looked = self._looked_at
            if looked is not None and looked > asked_at - fresh:
                return
            nodes = {*self.settings.nodes, *self._owners.values()}
            found = await _owners(self.settings, nodes)
            if isinstance(found, BrokerError):
                raise found
            self._owners, self._looked_at = found, SYSTEM.running()

    def _owner(self, slot: int) -> Address:
        if slot not in self._owners:
            raise ConnectError(
                f"no node of {self.settings.place} holds slot {slot}: the cluster is down "
                "or not whole."
            )
        return self._owners[slot]

    def _dialer(self, address: Address) -> Dialer:
        if address not in self._nodes:
            host, port = address
            self._nodes[address] = Dialer(replace(self.settings, host=host, port=port))
        return self._nodes[address]


async def _owners(
    settings: Settings, nodes: Iterable[Address]
) -> dict[int, Address] | BrokerError:
    """Slot → primary; or why that could not be found out.

    The error is handed back rather than raised, without redis-py's behind it: those show the
    clients, and clients their passwords.
    """
    client = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in nodes],
        username=settings.username,
        password=plain(settings.password),
        socket_timeout=settings.socket_connect_timeout,
        socket_connect_timeout=settings.socket_connect_timeout,
        require_full_coverage=False,
        dynamic_startup_nodes=False,
        retry=Retry(NoBackoff(), 0),
        **tls_options(settings),
    )
    manager = client.nodes_manager
    try:
        async with asyncio.timeout(settings.socket_connect_timeout):
            await manager.initialize()
        return {
            slot: (nodes[0].host, int(nodes[0].port))
            for slot, nodes in manager.slots_cache.items()
            if nodes
        }
    except (RedisError, RedisClusterException, OSError) as error:
        return _explained(settings.place, error)
    finally:
        await manager.aclose()
        await manager.aclose("startup_nodes")


def _explained(place: str, error: Exception) -> BrokerError:
    said = f"{error} {error.__cause__ or ''}"
    if isinstance(error, AuthenticationError) or any(
        word in said for word in _REFUSALS
    ):
        scheme, _, rest = place.partition("://")
        return AuthError(
            f"wrong user or password on {place}, or none where one is wanted: "
            f"{scheme}://$USER:$PASSWORD@{rest}"
        )
    if "mode is not enabled" in said:
        single = place.replace("+cluster", "").partition(",")[0]
        return BrokerError(f"{place} is no cluster. Open it as one server: {single}.")
    return ConnectError(f"no node of the cluster answers at {place}")
