"""Free ports of this machine."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from streamlab.errors import BrokerError

HOST = "127.0.0.1"
_TRIES = 3
_LOW = 10_000  # below it live the ports with names
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_Made = TypeVar("_Made")


class PortTakenError(BrokerError):
    """Somebody else listens on the port."""

    def __init__(self, title: str, port: int) -> None:
        """Say it of the server called `title`."""
        super().__init__(
            f"{title} can't start on port {port}: something else listens there. "
            "Leave port= out to take a free one."
        )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different.

    They lie below those that the system gives to outgoing connections: otherwise a client that
    tries again and again might be given the port of the very server that is being restarted.
    """
    lowest = _first_outgoing()
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        return [_bound(probe, lowest) for probe in probes]


def _first_outgoing() -> int:
    try:
        return int(_OUTGOING.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _bound(probe: socket.socket, lowest: int) -> int:
    choices = range(_LOW, lowest)
    for _ in range(_TRIES * 10 if len(choices) > 1_000 else 0):
        with contextlib.suppress(OSError):
            probe.bind((HOST, choices[secrets.randbelow(len(choices))]))
            break
    else:
        probe.bind((HOST, 0))
    return int(probe.getsockname()[1])


def is_taken(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def on_free_ports(
    count: int, make: Callable[[Sequence[int]], _Made], *, first: int | None = None
) -> _Made:
    """What `make` returns when given `count` free ports, the first of them `first` if named.

    Between finding a port and using it somebody else may take it: then others are tried.
    """
    if first is not None:
        return make([first, *free_ports(count - 1)])
    for _ in range(_TRIES - 1):
        with contextlib.suppress(PortTakenError):
            return make(free_ports(count))
    return make(free_ports(count))
