"""The one tree of errors that users of the client see, each with a stable code.

A code is part of the protocol: it never changes its meaning. ``docs/errors.md`` lists them.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = (
    "BusyError",
    "CancelledError",
    "ConnectionLostError",
    "DaemonUnreachableError",
    "DamagedError",
    "DftIndexError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "QueryError",
    "ReadOnlyError",
    "RequestTimeoutError",
    "ShuttingDownError",
    "UseAfterForkError",
    "VersionMismatchError",
    "error_from_code",
)


class DftIndexError(Exception):
    """The root of all errors of this package.

    ``message`` says what happened and names the path or the setting, ``hint`` says what to do next.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InvalidArgumentError(DftIndexError, ValueError):
    """An argument is of the wrong kind or out of its range."""

    code = "invalid-argument"


class QueryError(InvalidArgumentError):
    """A filter or a grouping does not parse, or names a column that does not exist."""

    code = "query"


class NotFoundError(DftIndexError, LookupError):
    """A directory or trace is not watched, or does not exist."""

    code = "not-found"


class PermissionDeniedError(DftIndexError, PermissionError):
    """The peer may not do this, or may not read that path."""

    code = "permission-denied"


class BusyError(DftIndexError):
    """Somebody else holds the lock, or a limit is reached; try again later."""

    code = "busy"


class DamagedError(DftIndexError):
    """The store is damaged at a named place; the affected traces are being rebuilt."""

    code = "damaged"


class ReadOnlyError(DftIndexError):
    """The store takes no writes now, for the reason the message names."""

    code = "read-only"


class ShuttingDownError(DftIndexError):
    """The daemon is ending and takes no new work."""

    code = "shutting-down"


class CancelledError(DftIndexError):
    """The request was cancelled by its client."""

    code = "cancelled"


class RequestTimeoutError(DftIndexError, TimeoutError):
    """No answer came within the time the caller allowed."""

    code = "timeout"


class ProtocolError(DftIndexError):
    """The other side sent what the protocol does not allow."""

    code = "protocol"


class VersionMismatchError(ProtocolError):
    """Client and daemon have no version of the protocol in common."""

    code = "version-mismatch"


class DaemonUnreachableError(DftIndexError, ConnectionError):
    """No daemon answers at the socket."""

    code = "unreachable"


class ConnectionLostError(DaemonUnreachableError):
    """The daemon went away in the middle of an answer."""

    code = "connection-lost"


class UseAfterForkError(DftIndexError):
    """A client was used in a child of the process that opened it."""

    code = "use-after-fork"


def _tree(root: type[DftIndexError]) -> list[type[DftIndexError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def error_from_code(code: str, message: str, hint: str = "") -> DftIndexError:
    """Return the error that *code* names; an unknown code of a newer daemon gives the root."""
    by_code = {kind.code: kind for kind in _tree(DftIndexError)}
    return by_code.get(code, DftIndexError)(message, hint)
