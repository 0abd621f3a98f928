"""Where the index of some traces is: with a daemon that serves their directory, else in a store of
this process's own.

A daemon serves it if one answers, a root of its covers the directory, and it keeps all that is
required up to date. It is asked anew each time, so that it may come and go. Where an ``index_dir``
is named, the store lies there, and a daemon answers only if that is its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from dftindexd.compat.config import IndexStatus
from dftindexd.compat.selection import Selection
from dftindexd.compat.status import status_of
from dftindexd.index.model import TierConfig
from dftindexd.index.store.identity import IDENTITY_FILE
from dftindexd.index.tier_sets import Sets
from dftindexd.protocol.paths import socket_candidates

if TYPE_CHECKING:
    from dftindexd.compat.reading import OpenIndex
    from dftindexd.compat.served import ServedIndex

__all__ = ("Built", "build_index", "index_path", "read_index", "resolve")


class Built(NamedTuple):
    """A store after a build, and what it holds."""

    path: str
    sets: Mapping[bytes, Sets]


@contextmanager
def _daemon(
    selection: Selection, index_dir: str, tiers: TierConfig
) -> Iterator[ServedIndex | None]:
    """Connect to the daemon that serves the traces, ``None`` where none does."""
    store = selection.store_path(index_dir) if index_dir else ""
    if (store and not os.path.exists(os.path.join(store, IDENTITY_FILE))) or not any(
        map(os.path.exists, socket_candidates(os.environ, os.getuid()))
    ):
        yield None
        return
    from dftindexd.compat.served import served_index

    with served_index(selection, tiers) as served:
        is_meant = served is None or not store or os.path.samefile(served.path, store)
        yield served if is_meant else None


@contextmanager
def read_index(
    selection: Selection, index_dir: str, tiers: TierConfig
) -> Iterator[OpenIndex | None]:
    """Open the index for as long as the context lasts; ``None`` if there is none yet.

    :raises DFTUtilsIndexerError: somebody else has the store open, or it is damaged.
    """
    with _daemon(selection, index_dir, tiers) as served:
        if served is not None:
            yield served.index()
            return
        store_path = selection.store_path(index_dir)
        if not os.path.exists(store_path):
            yield None
            return
        from dftindexd.compat.reading import open_index

        with open_index(selection, store_path) as index:
            yield index


def resolve(selection: Selection, index_dir: str, tiers: TierConfig) -> IndexStatus:
    """Return the status by what the index holds now."""
    with read_index(selection, index_dir, tiers) as index:
        if index is None:
            return status_of(selection, selection.store_path(index_dir), {}, tiers)
        return status_of(selection, index.path, index.sets, tiers)


def index_path(selection: Selection, index_dir: str, tiers: TierConfig) -> str:
    """Return the store: the daemon's, or that of this process."""
    with _daemon(selection, index_dir, tiers) as served:
        return served.path if served is not None else selection.store_path(index_dir)


def build_index(
    selection: Selection, index_dir: str, tiers: TierConfig, workers: int, *, force: bool
) -> Built:
    """Index the traces as they are on disk, and forget those that are gone.

    *workers* is the number of parser processes, 0 for one a processor; a daemon has its own.

    :raises DFTUtilsIndexerError: the store or the state directory cannot be used.
    """
    with _daemon(selection, index_dir, tiers) as served:
        if served is not None:
            return Built(served.path, served.build(force=force))
    from dftindexd.compat.building import Build, run_build

    sets = run_build(Build(selection, index_dir, tiers, workers, force))
    return Built(selection.store_path(index_dir), sets)
