"""SST artifacts: the rows of one or more segments as files that the store ingests whole.

A parser worker writes them into the store's staging folder. One file a column family; keys ascend
strictly, so the rows of several segments share a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from operator import itemgetter

import rocksdict

from dftindexd.index.model import Row
from dftindexd.index.store.rocks import classified_errors, table_options

__all__ = ("write_ssts",)


def write_ssts(rows: Iterable[Row], folder: str, stem: str) -> dict[str, str]:
    """Write *rows* to ``<folder>/<stem>.<family>.sst`` and return the path of each family.

    :raises CoreError: a file cannot be written, or two rows have one key; no file is left then.
    """
    paths: dict[str, str] = {}
    try:
        for family, group in groupby(sorted(rows, key=itemgetter(0, 1)), key=itemgetter(0)):
            paths[family] = path = os.path.join(folder, f"{stem}.{family}.sst")
            with classified_errors(path):
                writer = rocksdict.SstFileWriter(table_options())
                writer.open(path)
                for _, key, value in group:
                    writer[key] = value
                writer.finish()
    except BaseException:
        for path in paths.values():
            with suppress(FileNotFoundError):
                os.unlink(path)
        raise
    return paths
