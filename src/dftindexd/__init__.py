"""dftindexd: the indexing daemon for DFTracer traces.

This package holds only the version; import what you need from its rooms:
``dftindexd.client`` to ask a daemon, ``dftindexd.compat`` for the API of dftracer-utils.
"""

from __future__ import annotations

__all__ = ("__version__",)

__version__ = "0.1.0"
