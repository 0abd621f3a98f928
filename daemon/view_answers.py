"""What is kept of views on disk, and its deletion."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress

import anyio.to_thread
import pyarrow as pa
import pyarrow.parquet as pq

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.sql_source import VIEWS_FOLDER
from dftindexd.daemon.tables import display
from dftindexd.protocol.view_requests import (
    ViewsDropRequest,
    ViewsDropResult,
    ViewsRequest,
    ViewsResult,
    ViewStatus,
)
from dftindexd.views.block_facts import FACTS
from dftindexd.views.partition_files import KeptPartition, ViewFiles
from dftindexd.views.schema import ViewSchema
from dftindexd.views.sets import VIEW_SETS

__all__ = ("ViewAnswers",)

#: What is kept, and what is only kept for others.
_KEPT = (*VIEW_SETS.values(), FACTS)


class ViewAnswers:
    """Answers requests about what is kept of views."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def handle(
        self, request: ViewsRequest | ViewsDropRequest
    ) -> ViewsResult | ViewsDropResult:
        """Answer one request.

        :raises NotWatchedError: no root holds the path.
        """
        roots = self._roots(request.path)
        if isinstance(request, ViewsRequest):
            return await anyio.to_thread.run_sync(_views, roots)
        return await anyio.to_thread.run_sync(_drop, roots)

    def _roots(self, path: str | None) -> list[Root]:
        if path is None:
            return list(self._engine.roots.values())
        return [self._engine.root_of(request_path(path))]


def _files(root: Root) -> ViewFiles:
    return ViewFiles(os.path.join(root.store_path, VIEWS_FOLDER))


def _views(roots: list[Root]) -> ViewsResult:
    found = []
    for root in roots:
        by_set: dict[str, list[KeptPartition]] = defaultdict(list)
        for one in _files(root).kept():
            by_set[one.view_set].append(one)
        name = display(root.path)
        found += [_status(name, schema, by_set[schema.name]) for schema in _KEPT]
    return ViewsResult(views=tuple(found))


def _status(root: str, schema: ViewSchema, kept: list[KeptPartition]) -> ViewStatus:
    return ViewStatus(
        root=root,
        view=schema.name,
        version=schema.version,
        partitions=len(kept),
        stale=sum(one.schema != schema.digest for one in kept),
        rows=sum(_rows(one.path) for one in kept),
        bytes=sum(one.bytes for one in kept),
        used=max((one.used for one in kept), default=None),
    )


def _rows(path: str) -> int:
    """Return how many rows a partition has, 0 where it went meanwhile or cannot be read: a
    statement that needs it makes it anew."""
    with suppress(FileNotFoundError, pa.ArrowInvalid):
        return pq.read_metadata(path).num_rows
    return 0


def _drop(roots: list[Root]) -> ViewsDropResult:
    partitions = size = 0
    for root in roots:
        for one in _files(root).kept():
            with suppress(FileNotFoundError):
                os.unlink(one.path)
                partitions, size = partitions + 1, size + one.bytes
    return ViewsDropResult(partitions=partitions, bytes=size)
