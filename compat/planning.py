"""Which files there are and who gets which, with the names and arguments of dftracer-utils."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dftindexd.compat.errors import DFTUtilsError
from dftindexd.compat.runtime import Runtime, checked_runtime, get_default_runtime

__all__ = (
    "checked_ids",
    "checked_paths",
    "enumerate_gzip_members",
    "files_a_batch",
    "plan_lpt_partition",
    "plan_work_units",
    "scan_files",
    "threads_of",
)


def threads_of(parallelism: int, runtime: object) -> int:
    """Return how many threads build: *parallelism*, 0 for those of *runtime*, or of the default."""
    chosen = checked_runtime(runtime)
    if parallelism < 0:
        raise ValueError(f"parallelism must be at least 0, not {parallelism}")
    return parallelism or (chosen or get_default_runtime()).threads


def files_a_batch(flush_every_files: int) -> int:
    """Return after how many files artifacts are written, 0 for at the end."""
    if flush_every_files < 0:
        raise ValueError(f"flush_every_files must be at least 0, not {flush_every_files}")
    return flush_every_files


def scan_files(
    directory: str,
    patterns: list[str] | None = None,
    recursive: bool = False,
    runtime: Runtime | None = None,
) -> list[tuple[str, int]]:
    """Return path and size of each regular file in *directory* that one of *patterns* names: the
    end of its name, or a glob; without patterns of every one. Links to directories are not
    followed.

    :raises TypeError: *directory* is no path.
    :raises DFTUtilsError: *directory* is none, or cannot be read.
    """
    checked_runtime(runtime)
    if not isinstance(directory, str):
        raise TypeError(f"directory must be str, not {type(directory).__name__}")
    if not os.path.exists(directory):
        raise DFTUtilsError(f"filesystem error: Directory does not exist: {directory}")
    if not os.path.isdir(directory):
        raise DFTUtilsError(f"filesystem error: Path is not a directory: {directory}")
    try:
        return sorted(_files_in(directory, patterns or (), recursive=recursive))
    except OSError as error:
        raise DFTUtilsError(f"filesystem error: {error.filename}: {error.strerror}") from error


def _files_in(
    directory: str, patterns: Sequence[str], *, recursive: bool
) -> Iterator[tuple[str, int]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if recursive and entry.is_dir(follow_symlinks=False):
                yield from _files_in(entry.path, patterns, recursive=True)
            elif entry.is_file() and _is_named(entry.name, patterns):
                yield entry.path, entry.stat().st_size


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(
        fnmatch.fnmatchcase(name, one) if any(mark in one for mark in "*?[") else name.endswith(one)
        for one in patterns
    )


def plan_lpt_partition(
    entries: Sequence[tuple[str, int]], num_workers: int
) -> list[list[tuple[str, int]]]:
    """Deal files to *num_workers* workers: the largest first, each to whoever has least so far.

    :raises TypeError: *entries* are not pairs of a path and a size.
    """
    from dftindexd.cluster import planning

    if not isinstance(entries, Iterable):
        raise TypeError("entries must be a sequence of (path, size) tuples")
    _check_workers(num_workers)
    return planning.plan_lpt_partition([_pair(one, str) for one in entries], num_workers)


def plan_work_units(
    member_map: Sequence[Sequence[tuple[int, int]]], num_workers: int, target_c_size: int = 0
) -> list[list[tuple[int, int, int, int]]]:
    """Cut files between gzip members and deal the pieces to workers; return of each worker
    ``(file_idx, member_begin, member_end, c_size)``.

    :raises TypeError: *member_map* does not hold lists of pairs.
    """
    from dftindexd.cluster import planning

    if not isinstance(member_map, Iterable):
        raise TypeError("member_map must be a sequence")
    _check_workers(num_workers)
    members = []
    for one in member_map:
        if not isinstance(one, Iterable):
            raise TypeError("member_map[i] must be a sequence")
        members.append([_pair(member, int) for member in one])
    planned = planning.plan_work_units(members, num_workers, target_c_size)
    return [
        [(one.file_idx, one.member_begin, one.member_end, one.c_size) for one in share]
        for share in planned
    ]


def _check_workers(number: object) -> None:
    if not isinstance(number, int):
        raise TypeError(f"num_workers must be int, not {type(number).__name__}")


def _pair(value: Any, first: type) -> tuple[Any, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(pair) != 2 or not isinstance(pair[0], first) or not isinstance(pair[1], int):
        raise TypeError(f"a pair of {first.__name__} and int is required, not {value!r}")
    return pair[0], pair[1]


def enumerate_gzip_members(
    files: Sequence[str], runtime: Runtime | None = None
) -> list[list[tuple[int, int]]]:
    """Return offset and size of the gzip members of each of *files*, found by inflating them; a
    file that is no gzip, or is missing, has none.

    :raises TypeError: *files* are no paths.
    """
    from concurrent.futures import ThreadPoolExecutor

    from dftindexd.cluster.slices import gzip_members

    paths = checked_paths(files)
    with ThreadPoolExecutor(threads_of(0, runtime)) as pool:
        return list(pool.map(gzip_members, paths))


def checked_paths(files: object, name: str = "files") -> list[str]:
    """Return *files* as a list; *name* is that of the argument.

    :raises TypeError: they are no paths.
    """
    if not isinstance(files, Iterable):
        raise TypeError(f"{name} must be a sequence")
    paths = list(files)
    if not all(isinstance(path, str) for path in paths):
        raise TypeError(f"{name} items must be str")
    return paths


def checked_ids(file_ids: object) -> list[int]:
    """Return *file_ids* as a list.

    :raises TypeError: they are no numbers.
    """
    if not isinstance(file_ids, Iterable):
        raise TypeError("file_ids must be an iterable of int")
    ids = list(file_ids)
    if not all(isinstance(one, int) for one in ids):
        raise TypeError("file_ids items must be int")
    return ids
