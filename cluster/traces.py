"""Which traces a distributed build is of."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dftindexd.cluster.store import root_of
from dftindexd.index.errors import CoreError
from dftindexd.index.model import FileStamp
from dftindexd.index.scan import scan_tree, stamp_or_none
from dftindexd.index.trace_rules import TraceRules

__all__ = ("Traces", "traces_in", "traces_of")


class Traces(NamedTuple):
    """Traces by their paths relative to *root*, as they are on disk."""

    root: bytes
    stamps: Mapping[bytes, FileStamp]


def traces_in(directory: str) -> Traces:
    """Return the traces in *directory* and below it.

    :raises CoreError: it cannot be read.
    """
    root = os.path.realpath(os.fsencode(directory))
    scan = scan_tree(root, rules=TraceRules(follow_links=True))
    reason = scan.root_error or next(iter(scan.problems.values()), "")
    if reason:
        raise CoreError(f"{directory}: {reason}", "see whether it is there and can be read")
    return Traces(root, scan.stamps)


def traces_of(files: Sequence[str]) -> Traces:
    """Return the traces *files*.

    :raises FileNotFoundError: one is missing.
    """
    if not files:
        return Traces(b"", {})
    root = root_of(files)
    stamps: dict[bytes, FileStamp] = {}
    for path in files:
        real = os.path.realpath(os.fsencode(path))
        stamp = stamp_or_none(real)
        if stamp is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        stamps[os.path.relpath(real, root)] = stamp
    return Traces(root, stamps)
