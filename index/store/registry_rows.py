"""The registry's rows in the family ``default``: their keys, their values, how they are put."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.store.layout import (
    AGGREGATION,
    DEFAULT,
    SEGMENT_FAMILIES,
    completion_marker,
    segment_bounds,
    trace_key,
)
from dftindexd.index.store.registry import Registry, decode_record, encode_record
from dftindexd.index.store.rocks import Batch

__all__ = (
    "DROPPED",
    "EPOCH",
    "GARBAGE_PREFIX",
    "GENERATION",
    "GONE_PREFIX",
    "INTENT_PREFIX",
    "KNOWN_SINCE",
    "NEXT_FILE_ID",
    "TRACE_PREFIX",
    "delete_record",
    "delete_segment",
    "put_gone",
    "put_record",
    "read_dropped",
    "read_record",
    "record_key",
)

GENERATION: Final = b"meta:generation"
NEXT_FILE_ID: Final = b"meta:next_file_id"
EPOCH: Final = b"meta:epoch"
KNOWN_SINCE: Final = b"meta:known_since"
TRACE_PREFIX: Final = b"t"
GARBAGE_PREFIX: Final = b"g"
INTENT_PREFIX: Final = b"i"
GONE_PREFIX: Final = b"x"

#: Of a dropped segment or a removed trace: the generation, and when, in seconds since 1970.
DROPPED: Final = struct.Struct(">QQ")


def read_record(
    store: str, key: bytes, value: bytes, shared: TierConfig | None = None
) -> TraceRecord:
    """Return the trace record at *key*; where its tiers equal *shared*, it has that very object,
    since hundreds of thousands would each have one of their own.

    :raises StoreDamagedError: it does not read back.
    """
    try:
        record = decode_record(value)
        if record.tiers == shared:
            msgspec.structs.force_setattr(record, "tiers", shared)
        if record.final_facts == record.facts:
            msgspec.structs.force_setattr(record, "final_facts", record.facts)
        return record
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreDamagedError(
            f"{store}: the trace record {key.hex()} does not read back: {error}",
            "rebuild the store from the traces",
        ) from error


def read_dropped(store: str, key: bytes, value: bytes) -> tuple[int, int]:
    """Return at which generation and when it was that what *key* names was dropped.

    :raises StoreDamagedError: it does not read back.
    """
    if len(value) != DROPPED.size:
        raise StoreDamagedError(
            f"{store}: the mark {key.hex()} of something dropped does not read back",
            "rebuild the store from the traces",
        )
    generation, when = DROPPED.unpack(value)
    return generation, when


def delete_segment(batch: Batch, segment: int) -> None:
    """Remove every row of *segment*."""
    begin, end = segment_bounds(segment)
    for family in SEGMENT_FAMILIES:
        batch.delete_range(family, begin, end)


def record_key(record: TraceRecord) -> bytes:
    """Return the key of *record*."""
    return trace_key(record.file_id, record.tiers.digest())


def delete_record(batch: Batch, record: TraceRecord) -> None:
    """Remove *record* and its completion marker."""
    batch.delete(DEFAULT, record_key(record))
    batch.delete(AGGREGATION, completion_marker(record.file_id, record.tiers.digest()))


def put_record(batch: Batch, record: TraceRecord) -> None:
    """Put *record*, and its completion marker unless it is quarantined."""
    batch.put(DEFAULT, record_key(record), encode_record(record))
    marker = completion_marker(record.file_id, record.tiers.digest())
    if record.quarantined:
        batch.delete(AGGREGATION, marker)
    else:
        batch.put(AGGREGATION, marker, b"")


def put_gone(batch: Batch, registry: Registry, paths: Iterable[bytes]) -> None:
    """Have the store say of *paths* what *registry* does: when they went, or nothing."""
    for path in paths:
        gone = registry.gone.get(path)
        if gone is None:
            batch.delete(DEFAULT, GONE_PREFIX + path)
        else:
            batch.put(DEFAULT, GONE_PREFIX + path, DROPPED.pack(*gone))
