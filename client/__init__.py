"""The client of the daemon: ask it from Python, blocking or not.

``connect()`` returns a blocking :class:`Client`, which many threads may share and which works
inside a running event loop; :class:`AsyncClient` is for programs on asyncio or anyio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dftindexd.client.async_client import AnswerStream, AsyncClient
    from dftindexd.client.results import Answer, Backup
    from dftindexd.client.sync_client import Client, connect

__all__ = ("Answer", "AnswerStream", "AsyncClient", "Backup", "Client", "connect")

#: Imported at first use: to import any module of the package imports this one, and few need all.
_MODULES = {
    "Answer": "results",
    "AnswerStream": "async_client",
    "AsyncClient": "async_client",
    "Backup": "results",
    "Client": "sync_client",
    "connect": "sync_client",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
