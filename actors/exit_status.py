"""How an actor ended: a closed set, so that nobody has to guess from an exception."""

from __future__ import annotations

import enum

__all__ = ("ExitStatus",)


class ExitStatus(enum.Enum):
    """The reason why an actor no longer runs. Only ``KILLED`` and ``FAILURE`` are restarted."""

    SUCCESS = "success"
    """All work that was queued before the end is done: ``Shutdown``, or the last sender is gone."""

    QUIT = "quit"
    """It was told to stop at once (``Quit``, or a closed mailbox); queued work was refused."""

    DOWNSTREAM_CLOSED = "downstream-closed"
    """The mailbox that it hands its results to takes no more."""

    KILLED = "killed"
    """It was cancelled: by its supervisor for lack of progress, or with its task group."""

    FAILURE = "failure"
    """A hook raised what the actor does not know how to survive."""
