"""The store of a running daemon, for a coordinator: it is asked over the socket.

Artifacts are named by their paths, on a file system that the daemon sees, too. Traces that workers
read are held, so that the daemon does not read them as well; a hold is renewed while the build is
at work, and ends by itself where the coordinator died. Taking in the same batches twice changes
nothing, so a daemon that ends meanwhile is waited for and asked again.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from dftindexd.client.presence import daemon_if_any
from dftindexd.client.results import Answer
from dftindexd.client.sync_client import Client
from dftindexd.cluster.artifacts import SstArtifactRegistry
from dftindexd.cluster.coordinator import Ingested, showing
from dftindexd.cluster.served_sets import served_sets
from dftindexd.index.artifacts.batch import read_metadata, write_delivery
from dftindexd.index.artifacts.files import unlink_all
from dftindexd.index.artifacts.taking import files_of, name_below
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.model import FileStamp, TierConfig
from dftindexd.index.tier_sets import Sets, cover
from dftindexd.protocol.cluster_requests import (
    ClusterHoldRequest,
    ClusterIngestRequest,
    ClusterRegisterRequest,
)
from dftindexd.protocol.errors import (
    DaemonUnreachableError,
    DftIndexError,
    NotFoundError,
    ShuttingDownError,
    VersionMismatchError,
)
from dftindexd.protocol.index_requests import IndexHead, IndexSetsRequest
from dftindexd.protocol.paths import socket_candidates

__all__ = ("ServedStore", "may_be_served", "served_store")

T = TypeVar("T")

_log: Final = logging.getLogger("dftindexd.cluster")

#: How many bytes of names one request has: a frame has room for more.
_NAMES_BYTES: Final = 256 << 10
#: How long a hold lasts, and after how long it is renewed.
_HOLD_SECONDS: Final = 60.0
_RENEW_SECONDS: Final = 20.0
#: How long a daemon that went away is waited for, and how often it is looked for.
_PATIENCE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2


class ServedStore:
    """The store *path* of a daemon, as far as traces below *directory* are concerned."""

    def __init__(self, client: Client, directory: bytes, path: str) -> None:
        self._client = client
        self._directory = directory
        self.path = path

    def lacking(self, stamps: Mapping[bytes, FileStamp], tiers: TierConfig) -> list[bytes]:
        """See :class:`~dftindexd.cluster.coordinator.Coordinator`."""
        held: dict[bytes, Sets] = {}
        for names in _in_requests(stamps):
            request = IndexSetsRequest(directory=self._directory, names=names)
            held |= served_sets(self._client.fetch(request, timeout=None))
        return [
            path
            for path, stamp in stamps.items()
            if cover(showing(held.get(path, ()), stamp), tiers).missing is not None
        ]

    def forget_gone(self, on_disk: Mapping[bytes, FileStamp]) -> None:
        """Do nothing: the daemon sees to it."""

    @contextmanager
    def held(self, names: Iterable[bytes]) -> Iterator[None]:
        """See :class:`~dftindexd.cluster.coordinator.Coordinator`."""
        parts = list(_in_requests(names))
        self._hold(parts, _HOLD_SECONDS)
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(_RENEW_SECONDS):
                try:
                    self._hold(parts, _HOLD_SECONDS)
                except DftIndexError as error:
                    _log.warning("the daemon may read traces, too: %s", error)

        renewing = threading.Thread(target=renew, name="dftindexd-hold", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            try:
                self._hold(parts, 0.0)
            except DftIndexError as error:  # it ends by itself
                _log.warning("traces are held for up to %.0f s: %s", _HOLD_SECONDS, error)

    def _hold(self, parts: Sequence[tuple[bytes, ...]], seconds: float) -> None:
        for names in parts:
            request = ClusterHoldRequest(directory=self._directory, names=names, seconds=seconds)
            self._client.request(request)

    def register(self, paths: list[str]) -> list[int]:
        """Return the file id of each of *paths*, a new one for each that has none. They are held
        for a while, for whoever registered them to have them read."""
        names = [name_below(self._directory, os.fsencode(path)) for path in paths]
        parts = list(_in_requests(names))
        self._hold(parts, _HOLD_SECONDS)
        ids: dict[bytes, int] = {}
        for some in parts:
            request = ClusterRegisterRequest(directory=self._directory, names=some)
            ids |= zip(some, self._client.request(request).file_ids, strict=True)
        return [ids[name] for name in names]

    def ingest(
        self, registry: SstArtifactRegistry, outside: frozenset[str] = frozenset()
    ) -> Ingested:
        """See :class:`~dftindexd.cluster.coordinator.Coordinator`.

        :raises CoreError: something is to stay outside.
        """
        if outside:
            raise CoreError(
                f"a daemon serves {self.path} and keeps all tiers up to date",
                "leave skip_cfs out, or name another index path",
            )
        delivery = registry.delivery()
        if not delivery.batches:
            return Ingested(0, {})
        folder = os.path.dirname(delivery.batches[0])
        path = os.path.join(folder, f"{secrets.token_hex(8)}.delivery")
        try:
            write_delivery(path, delivery)
        except OSError as error:
            raise StoreReadOnlyError(
                f"cannot write {path}: {error.strerror}", "free some space there"
            ) from error
        try:
            request = ClusterIngestRequest(directory=self._directory, delivery=os.fsencode(path))
            done = self._patiently(lambda: self._client.request(request, timeout=None))
        finally:
            unlink_all([path])
        unlink_all(files_of(map(read_metadata, delivery.batches), delivery.files))
        return Ingested(done.taken, dict(done.incomplete))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask again as long as the daemon is away, up to some time."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return ask()
            except (DaemonUnreachableError, ShuttingDownError) as error:
                if time.monotonic() > deadline:
                    raise
                _log.warning("the daemon is waited for: %s", error)
                time.sleep(_LOOK_SECONDS)

    def write_markers(self, file_ids: Iterable[int]) -> None:
        """Do nothing: the daemon writes them with each commit."""


def may_be_served() -> bool:
    """Return whether there is a socket where one of a daemon would be."""
    return any(map(os.path.exists, socket_candidates(os.environ, os.getuid())))


@contextmanager
def served_store(directory: bytes, path: str = "") -> Iterator[ServedStore | None]:
    """Connect to the daemon that serves the real path *directory*, from the store *path* if that is
    given; ``None`` where none does."""
    if not may_be_served():
        yield None
        return
    with daemon_if_any() as client:
        store = None if client is None else _store_of(client, directory)
        if (
            client is None
            or store is None
            or (path and os.path.realpath(path) != os.path.realpath(store))
        ):
            yield None
        else:
            yield ServedStore(client, directory, store)


def _store_of(client: Client, directory: bytes) -> str | None:
    """Return the store that has the traces below *directory*, ``None`` where it has none."""
    try:
        answer: Answer = client.fetch(IndexSetsRequest(directory=directory, names=()))
    except (NotFoundError, VersionMismatchError):
        return None
    return answer.head.store if isinstance(answer.head, IndexHead) else None


def _in_requests(names: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Yield *names* in so many as a request has room for."""
    some: list[bytes] = []
    size = 0
    for name in names:
        some.append(name)
        size += len(name)
        if size > _NAMES_BYTES:
            yield tuple(some)
            some, size = [], 0
    if some:
        yield tuple(some)
