"""What whoever watches a root may choose."""

from __future__ import annotations

import msgspec

from dftindexd.actors.file_systems import WantedBackend
from dftindexd.actors.store_handle import RETENTION_SECONDS
from dftindexd.index.model import TierConfig
from dftindexd.index.trace_rules import TraceRules

__all__ = ("RootOptions",)


class RootOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one root is indexed; times are seconds.

    ``follow``: index whatever is and comes below the root; else only what tickets ask for.
    ``recursive``: look below the directories of what is asked for, too. ``retention_seconds``: how
    long what was dropped is kept. A store becomes read-only where it takes more than
    ``store_limit_bytes``, or all in the state directory more than ``state_limit_bytes``. Everything
    is looked at every ``rescan_seconds``, or ``poll_seconds`` where no kernel tells of changes.
    """

    tiers: TierConfig = TierConfig()
    settle_seconds: float = 5.0
    retention_seconds: float = RETENTION_SECONDS
    store_limit_bytes: int | None = None
    state_limit_bytes: int | None = None
    rescan_seconds: float = 30.0
    poll_seconds: float = 5.0
    backend: WantedBackend = "auto"
    rules: TraceRules = TraceRules()
    follow: bool = True
    recursive: bool = True
