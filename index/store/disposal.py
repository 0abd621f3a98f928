"""Deleting a store for good, so that a crash in the midst leaves nothing that looks like a store.

A store loses its name first and its files then. What a crash left is deleted by the next start.
"""

from __future__ import annotations

import os
import shutil
from typing import Final

from dftindexd.index.errors import StoreReadOnlyError
from dftindexd.index.failpoints import failpoint
from dftindexd.index.store.aside import kept_aside
from dftindexd.index.store.identity import sync_path

__all__ = ("delete_store", "finish_deletions")

_DELETED: Final = ".deleted"


def delete_store(path: str) -> None:
    """Delete the store *path*, which nobody has open, and those that were set aside for it.

    :raises StoreReadOnlyError: it cannot be deleted; what is left of it is no store any more.
    """
    try:
        for each in (path, *kept_aside(path)):
            doomed = each + _DELETED
            if os.path.isdir(doomed):
                shutil.rmtree(doomed)
            os.rename(each, doomed)
            sync_path(os.path.dirname(path))
            failpoint("store:delete:renamed")
            shutil.rmtree(doomed)
    except OSError as error:
        raise StoreReadOnlyError(
            f"{path} cannot be deleted: {error.strerror or error}",
            "the next start of the daemon tries again",
        ) from error


def finish_deletions(folder: str) -> list[str]:
    """Delete what interrupted deletions left in *folder*; return what could not be deleted."""
    left = []
    for name in os.listdir(folder):
        if not name.endswith(_DELETED):
            continue
        path = os.path.join(folder, name)
        shutil.rmtree(path, ignore_errors=True)
        if os.path.isdir(path):
            left.append(path)
    return left
