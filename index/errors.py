"""Errors of the core. ``code`` is a code of the protocol, ``hint`` the next step."""

from __future__ import annotations

from typing import ClassVar

__all__ = (
    "BusyReadersError",
    "ConfiguredRootError",
    "CoreError",
    "ForeignStoreError",
    "NotWatchedError",
    "QueryError",
    "StaleGenerationError",
    "StoreDamagedError",
    "StoreLockedError",
    "StoreOutdatedError",
    "StoreReadOnlyError",
    "TraceChangedError",
    "TraceGoneError",
)


class CoreError(Exception):
    """The root of the core's errors."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class NotWatchedError(CoreError):
    """No watched root covers the path."""

    code = "not-found"


class ConfiguredRootError(CoreError):
    """The configuration decides how the root is watched, and no request does."""

    code = "invalid-argument"


class TraceGoneError(CoreError):
    """The trace is no longer at its path."""

    code = "not-found"


class TraceChangedError(CoreError):
    """The trace no longer holds the text that was indexed."""

    code = "busy"


class QueryError(CoreError):
    """A filter or grouping does not parse or names an unknown column."""

    code = "query"


class BusyReadersError(CoreError):
    """As many answers read events as may at once."""

    code = "busy"


class ForeignStoreError(CoreError):
    """A directory is not a store of ours, or of a newer format; it is left untouched."""

    code = "invalid-argument"


class StoreOutdatedError(ForeignStoreError):
    """A store of ours of an older format: it is built anew from the traces."""


class StoreLockedError(CoreError):
    """Another process has the store open."""

    code = "busy"


class StoreDamagedError(CoreError):
    """The store's files do not read back as written.

    ``segments`` are those whose rows are damaged, by their ids; none where that is not known.
    """

    code = "damaged"

    def __init__(
        self, message: str, hint: str = "", *, segments: frozenset[int] = frozenset()
    ) -> None:
        super().__init__(message, hint)
        self.segments = segments


class StaleGenerationError(CoreError):
    """A generation is too old to say what changed since."""

    code = "not-found"


class StoreReadOnlyError(CoreError):
    """The store cannot be written now: no space, a read-only file system, or an I/O error."""

    code = "read-only"
