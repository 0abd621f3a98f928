"""What comes before any request is answered: may the peer ask it, and what of the disk does it see.

The paths in a guest's request are made real with the guest's rights here. What it could not find
itself is answered as what nobody watches is: by the path as it was given, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.daemon.callers import Admission, require_permission
from dftindexd.daemon.peer import Peer
from dftindexd.daemon.request_path import checked_path
from dftindexd.daemon.sight import EVERYTHING, Sight, sight_of
from dftindexd.index.errors import CoreError, NotWatchedError, StoreDamagedError
from dftindexd.protocol.errors import (
    DftIndexError,
    NotFoundError,
    PermissionDeniedError,
)
from dftindexd.protocol.requests import (
    AnyRequest,
    IndexRequest,
    SyncRequest,
    TailRequest,
    UnwatchRequest,
    WaitRequest,
    WatchRequest,
)

__all__ = ("WAITING", "Gate", "visible_roots")

_log = structlog.get_logger(__name__)

#: Of the few threads that read stores, one guest takes so many at once.
_TURNS: Final = 2
#: These wait for others' work, and take no thread meanwhile.
WAITING: Final = (IndexRequest, SyncRequest, TailRequest, WaitRequest)


class Gate:
    """Lets requests pass to an engine."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission
        self._turns: dict[int, anyio.CapacityLimiter] = {}

    async def admit(self, request: AnyRequest, peer: Peer) -> tuple[AnyRequest, Sight]:
        """Return the request with its paths made real, and what its answer may be made of.

        :raises PermissionDeniedError: the peer may not ask for this.
        :raises NotWatchedError: the peer could not find the path itself.
        """
        if self._admission.owns(peer):
            return request, EVERYTHING
        require_permission(request)
        sight = sight_of(peer)
        real = await anyio.to_thread.run_sync(_made_real, request, sight)
        if (
            isinstance(real, IndexRequest)
            and self._engine.find_root(os.fsencode(real.path)) is None
        ):
            await anyio.to_thread.run_sync(_require_listable, real.path, sight)
        return real, sight

    @asynccontextmanager
    async def turn(self, request: AnyRequest, peer: Peer) -> AsyncIterator[None]:
        """Hold one of the guest's turns for as long as the context lasts; what goes wrong within is
        told to a guest without what it may not know."""
        if self._admission.owns(peer):
            yield
            return
        try:
            if isinstance(request, WAITING):
                yield
                return
            async with self._turns.setdefault(peer.uid, anyio.CapacityLimiter(_TURNS)):
                yield
        except StoreDamagedError as error:
            raise StoreDamagedError(
                "the index of what you asked for is damaged and being rebuilt",
                "dftindexd-client sync waits for it",
            ) from error
        except (CoreError, DftIndexError):
            raise
        except Exception as error:
            _log.exception("request_failed", request=type(request).__name__)
            # Its text may name anything.
            raise DftIndexError(
                f"the daemon failed to answer: {type(error).__name__}", "ask its owner for the log"
            ) from error


async def visible_roots(engine: Engine, sight: Sight) -> list[Root]:
    """Return the roots that whoever has *sight* may be told of unasked."""
    roots = list(engine.roots.values())
    if sight.is_whole:
        return roots
    return await anyio.to_thread.run_sync(
        lambda: [root for root in roots if sight.sees_directory(root.path)]
    )


def _made_real(request: Any, sight: Sight) -> Any:
    if getattr(request, "path", None) is not None:
        real = os.fsdecode(_real(os.fsencode(request.path), sight))
        if isinstance(request, WatchRequest):
            _require_watchable(request, real, sight)
        elif isinstance(request, UnwatchRequest) and not sight.owns(os.fsencode(real)):
            raise PermissionDeniedError(
                f"only who owns {request.path}, or the daemon, may unwatch it", "ask them"
            )
        return msgspec.structs.replace(request, path=real)
    if isinstance(getattr(request, "directory", None), bytes):
        return msgspec.structs.replace(request, directory=_real(request.directory, sight))
    return request


def _real(path: bytes, sight: Sight) -> bytes:
    real = sight.disk.resolve(checked_path(path))
    if real is None or not sight.disk.opens(real):
        named = os.fsdecode(path)
        raise NotWatchedError(
            f"no watched root holds {named}", f"run dftindexd-client watch {named}"
        )
    return real


def _require_watchable(request: WatchRequest, real: str, sight: Sight) -> None:
    _require_listable(real, sight)
    settings = (request.backend, request.include, request.exclude, request.follow_links)
    is_told = settings != (None, None, None, None) or request.columns is not None
    if is_told and not sight.owns(os.fsencode(real)):
        raise PermissionDeniedError(
            f"only who owns {request.path} may say how it is watched", "watch it without options"
        )


def _require_listable(real: str, sight: Sight) -> None:
    path = os.fsencode(real)
    if not sight.sees_directory(path if os.path.isdir(path) else os.path.dirname(path)):
        raise NotFoundError(f"{real} is no directory that you may list", "check its mode")
