"""Names to modules: backends by URL scheme, formats by name; imported on first use.

Other people's plug-ins come as entry points in the groups `streamlab.backends` and
`streamlab.formats`; each names a module with the same attributes as ours.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from streamlab.errors import UnknownNameError

OURS: dict[str, dict[str, str]] = {
    "backends": {
        "memory": "streamlab.backends.memory.broker",
        "demo": "streamlab.backends.demo.topics",
        "redis": "streamlab.backends.redis.connection",
        "rediss": "streamlab.backends.redis.connection",
        "redis+cluster": "streamlab.backends.redis.connection",
        "rediss+cluster": "streamlab.backends.redis.connection",
        "redis+sentinel": "streamlab.backends.redis.connection",
        "rediss+sentinel": "streamlab.backends.redis.connection",
        "kafka": "streamlab.backends.kafka.connection",
        "kafka+ssl": "streamlab.backends.kafka.connection",
        "file": "streamlab.backends.file.recording",
    },
    "formats": {
        "json": "streamlab.formats.json",
        "text": "streamlab.formats.text",
        "raw": "streamlab.formats.raw",
    },
}


def names(kind: str) -> list[str]:
    """All names of one kind ("backends", "formats"), sorted."""
    theirs = (point.name for point in entry_points(group=f"streamlab.{kind}"))
    return sorted({*OURS[kind], *theirs})


def load(kind: str, name: str) -> ModuleType:
    """The module of one plug-in.

    Raises:
        UnknownNameError: there is none of that name.
        MissingExtraError: raised by the module itself, if it lacks its client library.
    """
    if path := OURS[kind].get(name):
        return import_module(path)
    for point in entry_points(group=f"streamlab.{kind}", name=name):
        module = point.load()
        if isinstance(module, ModuleType):
            return module
    raise UnknownNameError.among(kind.removesuffix("s"), name, names(kind))
