"""Taking batches into a store: what of them is new, whether it may come in, and what to commit.

Whoever has the store asks in this order: :func:`not_taken`, :func:`take_files`,
:func:`plan_taking`, then has its writer ingest. Batches may come in any order, twice, from several
attempts, or too late.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from dftindexd.index.artifacts.assembly import TOO_LATE, assemble, base_version, grouped
from dftindexd.index.artifacts.batch import BatchMetadata, Segments, SstFile, segments_of_batch
from dftindexd.index.artifacts.files import ArtifactError, take_copy, unlink_all
from dftindexd.index.errors import StoreReadOnlyError
from dftindexd.index.model import FileStamp, TierConfig, TraceRecord
from dftindexd.index.scan import stamp_or_none
from dftindexd.index.store.identity import RootError
from dftindexd.index.store.layout import SEGMENT_FAMILIES
from dftindexd.index.store.registry import (
    Commit,
    CommitParsed,
    CommitQuarantine,
    CommitRemoval,
    Registry,
)
from dftindexd.index.store.rocks import RocksStore

__all__ = (
    "Taking",
    "check_key_ranges",
    "files_of",
    "name_below",
    "not_taken",
    "plan_taking",
    "registration",
    "take_files",
)

_REGISTERED: Final = "registered for a build by a cluster, not indexed yet"
_NO_STAMP: Final = FileStamp(0, 0, 0, 0)
_SEGMENT_BYTES: Final = 8


class Taking(NamedTuple):
    """What to commit, and the traces that are not whole, each with the reason.

    ``planned`` has the path of each trace that becomes visible, by its name in the store.
    """

    commits: list[Commit]
    incomplete: dict[bytes, str]
    planned: dict[bytes, bytes]


def name_below(root: bytes, path: bytes) -> bytes:
    """Return the path of a trace relative to *root*.

    :raises RootError: it does not lie below it.
    """
    named = os.path.abspath(path)
    prefix = root.rstrip(b"/") + b"/"
    if not named.startswith(prefix):  # a link below the root keeps its name
        named = os.path.realpath(named)
    if not named.startswith(prefix):
        raise RootError(
            f"{os.fsdecode(path)} does not lie below {os.fsdecode(root)}, whose index this is",
            "name the index of its own directory",
        )
    return named[len(prefix) :]


def registration(name: bytes) -> CommitQuarantine:
    """Return what has a trace, of which the store holds nothing, listed before it is indexed."""
    return CommitQuarantine(
        path=name,
        base_version=0,
        tiers=TierConfig().normal(),
        stamp=_NO_STAMP,
        reason=_REGISTERED,
    )


def not_taken(batches: Iterable[BatchMetadata], registry: Registry) -> list[BatchMetadata]:
    """Return those of *batches* that were not committed before: their segments' ids say so."""
    visible = {
        segment.segment_id
        for sets in registry.sets.values()
        for record in sets
        for segment in record.segments
    }
    return [
        batch
        for batch in batches
        if visible.isdisjoint(s.segment_id for part in batch.parts for s in part.parsed.segments)
    ]


def files_of(
    batches: Iterable[BatchMetadata],
    files: Mapping[str, str],
    outside: frozenset[str] = frozenset(),
) -> list[str]:
    """Return which of *files* are of *batches*, and of no family *outside*."""
    return [
        files[name]
        for batch in batches
        for name, one in batch.files.items()
        if name in files and one.family not in outside
    ]


def take_files(
    batches: Iterable[BatchMetadata],
    files: Mapping[str, str],
    folder: str,
    outside: frozenset[str] = frozenset(),
) -> dict[str, tuple[str, ...]]:
    """Have the files that *batches* name, at the paths *files*, in *folder* as well, for whoever
    ingests them; return those of each family. Of families *outside* the files themselves are named.

    :raises ArtifactError: one is not there, not as it was written, or not to be trusted; *folder*
        is then as it was.
    :raises StoreReadOnlyError: *folder* cannot be written.
    """
    found: dict[str, list[str]] = {}
    taken: list[str] = []
    try:
        for name, one in (item for batch in batches for item in batch.files.items()):
            path = _path_of(name, one, files)
            if one.family not in outside:
                path = os.path.join(folder, name)
                take_copy(files[name], path, size=one.size, digest=one.digest)
                taken.append(path)
            found.setdefault(one.family, []).append(path)
    except OSError as error:
        unlink_all(taken)
        raise StoreReadOnlyError(
            f"cannot take {path} in: {error.strerror}", "check the file system of the store"
        ) from error
    except BaseException:
        unlink_all(taken)
        raise
    return {family: tuple(paths) for family, paths in found.items()}


