"""Every error streamlab raises.

    StreamlabError
    ├── UsageError                  the call is wrong: change the code
    │   ├── SpanError               a span of time or a size that can't be read      (ValueError)
    │   ├── TimeZoneError           a time without a zone                            (ValueError)
    │   ├── PositionError           a start or until that can't be read              (ValueError)
    │   ├── UrlError                a stream URL that can't be read                  (ValueError)
    │   ├── UnknownNameError        no backend, format, view of that name            (LookupError)
    │   ├── MissingExtraError       an optional library is not installed             (ImportError)
    │   ├── ColumnNotFoundError     no such column, with the nearest name            (LookupError)
    │   ├── NotIncrementalError     an expression that looks at other rows
    │   ├── RevisingFrameError      its rows are revised: not for this step
    │   ├── LatenessNeededError     this step must know when a window is over
    │   ├── TooMuchDataError        a bounded read over its limit
    │   ├── ModeError               a step or a call that does not fit the reader's mode
    │   └── WrongLoopError          a plain call inside a running event loop
    ├── BrokerError                 the broker's side: try again, or mend the server
    │   ├── ConnectError            nobody answers there                             (ConnectionError)
    │   ├── AuthError               wrong user or password
    │   ├── TlsError                one side speaks TLS, the other doesn't
    │   ├── PermissionDeniedError   the user lacks a right
    │   ├── TopicNotFoundError      no topic of that name, with the nearest          (LookupError)
    │   ├── GroupBusyError          others share the group, so it can't be had alone
    │   └── PositionLost            the broker no longer has that position
    ├── DataError                   the records' side
    │   ├── DamagedFileError        a recording is damaged at a byte position
    │   └── EncodeError             rows that the format can't write
    ├── StreamFailedError           a live frame failed; `frame.error` says why
    ├── SinkError                   a sink failed; what it had not taken will come again
    ├── StreamStoppedError          the frame was stopped, nothing more will come
    ├── StateLimitError             an operator's state is over the byte budget
    ├── ParityError                 a live frame differs from the batch answer
    └── WaitTimeoutError            a wait ran out                                   (TimeoutError)

A message says what was asked, what is the case and what to type.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Self


class StreamlabError(Exception):
    """Base of every error raised by streamlab."""


class UsageError(StreamlabError):
    """The call is wrong; trying again won't help."""


class SpanError(UsageError, ValueError):
    """A span of time, or a size, that can't be read."""


class TimeZoneError(UsageError, ValueError):
    """A time without a zone."""


class PositionError(UsageError, ValueError):
    """A `start` or `until` that can't be read."""


class UrlError(UsageError, ValueError):
    """A stream URL that can't be read."""


class UnknownNameError(UsageError, LookupError):
    """No plug-in of that name."""

    @classmethod
    def among(cls, what: str, name: str, known: Iterable[str]) -> Self:
        """The error for `name` not being one of `known`."""
        there = sorted(known)
        near = nearest(name, there)
        hint = f" Nearest: {', '.join(repr(n) for n in near)}." if near else ""
        return cls(f"no {what} {name!r}.{hint} There are: {', '.join(there)}.")


class MissingExtraError(UsageError, ImportError):
    """An optional library is not installed."""

    def __init__(self, wanted: str, *, library: str, extra: str) -> None:
        """Say which extra brings `library`, which `wanted` needs."""
        super().__init__(
            f"{wanted} needs {library!r}, which is not installed: "
            f"pip install 'streamlab[{extra}]'"
        )


class ColumnNotFoundError(UsageError, LookupError):
    """No such column."""

    @classmethod
    def among(cls, name: str, where: str, columns: Iterable[str]) -> Self:
        """The error for column `name` absent from `where`."""
        there = list(columns)
        near = nearest(name, there)
        hint = f" Nearest: {', '.join(repr(n) for n in near)}." if near else ""
        return cls(
            f"no column {name!r} in {where}.{hint} There are: {', '.join(there)}."
        )


class NotIncrementalError(UsageError):
    """An expression looks at other rows than its own."""


class RevisingFrameError(UsageError):
    """The frame's rows are revised, and the step can't take revisions."""


class LatenessNeededError(UsageError):
    """A step must know when a window is over, and no lateness was given."""


class TooMuchDataError(UsageError):
    """A bounded read would hold more than its limit."""


class ModeError(UsageError):
    """A step or a call that does not fit the reader's mode (real-time, resumable, …)."""


class WrongLoopError(UsageError):
    """A plain (waiting) call was made inside somebody else's running event loop."""


class BrokerError(StreamlabError):
    """The broker failed or refused; the call itself may be right."""


class ConnectError(BrokerError, ConnectionError):
    """Nobody answers at that address."""


class AuthError(BrokerError):
    """The broker refused the user or the password."""


class TlsError(BrokerError):
    """One side speaks TLS and the other doesn't, or a certificate was refused."""


class PermissionDeniedError(BrokerError):
    """The user lacks a right on the broker."""


class TopicNotFoundError(BrokerError, LookupError):
    """No topic of that name."""

    @classmethod
    def among(cls, name: str, place: str, topics: Iterable[str]) -> Self:
        """The error for `name` absent from the broker at `place` (already redacted)."""
        there = sorted(topics)
        near = nearest(name, there)
        hint = f" Nearest: {', '.join(repr(n) for n in near)}." if near else ""
        every = (
            f" All {len(there)}: sl.connect({place!r}).topics()."
            if there
            else " It has no topics at all."
        )
        return cls(f"no topic {name!r} on {place}.{hint}{every}")


class GroupBusyError(BrokerError):
    """Others share the group, so nobody can have it alone."""


class PositionLost(BrokerError):
    """The broker no longer has the position that was asked for."""


class DataError(StreamlabError):
    """The records themselves are at fault."""


class DamagedFileError(DataError):
    """A recording is damaged.

    Attributes:
        byte: offset in the file where reading stopped.
    """

    def __init__(self, message: str, *, byte: int) -> None:
        """Keep the position beside the message."""
        super().__init__(message)
        self.byte = byte


class EncodeError(DataError):
    """Rows that the format can't write."""


class StreamFailedError(StreamlabError):
    """A live frame failed; its `error` says why."""


class SinkError(StreamlabError):
    """A sink failed; its `__cause__` says why."""


class StreamStoppedError(StreamlabError):
    """The frame was stopped: nothing more will come."""


class StateLimitError(StreamlabError):
    """An operator's state is over the byte budget."""


class ParityError(StreamlabError):
    """A live frame differs from the batch answer over the same records."""


class WaitTimeoutError(StreamlabError, TimeoutError):
    """A wait ran out; the stream itself goes on."""


def nearest(name: str, known: Iterable[str], most: int = 2) -> list[str]:
    """The names most like `name`, best first."""
    return get_close_matches(name, list(known), n=most, cutoff=0.6)
