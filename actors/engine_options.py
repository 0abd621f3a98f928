"""What whoever runs an engine may choose."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dftindexd.actors.gone_roots import GONE_SECONDS
from dftindexd.actors.open_stores import MOST_OPEN
from dftindexd.actors.parser_pool import STALL_SECONDS
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.state_dir import RootSettings

__all__ = ("EngineOptions",)


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine runs.

    ``workers`` is the number of parser processes, which give way to other processes by
    ``niceness``, ``open_stores`` how many stores stay open while nobody uses them, ``gone_seconds``
    after how long a watched root that was deleted is unwatched and its store deleted. Jobs that are
    expected to take more memory than ``memory_budget`` (bytes) together wait for each other. A
    worker that makes no progress for ``stall_seconds`` is killed. ``configured`` are the roots that
    the configuration names: they are watched for as long as it does.
    """

    state_dir: str
    owner: str
    workers: int
    niceness: int = 0
    open_stores: int = MOST_OPEN
    gone_seconds: float = GONE_SECONDS
    memory_budget: int | None = None
    stall_seconds: float = STALL_SECONDS
    root: RootOptions = RootOptions()
    configured: Mapping[bytes, RootSettings] = {}
