"""Work for a query that whoever asked may give up: a look between two of its steps.

A thread cannot be ended from outside. So what may take long looks now and then whether it is still
wanted; what tells it is set for the thread by whoever runs it. Where nobody set anything, work goes
on to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ("given_up_by", "require_wanted")


def _nothing() -> None:
    """Nobody gives anything up."""


_look: ContextVar[Callable[[], None]] = ContextVar("look", default=_nothing)


@contextmanager
def given_up_by(look: Callable[[], None]) -> Iterator[None]:
    """Have *look*, which raises where the work is not wanted any more, called between steps of the
    work that is done within the context."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


def require_wanted() -> None:
    """Raise what ends the work, if it is not wanted any more."""
    _look.get()()
