"""The pure core: trace formats, parse kernels, tiers, store layout, reconcile, queries.

No asyncio, no sockets, no clock of its own: what time it is and what changed is told from outside.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("rocksdict") is None:
    raise ImportError(f"{__name__} needs rocksdict: install dftindexd[daemon]")
