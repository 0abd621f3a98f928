"""The index of some traces as a daemon serves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import pyarrow as pa

from dftindexd.client.presence import daemon_if_any
from dftindexd.client.results import Answer
from dftindexd.client.sync_client import Client
from dftindexd.cluster.served_sets import served_sets
from dftindexd.compat.reading import OpenIndex, Wanted
from dftindexd.compat.selection import Selection
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import AggregationTier, TierConfig
from dftindexd.index.query.event_plan import TracePlan
from dftindexd.index.query.hash_names import HashKind
from dftindexd.index.query.rows import Kind
from dftindexd.index.query.selected import AnalyzerQuery, Part
from dftindexd.index.query.trace_statistics import TraceStatistics
from dftindexd.index.tier_sets import Sets, parts
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.protocol.errors import NotFoundError, VersionMismatchError
from dftindexd.protocol.index_requests import (
    IndexBuildRequest,
    IndexChunksRequest,
    IndexHead,
    IndexNamesRequest,
    IndexPidsRequest,
    IndexPlansRequest,
    IndexRowsRequest,
    IndexSetsRequest,
    IndexStatisticsRequest,
)
from dftindexd.protocol.message import Request

__all__ = ("ServedIndex", "served_index")


class ServedIndex:
    """The traces of *selection* in the store of a daemon; ``path`` is the store."""

    def __init__(self, client: Client, selection: Selection) -> None:
        self._client = client
        self._selection = selection
        # A directory is asked for by its own name: there may be very many traces in it.
        whole = selection.targets == (selection.root,)
        self._names = None if whole else tuple(sorted(selection.stamps))
        answer = self._fetch(IndexSetsRequest(directory=selection.root, names=self._names))
        head = cast("IndexHead", answer.head)
        self.path = head.store
        self.tiers = msgspec.json.decode(head.tiers, type=TierConfig)
        self._sets = served_sets(answer)

    def _fetch(self, request: Request[Any]) -> Answer:
        return self._client.fetch(request, timeout=None)

    def index(self) -> OpenIndex:
        """Return the index, to be read as long as the connection lasts."""
        return OpenIndex(self._selection, self.path, self._sets, self)

    def build(self, *, force: bool) -> dict[bytes, Sets]:
        """Have the traces indexed as they are on disk now, and return what there is then."""
        selection, names = self._selection, self._names
        if force and names is None:
            # What lies below the directory is not ours to parse anew.
            names = tuple(sorted(selection.stamps))
        request = IndexBuildRequest(directory=selection.root, names=names, force=force)
        self._client.request(request, timeout=None)
        answer = self._fetch(IndexSetsRequest(directory=selection.root, names=self._names))
        self._sets = served_sets(answer)
        return self._sets

    def _of(self, sets: Mapping[bytes, Sets]) -> dict[str, Any]:
        """Return what names the traces of *sets* in a request."""
        gone = self._names is None and self._sets.keys() - sets.keys()
        return {
            "directory": self._selection.root,
            "names": tuple(sets) if gone or self._names is not None else None,
        }

    def names(self, sets: Mapping[bytes, Sets], kind: HashKind) -> dict[str, str]:
        """See :class:`dftindexd.compat.reading.IndexRows`."""
        rows = self._fetch(IndexNamesRequest(**self._of(sets), kind=kind)).to_pylist()
        return {row["hash"]: row["name"] for row in rows}

    def pids(self, sets: Mapping[bytes, Sets]) -> dict[bytes, set[int]]:
        """See :class:`dftindexd.compat.reading.IndexRows`."""
        rows = self._fetch(IndexPidsRequest(**self._of(sets))).to_pylist()
        return {row["name"]: set(row["pids"]) for row in rows if row["name"] in sets}

    def chunks(self, path: bytes, sets: Sets, chunk_bytes: int) -> list[Checkpoint]:
        """See :class:`dftindexd.compat.reading.IndexRows`; without the text before a chunk."""
        directory, names = self._selection.root, (path,)
        request = IndexChunksRequest(directory=directory, names=names, chunk_bytes=chunk_bytes)
        return [Checkpoint(**row) for row in self._fetch(request).to_pylist()]

    def stored(
        self, sets: Mapping[bytes, Sets], tier: AggregationTier, kinds: Sequence[Kind]
    ) -> list[pa.Table]:
        """See :class:`dftindexd.compat.reading.IndexRows`."""
        text = msgspec.json.encode(tier).decode()
        request = IndexRowsRequest(**self._of(sets), tier=text, parts=tuple(kinds), stored=True)
        return list(self._fetch(request).tables)

    def analyzer(
        self,
        sets: Mapping[bytes, Sets],
        tier: AggregationTier,
        parts: Sequence[Part],
        query: AnalyzerQuery,
    ) -> list[pa.Table]:
        """See :class:`dftindexd.compat.reading.IndexRows`."""
        request = IndexRowsRequest(
            **self._of(sets),
            tier=msgspec.json.encode(tier).decode(),
            parts=tuple(parts),
            query=query.query,
            group_by=None if query.group_by is None else tuple(query.group_by),
            time_granularity=query.time_granularity,
            time_resolution=query.time_resolution,
            io_cat_table=query.io_cat_table,
        )
        return list(self._fetch(request).tables)

    def plans(self, sets: Mapping[bytes, Sets], wanted: Wanted) -> dict[bytes, TracePlan]:
        """See :class:`dftindexd.compat.reading.IndexRows`."""
        request = IndexPlansRequest(
            **self._of(sets), query=wanted.query, lines=wanted.lines, bytes=wanted.text_range
        )
        rows = self._fetch(request).to_pylist()
        return {row["name"]: msgspec.msgpack.decode(row["plan"], type=TracePlan) for row in rows}

    def statistics(self, path: bytes, sets: Sets) -> TraceStatistics | None:
        """See :class:`dftindexd.compat.reading.IndexRows`."""
        request = IndexStatisticsRequest(directory=self._selection.root, names=(path,))
        for row in self._fetch(request).to_pylist():
            return msgspec.msgpack.decode(row["statistics"], type=TraceStatistics)
        return None


@contextmanager
def served_index(selection: Selection, tiers: TierConfig) -> Iterator[ServedIndex | None]:
    """Connect to the daemon that serves the traces with all *tiers*; ``None`` where none does.

    :raises DFTUtilsIndexerError: there is one, and it cannot answer.
    """
    with translated_errors(), daemon_if_any() as client:
        try:
            served = None if client is None else ServedIndex(client, selection)
        except (NotFoundError, VersionMismatchError):
            served = None
        is_enough = served is not None and parts(tiers) <= parts(served.tiers)
        yield served if is_enough else None