def _path_of(name: str, one: SstFile, files: Mapping[str, str]) -> str:
    if one.family not in SEGMENT_FAMILIES or os.path.basename(name) != name:
        raise ArtifactError(
            f"a batch names the file {name!r} of {one.family}",
            "have the worker build its batch again",
        )
    if name not in files:
        raise ArtifactError(
            f"the artifact {name} of a batch is missing",
            "append every artifact that build_sst_batch returned",
        )
    return files[name]


def check_key_ranges(
    batches: Iterable[BatchMetadata], artifacts: Mapping[str, Sequence[str]], scratch: str
) -> None:
    """See that every key of the files *artifacts* is of a segment of *batches*, by a database at
    *scratch*, whose directory the caller removes.

    :raises ArtifactError: one is not, or a file cannot be read.
    """
    incoming = os.path.join(scratch, "incoming")
    rows = RocksStore(scratch)
    try:
        os.mkdir(incoming)
        linked: dict[str, list[str]] = {}
        for family, paths in artifacts.items():
            for path in paths:
                target = os.path.join(incoming, os.path.basename(path))
                os.link(path, target)
                linked.setdefault(family, []).append(target)
        rows.ingest(linked)
        known = sorted(segments_of_batch(batch) for batch in batches)
        for first, last in rows.key_ranges():
            if not _is_of_one(known, first, last):
                raise ArtifactError(
                    f"an artifact has rows from {first.hex()} to {last.hex()}, "
                    "which are none of its batch",
                    "have the worker build its batch again",
                )
    finally:
        rows.close()


def _is_of_one(known: Sequence[Segments], first: bytes, last: bytes) -> bool:
    """Return whether one of *known* has all keys from *first* to *last*."""
    begin, end = (int.from_bytes(key[:_SEGMENT_BYTES], "big") for key in (first, last))
    place = bisect_right(known, begin, key=lambda one: one.first) - 1
    return place >= 0 and end <= known[place].last


def plan_taking(
    batches: Sequence[BatchMetadata], registry: Registry, root: bytes, *, aggregated: bool = True
) -> Taking:
    """Return what makes the traces of *batches* visible in the store of *root*.

    What the store holds as it is on disk is not replaced, unless a batch is forced. Without
    *aggregated* traces get no aggregation.

    :raises RootError: a trace lies elsewhere.
    """
    taking = Taking([], {}, {})
    forced = {part.path for batch in batches if batch.forced for part in batch.parts}
    parts = [part for batch in batches for part in batch.parts]
    for (path, tiers), those in grouped(parts).items():
        name = name_below(root, path)
        if not aggregated:
            tiers = msgspec.structs.replace(tiers, aggregation=None).normal()
        sets = registry.sets.get(name, ())
        whole = assemble(those)
        if whole.parsed is None:
            taking.incomplete[path] = whole.reason
        else:
            stamp = whole.parsed.stamp
            version = base_version(sets, tiers, stamp, _on_disk(path), forced=path in forced)
            taking.commits.append(
                CommitParsed(path=name, base_version=version, tiers=tiers, parsed=whole.parsed)
            )
            if version != TOO_LATE:
                taking.planned[name] = path
                taking.commits.extend(_outdated(sets, tiers, stamp))
        taking.commits.extend(
            CommitParsed(path=name, base_version=TOO_LATE, tiers=tiers, parsed=part.parsed)
            for part in whole.unused
        )
    return taking


def _on_disk(path: bytes) -> FileStamp | None:
    """Return what the disk shows, ``None`` also where it cannot be looked at."""
    try:
        return stamp_or_none(path)
    except OSError:
        return None


def _outdated(sets: Iterable[TraceRecord], tiers: TierConfig, stamp: FileStamp) -> list[Commit]:
    """Return the removals of the other sets of a trace that do not show it as *stamp* does."""
    return [
        CommitRemoval(path=one.path, base_version=one.version, tiers=one.tiers)
        for one in sets
        if one.stamp != stamp and one.tiers != tiers
    ]
