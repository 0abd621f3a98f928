"""The small actor framework, and one module for each actor of the daemon.

The framework is ``exit_status``, ``errors``, ``mailbox``, ``actor`` and ``supervisor``; it knows
nothing of indexing. An actor owns its state alone and is spoken to through its mailbox only. All of
it lives on one event loop: nothing here may be called from another thread.
"""

from __future__ import annotations

import dftindexd.index  # noqa: F401 - says first what is not installed
