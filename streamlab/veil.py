"""Text that is used as it is and printed as ***: passwords on their way to a client.

Tracebacks with local variables (rich, `%xmode Verbose`, error trackers) print what a name holds by
its `repr`; that of a veiled text says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

HIDDEN = "***"
# "pas" and "pw": misspelt names hold passwords too.
_SECRET_NAMES = ("pas", "pw", "token", "secret", "key", "credential")


class Veiled(str):
    """A text that shows as *** where things are shown by `repr`; otherwise a text like any."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


def sounds_secret(name: str) -> bool:
    """Whether an option of that name may hold a secret."""
    return any(word in name.lower() for word in _SECRET_NAMES)


def veiled(options: Mapping[str, object] | None) -> dict[str, object]:
    """Options, with the texts that may be secret veiled."""
    return {
        name: Veiled(value) if isinstance(value, str) and sounds_secret(name) else value
        for name, value in (options or {}).items()
    }
