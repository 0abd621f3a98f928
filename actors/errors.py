"""What the senders of messages have to reckon with, apart from the handlers' own errors."""

from __future__ import annotations

__all__ = (
    "ActorEndedError",
    "ActorError",
    "AskTimeoutError",
    "MailboxClosedError",
    "MailboxFullError",
)


class ActorError(Exception):
    """The root of the framework's errors."""


class MailboxClosedError(ActorError):
    """The mailbox takes no more messages, or was closed before this one was taken from it.

    The message had no effect.
    """


class MailboxFullError(ActorError):
    """The data lane has no room now and the sender would not wait."""


class ActorEndedError(ActorError):
    """The actor ended with this message in hand: it may have had an effect, or a part of one."""


class AskTimeoutError(ActorError, TimeoutError):
    """No reply came in time. The message may still be handled; its reply will be dropped."""
