"""What the store of a root is at, in one word."""

from __future__ import annotations

from dftindexd.actors.root_state import RootState
from dftindexd.actors.store_handle import StoreHandle

__all__ = ("store_state",)


def store_state(handle: StoreHandle, state: RootState) -> str:
    """Return ``caught-up``, ``indexing``, or the trouble that the store is in."""
    if handle.read_only:
        return "read-only"
    if state.root_error:
        return "root-missing"
    if handle.rebuilding:
        return "rebuilding"
    return "caught-up" if state.idle else "indexing"
