"""Errors of the core, the actors, a daemon, and of groups of them, as those of dftracer-utils."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dftindexd.actors.errors import ActorError
from dftindexd.compat.errors import DFTUtilsIndexerError
from dftindexd.index.errors import CoreError, QueryError, StoreLockedError
from dftindexd.protocol.errors import DftIndexError
from dftindexd.protocol.errors import QueryError as ServedQueryError

__all__ = ("translated_errors",)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise a ``ValueError`` for a query that is wrong, else a ``DFTUtilsIndexerError``."""
    try:
        yield
    except (QueryError, ServedQueryError) as error:
        raise ValueError(str(error)) from error
    except (CoreError, ActorError, DftIndexError) as error:
        raise DFTUtilsIndexerError(_text(error)) from error
    except BaseExceptionGroup as group:
        known = group.subgroup((CoreError, ActorError))
        if known is None:
            raise
        raise DFTUtilsIndexerError(_text(_first_leaf(known))) from group


def _text(error: BaseException) -> str:
    if isinstance(error, StoreLockedError):
        return (
            f"{error.message}; where that is a daemon, it does not watch these traces with these "
            "tiers: have it watch them, or give an index_dir"
        )
    return str(error)


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
