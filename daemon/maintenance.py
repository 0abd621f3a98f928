"""What is done to a store as a whole, on request."""

from __future__ import annotations

import os
from typing import TypeAlias, assert_never

import anyio.to_thread

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.tables import display, trace_problems
from dftindexd.index.store.disk_use import bytes_below
from dftindexd.index.verify import Problem
from dftindexd.protocol.requests import (
    TraceProblem,
)
from dftindexd.protocol.upkeep_requests import (
    BackupRequest,
    BackupResult,
    CompactedResult,
    CompactRequest,
    RebuildRequest,
    RebuildResult,
    VerifyRequest,
    VerifyResult,
)

__all__ = ("Maintenance", "MaintenanceRequest")

MaintenanceRequest: TypeAlias = CompactRequest | VerifyRequest | RebuildRequest | BackupRequest


class Maintenance:
    """Answers the requests that look after a store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def handle(
        self, request: MaintenanceRequest
    ) -> CompactedResult | VerifyResult | RebuildResult | BackupResult:
        """Answer one request."""
        path = request_path(request.path)
        root = self._engine.root_of(path)
        match request:
            case CompactRequest():
                return await self._compact(root, request)
            case VerifyRequest():
                return await self._verify(root, path, request)
            case RebuildRequest():
                return await self._rebuild(root, path)
            case BackupRequest():
                return await self._backup(root)
            case _:
                assert_never(request)

    async def _compact(self, root: Root, request: CompactRequest) -> CompactedResult:
        before = await anyio.to_thread.run_sync(bytes_below, root.store_path)
        done = await self._engine.compact(root, now=request.now)
        return CompactedResult(
            generation=root.handle.registry.generation,
            segments_deleted=done.segments_deleted,
            segments_kept=done.segments_kept,
            bytes_before=before,
            bytes_after=await anyio.to_thread.run_sync(bytes_below, root.store_path),
        )

    async def _verify(self, root: Root, path: bytes, request: VerifyRequest) -> VerifyResult:
        done = await root.verify(path, sample=max(0, request.sample))
        return VerifyResult(
            generation=done.generation,
            traces=done.traces,
            sampled=done.sampled,
            problems=tuple(_told(root, one) for one in done.problems),
        )

    async def _rebuild(self, root: Root, path: bytes) -> RebuildResult:
        ticket = await root.leave_ticket(path, force=True)
        problems = await ticket.wait()
        return RebuildResult(
            traces=ticket.traces,
            generation=root.handle.registry.generation,
            problems=trace_problems(root, problems),
        )

    async def _backup(self, root: Root) -> BackupResult:
        copy = await root.back_up()
        return BackupResult(
            root=display(root.path), folder=copy.path, generation=copy.registry.generation
        )


def _told(root: Root, problem: Problem) -> TraceProblem:
    whose = os.path.join(root.path, problem.path) if problem.path else os.fsencode(root.store_path)
    return TraceProblem(path=display(whose), state=problem.kind, reason=problem.reason)
