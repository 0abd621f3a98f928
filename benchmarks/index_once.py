"""Index a directory once and say how long it took:
``index_once.py PRODUCT TRACES INDEX_DIR TIERS``, where TIERS is ``all`` or ``two``.

Run in the environment of the product that it measures, in a new process each time. The last line
of the output is the seconds of ``ensure_indexed()``, from a store that does not exist to one with
those tiers, and the number of traces that are ready.
"""

from __future__ import annotations

import importlib
import sys
import time

MODULES = {"dftindexd": "dftindexd.compat", "dftracer-utils": "dftracer.utils"}


def main() -> None:
    """Index once."""
    product, traces, index_dir, tiers = sys.argv[1:]
    module = importlib.import_module(MODULES[product])
    begin = time.perf_counter()
    indexer = module.Indexer(traces, require_aggregation=tiers == "all", index_dir=index_dir)
    status = indexer.ensure_indexed()
    print(time.perf_counter() - begin, len(status.ready))


if __name__ == "__main__":
    main()
