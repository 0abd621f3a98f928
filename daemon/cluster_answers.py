"""What a coordinator of a cluster asks of a root's store."""

from __future__ import annotations

import math
import os
from typing import Final, assert_never

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.taking import register, take_in
from dftindexd.daemon.request_path import checked_path
from dftindexd.protocol.cluster_requests import (
    ClusterHoldRequest,
    ClusterHoldResult,
    ClusterIngestRequest,
    ClusterIngestResult,
    ClusterRegisterRequest,
    ClusterRegisterResult,
    ClusterRequests,
)
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.index_requests import OfTraces

__all__ = ("ClusterAnswers",)

#: A coordinator that works asks again; one that died holds traces for no longer than this.
_LONGEST_HOLD: Final = 3600.0


class ClusterAnswers:
    """Answers from the roots of *engine*."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def handle(
        self, request: ClusterRequests
    ) -> ClusterHoldResult | ClusterRegisterResult | ClusterIngestResult:
        """Answer one request.

        :raises NotWatchedError: no root covers the directory.
        """
        root = self._engine.root_of(checked_path(request.directory))
        match request:
            case ClusterHoldRequest():
                if not 0 <= request.seconds <= _LONGEST_HOLD or math.isnan(request.seconds):
                    raise InvalidArgumentError(
                        f"traces cannot be held for {request.seconds} seconds",
                        f"name 0 to {_LONGEST_HOLD:.0f}",
                    )
                await root.hold(_names(root, request), request.seconds)
                return ClusterHoldResult()
            case ClusterRegisterRequest():
                return ClusterRegisterResult(
                    file_ids=tuple(await register(root, _names(root, request)))
                )
            case ClusterIngestRequest():
                taken = await take_in(root, os.fsdecode(checked_path(request.delivery)))
                return ClusterIngestResult(
                    taken=taken.batches, incomplete=tuple(taken.incomplete.items())
                )
            case _:
                assert_never(request)


def _names(root: Root, request: OfTraces) -> tuple[bytes, ...]:
    """Return the traces of a request relative to the root.

    :raises InvalidArgumentError: one does not lie below its directory.
    """
    if request.names is None:
        raise InvalidArgumentError("no traces are named", "name them")
    below = root.relative(request.directory)
    for name in request.names:
        if os.path.isabs(name) or os.path.normpath(name) != name or b".." in name.split(b"/"):
            raise InvalidArgumentError(
                f"{os.fsdecode(name)!r} does not lie below its directory", "name traces below it"
            )
    return tuple(os.path.join(below, name) for name in request.names)
