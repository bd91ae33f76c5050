"""Looking at a JSON document without recursion, however deeply it is nested."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}:]')


def depth(line: bytes) -> int:
    """How deeply lists and objects are nested."""
    return max((level for level, _ in _tokens(line)), default=0)


def top_names(line: bytes) -> list[str]:
    """The names of the object's own fields, as often as they come."""
    names = []
    last = b""
    for level, token in _tokens(line):
        if token == b":" and level == 1:
            names.append(json.loads(last))
        last = token
    return names


def _tokens(line: bytes) -> Iterator[tuple[int, bytes]]:
    """Texts, brackets and colons, each with how many brackets are open."""
    level = 0
    for match in _TOKENS.finditer(line):
        token = match[0]
        level += (token in (b"[", b"{")) - (token in (b"]", b"}"))
        yield level, token
