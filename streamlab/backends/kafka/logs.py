"""aiokafka's log, kept from saying too much."""

from __future__ import annotations

import logging


class _NoPasswords(logging.Filter):
    """At DEBUG aiokafka prints every request, and one of them carries the password."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        return not any("SaslAuthenticate" in type(arg).__name__ for arg in args)


_FILTER = _NoPasswords()
_SILENCE = logging.NullHandler()


def hush() -> None:
    """Once a program logs, it sees aiokafka's lines but no password; until then, nothing.

    Without a handler Python prints warnings to stderr: in a notebook that is the output of
    whatever cell runs just then.
    """
    logging.getLogger("aiokafka").addHandler(_SILENCE)
    logging.getLogger("aiokafka.conn").addFilter(_FILTER)
