"""Text that is used as it is and printed as ***: passwords on their way to a client.

Tracebacks with local variables (rich, `%xmode Verbose`, error trackers) print what a name holds by
its `repr`; that of a veiled text says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

HIDDEN = "***"
# "pas" and "pw": misspelt names hold passwords too.
_SECRET_NAMES = ("pas", "pw", "token", "secret", "key", "credential")


class Veiled(str):
    """A text that shows as *** where things are shown by `repr`; otherwise a text like any."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


class _Unfit:
    """Stands for what can't be a secret but may hold one: a list, bytes, a dict."""

    def __repr__(self) -> str:
        return HIDDEN


def sounds_secret(name: str) -> bool:
    """Whether an option of that name may hold a secret."""
    return any(word in name.lower() for word in _SECRET_NAMES)


def veiled(options: Mapping[str, object] | None) -> dict[str, object]:
    """Options, with what may be secret veiled; a secret that is no text is refused later."""
    return {
        name: _veil(value) if sounds_secret(name) else value
        for name, value in (options or {}).items()
    }


def _veil(value: object) -> object:
    if isinstance(value, str):
        return Veiled(value)
    return _Unfit() if isinstance(value, Collection) else value
