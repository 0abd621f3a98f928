"""Views in SQL: sets of rows over a store, made just in time, and the session that asks them."""

from __future__ import annotations

from importlib.util import find_spec

# Indices as data need no more than this; what reads stores has dftindexd.index ask for the rest.
if find_spec("numpy") is None:
    raise ImportError(f"{__name__} needs numpy: install dftindexd[daemon]")
