"""The client of the daemon: ask it from Python, blocking or not.

``connect()`` returns a blocking :class:`Client`, which many threads may share and which works
inside a running event loop; :class:`AsyncClient` is for programs on asyncio or anyio.
"""

from __future__ import annotations

from dftindexd.client.async_client import AnswerStream, AsyncClient
from dftindexd.client.results import Answer, Backup
from dftindexd.client.sync_client import Client, connect

__all__ = ("Answer", "AnswerStream", "AsyncClient", "Backup", "Client", "connect")
