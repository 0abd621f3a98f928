"""Run in the reference's own environment: dump what its CheckpointIndexer says of some traces.

``python dump_checkpoints.py INDEX_DIR SIZE TRACE...`` prints a JSON object: for each trace its
number of lines, its bytes of text, and for each checkpoint its places in text and file, and bits.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def described(trace: str, index: str, size: int) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Return what the reference says of *trace*."""
    utils: Any = importlib.import_module("dftracer.utils")
    indexer = utils.CheckpointIndexer(trace, index, size)
    indexer.build()
    points = [(one.uc_offset, one.c_offset, one.bits) for one in indexer.get_checkpoints()]
    return indexer.get_num_lines(), indexer.get_max_bytes(), points


def main() -> None:
    """Print what the reference says."""
    folder, size, *traces = sys.argv[1:]
    said = {
        trace: described(trace, os.path.join(folder, str(number)), int(size))
        for number, trace in enumerate(traces)
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
