"""Which store a coordinator works with: a daemon's where one serves it, else one that it opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dftindexd.cluster.served_store import ServedStore, served_store
from dftindexd.cluster.store import IndexStore
from dftindexd.index.store.identity import IDENTITY_FILE, read_identity

__all__ = ("open_coordinator",)


@contextmanager
def open_coordinator(
    path: str, root: bytes | None = None
) -> Iterator[IndexStore | ServedStore | None]:
    """Give the store *path* of the traces below *root*, by default its own root, for as long as the
    context lasts. Without a *path* it is that of the daemon that serves *root*, if one does.

    :raises RootError: the store is of another root.
    """
    directory = root or _root_of(path)
    if directory and (not path or _exists(path)):  # that of a daemon is there
        with served_store(directory, path) as served:
            if served is not None:
                yield served
                return
    yield IndexStore(path, root) if path else None


def _root_of(path: str) -> bytes:
    return os.fsencode(read_identity(path).root) if _exists(path) else b""


def _exists(path: str) -> bool:
    return os.path.exists(os.path.join(path, IDENTITY_FILE))
