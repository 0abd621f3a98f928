"""Which traces an indexer is of: those that lie in a directory, or those of a list."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dftindexd.actors.state_dir import default_state_dir, store_name
from dftindexd.compat.errors import DFTUtilsError
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import FileStamp
from dftindexd.index.scan import scan_tree, stamp_or_none
from dftindexd.index.store.identity import IDENTITY_FILE, check_root
from dftindexd.index.trace_rules import TraceRules

__all__ = ("RULES", "Selection", "select", "state_dir")

#: The caller may read what links lead to, or may not; there is no root to stay in.
RULES: Final = TraceRules(follow_links=True)

#: How the directory of a store ends.
_SUFFIX: Final = ".dftindex"


@dataclass(frozen=True, slots=True)
class Selection:
    """Traces below one root.

    ``stamps`` has each trace by its path relative to ``root``, with what is on disk now (``None``:
    nothing, or nothing that can be looked at). ``targets`` are the absolute paths that have to be
    indexed for all of them. ``given`` is the directory as the caller named it, "" for a list.
    ``store`` is the path of the store where the caller named it, else "".
    """

    root: bytes
    stamps: dict[bytes, FileStamp | None]
    targets: tuple[bytes, ...]
    given: str = ""
    store: str = ""

    def shown(self, path: bytes) -> str:
        """Return the path of a trace for the caller."""
        return os.path.join(self.given or os.fsdecode(self.root), os.fsdecode(path))

    def store_path(self, index_dir: str) -> str:
        """Return where the store lies: as named, in *index_dir*, else in the state directory.

        Where *index_dir* ends in ``.dftindex`` it is the store, and where there is a store of that
        name in it, that: so a distributed build names them.

        :raises DFTUtilsIndexerError: that is the index of another directory.
        """
        if self.store:
            return self.store
        if not index_dir:
            return os.path.join(state_dir(), "stores", store_name(self.root))
        folder = os.path.abspath(index_dir)
        named = folder if folder.endswith(_SUFFIX) else os.path.join(folder, _SUFFIX)
        if os.path.exists(os.path.join(named, IDENTITY_FILE)):
            with translated_errors():
                check_root(named, self.root)
            return named
        return folder if folder.endswith(_SUFFIX) else os.path.join(folder, store_name(self.root))


def state_dir() -> str:
    """Return the state directory of this process."""
    return os.path.abspath(default_state_dir(os.environ, os.getuid()))


def select(directory: str, files: Sequence[str]) -> Selection:
    """Return the traces in *directory* itself, not below it; without a directory, those of *files*.

    :raises DFTUtilsError: *directory* is none, or cannot be read.
    """
    return _in_directory(directory) if directory else _of_files(files)


def _in_directory(directory: str) -> Selection:
    root = os.path.realpath(os.fsencode(directory))
    if not os.path.exists(root):
        raise DFTUtilsError(f"filesystem error: Directory does not exist: {directory}")
    if not os.path.isdir(root):
        raise DFTUtilsError(f"Path is not a directory: {directory}")
    scan = scan_tree(root, recursive=False, rules=RULES)
    if reason := scan.root_error or scan.problems.get(b""):
        raise DFTUtilsError(f"filesystem error: {directory}: {reason}")
    stamps: dict[bytes, FileStamp | None] = {**dict.fromkeys(scan.problems), **scan.stamps}
    return Selection(root, stamps, (root,), directory)


def _of_files(files: Sequence[str]) -> Selection:
    paths = dict.fromkeys(os.path.realpath(os.fsencode(path)) for path in files)
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    stamps = {os.path.relpath(path, root): _stamp(path) for path in paths}
    return Selection(root, stamps, tuple(paths))


def _stamp(path: bytes) -> FileStamp | None:
    try:
        return stamp_or_none(path)
    except OSError:
        return None
