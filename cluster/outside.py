"""The aggregation that stays outside of a store: where its files are, and reading a share of them.

A build for many readers can leave the aggregation's SST files where the workers put them. The
store then holds all other tiers, and ``agg_manifest.json`` in its directory names the files. Each
reader takes some of them into a scratch store of its own and reads the names, and the origin of
times, from the store without its lock; so all tell times from the same origin.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import pyarrow as pa

from dftindexd.index.errors import CoreError
from dftindexd.index.model import AggregationTier, TraceRecord
from dftindexd.index.query.hash_names import DirectoryHashes, hash_tables
from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.query.selected import AnalyzerQuery, Part, analyzer_part
from dftindexd.index.query.source import origin_of
from dftindexd.index.store.identity import IDENTITY_FILE, write_file_durably
from dftindexd.index.store.layout import AGGREGATION, DEFAULT, SYSTEM_METRICS
from dftindexd.index.store.registry_rows import TRACE_PREFIX, read_record
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.tier_sets import best
from dftindexd.index.tiers.hash_tables import HashTables

__all__ = (
    "MANIFEST_FILE",
    "OutsideFiles",
    "OutsideScan",
    "add_outside",
    "link_into",
    "read_outside",
    "records_of",
    "remove_outside",
    "scan_outside",
)

#: The file in a store's directory that names what lies outside of it.
MANIFEST_FILE: Final = "agg_manifest.json"

_SEGMENT_BYTES: Final = 8

#: What the parts of an answer are read from, if not from the aggregation.
_FAMILIES: Final[Mapping[Part, str]] = {"metrics": SYSTEM_METRICS, "system": SYSTEM_METRICS}


class OutsideFiles(msgspec.Struct, frozen=True):
    """The SST files of each family that hold the aggregation *tier* of some traces."""

    tier: AggregationTier
    files: Mapping[str, tuple[str, ...]]


def read_outside(store: str) -> tuple[OutsideFiles, ...]:
    """Return what lies outside of *store*, nothing where no manifest is."""
    try:
        with open(os.path.join(store, MANIFEST_FILE), "rb") as file:
            return msgspec.json.decode(file.read(), type=tuple[OutsideFiles, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as error:
        raise CoreError(
            f"{store}/{MANIFEST_FILE} cannot be read: {error}", "build the index again"
        ) from error


def add_outside(store: str, files: Iterable[OutsideFiles]) -> None:
    """Note that *files* lie outside of *store* as well."""
    text = msgspec.json.encode((*read_outside(store), *files))
    write_file_durably(os.path.join(store, MANIFEST_FILE), text)


def remove_outside(store: str) -> None:
    """Note that nothing lies outside of *store* any more."""
    os.unlink(os.path.join(store, MANIFEST_FILE))


def link_into(folder: str, paths: Iterable[str]) -> list[str]:
    """Have the files *paths* in *folder* as well, without a copy where that is possible.

    :raises CoreError: one cannot be read.
    """
    os.makedirs(folder, exist_ok=True)
    linked = []
    for path in paths:
        target = os.path.join(folder, os.path.basename(path))
        linked.append(target)
        try:
            os.link(path, target)
        except FileExistsError:
            continue
        except FileNotFoundError as error:
            raise CoreError(f"{path} is missing", "build the index again") from error
        except OSError:  # another file system
            shutil.copyfile(path, target)
    return linked


@dataclass(frozen=True, slots=True)
class OutsideScan:
    """What a reader asks of its share. Names in *file_hashes* and *host_hashes* come first."""

    parts: Sequence[Part]
    query: AnalyzerQuery
    file_hashes: Mapping[str, str]
    host_hashes: Mapping[str, str]


def records_of(rows: RocksStore) -> list[TraceRecord]:
    """Return one record of each trace of an open store: of its set that answers."""
    sets: dict[bytes, tuple[TraceRecord, ...]] = {}
    for key, value in rows.scan(DEFAULT, TRACE_PREFIX):
        record = read_record(rows.path, key, value)
        sets[record.path] = (*sets.get(record.path, ()), record)
    found = (best(those, lambda _: True) for those in sets.values())
    return [one for one in found if one is not None and not one.quarantined]


def scan_outside(
    store: str, aggregation: Sequence[str], metrics: Sequence[str], scratch: str, scan: OutsideScan
) -> list[pa.Table]:
    """Return the tables of the rows in these SST files, which lie outside of *store*.

    *scratch* is an empty directory of the caller's.

    :raises CoreError: *store* is none, or does not know the files.
    """
    if not os.path.exists(os.path.join(store, IDENTITY_FILE)):
        raise CoreError(f"there is no store at {store}", "name the index that the files belong to")
    tier = _tier_of(store, [*aggregation, *metrics])
    held = RocksStore(store, read_only=True)
    try:
        records = records_of(held)
        hashes = hash_tables(held, records)
    finally:
        held.close()
    rows = RocksStore(scratch)
    try:
        incoming = os.path.join(scratch, "incoming")
        rows.ingest(
            {
                AGGREGATION: link_into(incoming, aggregation),
                SYSTEM_METRICS: link_into(incoming, metrics),
            }
        )
        prepared = {
            family: _prepared(rows, family, records, hashes, tier, scan)
            for family in (AGGREGATION, SYSTEM_METRICS)
        }
        return [
            analyzer_part(rows, prepared[_FAMILIES.get(part, AGGREGATION)], part, scan.query)
            for part in scan.parts
        ]
    finally:
        rows.close()


def _tier_of(store: str, paths: Sequence[str]) -> AggregationTier:
    names = {os.path.basename(path) for path in paths}
    found: dict[str, AggregationTier] = {
        os.path.basename(path): outside.tier
        for outside in read_outside(store)
        for files in outside.files.values()
        for path in files
    }
    unknown = sorted(names - found.keys())
    tiers = {found[name] for name in names if name in found}
    if unknown or len(tiers) > 1:
        what = f"does not name {unknown[0]}" if unknown else "has several kinds of aggregation"
        raise CoreError(f"{store}/{MANIFEST_FILE} {what}", "scan files of one build of this index")
    return tiers.pop() if tiers else AggregationTier()


def _prepared(
    rows: RocksStore,
    family: str,
    records: Sequence[TraceRecord],
    hashes: DirectoryHashes,
    tier: AggregationTier,
    scan: OutsideScan,
) -> PreparedRows:
    """Return what the traces of the scratch store are answered with: of each, the segments whose
    rows of *family* are there."""
    there = {int.from_bytes(key[:_SEGMENT_BYTES], "big") for key, _ in rows.scan(family)}
    kept: list[TraceRecord] = []
    own: list[HashTables] = []
    for record, tables in zip(records, hashes.own, strict=True):
        segments = tuple(one for one in record.segments if one.segment_id in there)
        if segments:
            kept.append(msgspec.structs.replace(record, segments=segments))
            own.append(tables)
    merged = hashes.merged
    names = HashTables(
        file={**merged.file, **scan.file_hashes},
        host={**merged.host, **scan.host_hashes},
        string=merged.string,
        proc=merged.proc,
    )
    known = DirectoryHashes(tuple(own), names, hashes.conflicts)
    return PreparedRows(_with_origin(kept, origin_of(records)), tier, known)


def _with_origin(records: list[TraceRecord], origin: int) -> list[TraceRecord]:
    """Return *records* with the origin of all traces: it is the least bucket of any segment."""
    if not records:
        return records
    first, *others = records
    segment, *rest = first.segments
    segments = (msgspec.structs.replace(segment, min_bucket=origin), *rest)
    return [msgspec.structs.replace(first, segments=segments), *others]
