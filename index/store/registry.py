"""The registry: which traces a store holds, and how a commit changes it.

Everything here is a value or a pure function of values; the store actor writes what
:func:`plan` returns in one synced batch and only then takes the new registry as its own. A commit
that was planned on another version of a trace than the registry's is refused by name, so that a
late or repeated result cannot undo a newer one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Literal, TypeAlias

import msgspec
from rpds import HashTrieMap

from dftindexd.index.model import (
    Ending,
    FileStamp,
    ParsedTrace,
    SegmentSummary,
    Tail,
    TraceFacts,
    TraceRecord,
)

__all__ = (
    "Commit",
    "CommitParsed",
    "CommitQuarantine",
    "CommitRemoval",
    "CommitSettled",
    "Plan",
    "Registry",
    "decode_record",
    "encode_record",
    "ending_by_marks",
    "ending_by_silence",
    "plan",
    "traces_below",
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TraceRecord)


class CommitParsed(msgspec.Struct, frozen=True, kw_only=True, tag="parsed"):
    """Make what a parse found visible; *tiers* is the digest of what it built. ``parsed.rows`` is
    not looked at."""

    path: bytes
    base_version: int
    tiers: bytes
    parsed: ParsedTrace


class CommitSettled(msgspec.Struct, frozen=True, kw_only=True, tag="settled"):
    """The trace has been silent long enough to count as finished."""

    path: bytes
    base_version: int


class CommitQuarantine(msgspec.Struct, frozen=True, kw_only=True, tag="quarantine"):
    """The trace cannot be parsed; list it with its reason until it changes on disk."""

    path: bytes
    base_version: int
    tiers: bytes
    stamp: FileStamp
    reason: str


class CommitRemoval(msgspec.Struct, frozen=True, kw_only=True, tag="removal"):
    """The trace is gone from disk."""

    path: bytes
    base_version: int


Commit: TypeAlias = CommitParsed | CommitSettled | CommitQuarantine | CommitRemoval


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """All traces of a store at one generation."""

    generation: int
    next_file_id: int
    traces: HashTrieMap[bytes, TraceRecord]

    @classmethod
    def of(cls, generation: int, next_file_id: int, records: Iterable[TraceRecord]) -> Registry:
        """Return the registry that holds *records*."""
        traces: HashTrieMap[bytes, TraceRecord] = HashTrieMap(
            {record.path: record for record in records}
        )
        return cls(generation=generation, next_file_id=next_file_id, traces=traces)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of commits does: the registry after it, and what to write.

    ``changed`` has the record of every trace that changed, ``removed`` those that are gone,
    ``dropped`` the segments that are no longer visible, ``refused`` the paths whose commit came too
    late, with the reason.
    """

    registry: Registry
    changed: tuple[TraceRecord, ...]
    removed: tuple[TraceRecord, ...]
    dropped: tuple[int, ...]
    refused: tuple[tuple[bytes, str], ...]


def encode_record(record: TraceRecord) -> bytes:
    """Return the stored form of a trace record."""
    return _encoder.encode(record)


def decode_record(value: bytes) -> TraceRecord:
    """Return the trace record that *value* holds; raises ``msgspec.MsgspecError``."""
    return _decoder.decode(value)


def ending_by_marks(facts: TraceFacts, tail: Tail) -> Ending | None:
    """Return ``"end"`` where the tracer's own marks say that the trace is finished.

    The ``end`` event counts only with the last member complete, since aggregated records follow it;
    a closing ``]`` is the last line of a v0 or v1 trace (semantics, section 2).
    """
    if tail == "complete" and (facts.end_seen or facts.bracket_closed):
        return "end"
    return None


def ending_by_silence(tail: Tail) -> Ending:
    """Return how a trace ended that has not grown for long enough."""
    return "silence" if tail in ("complete", "empty") else "cut"


def plan(registry: Registry, commits: Iterable[Commit], dead: Container[int] = frozenset()) -> Plan:
    """Return what *commits* do to *registry*, each whole or refused by name.

    :param dead: segments that were dropped earlier; a commit that offers one came twice.
    """
    generation = registry.generation + 1
    next_file_id = registry.next_file_id
    traces = registry.traces
    changed: dict[bytes, TraceRecord] = {}
    removed: dict[int, TraceRecord] = {}
    dropped: set[int] = set()
    refused: list[tuple[bytes, str]] = []
    for commit in commits:
        old = traces.get(commit.path)
        reason = _refusal(old, commit)
        offered = _offered(commit)
        if reason is None and any(one in dead or one in dropped for one in offered):
            reason = "its segments were dropped before"
        if reason is not None:
            if reason != "repeated":
                refused.append((commit.path, reason))
                dropped |= offered - _segments(old)
            continue
        if isinstance(commit, CommitRemoval):
            if old is not None:
                traces = traces.remove(commit.path)
                removed[old.file_id] = old
                changed.pop(commit.path, None)
                dropped |= _segments(old)
            continue
        file_id = old.file_id if old is not None else next_file_id
        next_file_id += old is None
        new = _next_record(old, commit, file_id, generation)
        traces = traces.insert(commit.path, new)
        changed[commit.path] = new
        dropped |= _segments(old) - _segments(new)
    return Plan(
        registry=Registry(generation=generation, next_file_id=next_file_id, traces=traces),
        changed=tuple(changed.values()),
        removed=tuple(removed.values()),
        dropped=tuple(sorted(dropped)),
        refused=tuple(refused),
    )


def _segments(record: TraceRecord | None) -> set[int]:
    return {segment.segment_id for segment in record.segments} if record else set()


def _offered(commit: Commit) -> set[int]:
    if not isinstance(commit, CommitParsed):
        return set()
    return {segment.segment_id for segment in commit.parsed.segments}


def _refusal(old: TraceRecord | None, commit: Commit) -> Literal["repeated"] | str | None:
    version = old.version if old is not None else 0
    if isinstance(commit, CommitParsed):
        offered = _offered(commit)
        if version != commit.base_version and offered and offered <= _segments(old):
            return "repeated"
        if version == commit.base_version and commit.parsed.resumed and old is None:
            return "goes on from a trace that the store does not hold"
    if version != commit.base_version:
        return f"planned on version {commit.base_version} of the trace, which is at {version}"
    if isinstance(commit, CommitSettled) and old is None:
        return "no such trace"
    return None


def _next_record(
    old: TraceRecord | None,
    commit: CommitParsed | CommitSettled | CommitQuarantine,
    file_id: int,
    generation: int,
) -> TraceRecord:
    version = old.version + 1 if old is not None else 1
    if isinstance(commit, CommitQuarantine):
        return TraceRecord(
            file_id=file_id,
            path=commit.path,
            version=version,
            generation=generation,
            stamp=commit.stamp,
            tiers=commit.tiers,
            quarantined=commit.reason,
        )
    if isinstance(commit, CommitSettled):
        if old is None:
            raise AssertionError("refused before")
        return msgspec.structs.replace(
            old, version=version, generation=generation, ending=ending_by_silence(old.tail)
        )
    parsed = commit.parsed
    kept: tuple[SegmentSummary, ...] = ()
    if parsed.resumed and old is not None:
        kept = tuple(segment for segment in old.segments if not segment.provisional)
    return TraceRecord(
        file_id=file_id,
        path=commit.path,
        version=version,
        generation=generation,
        stamp=parsed.stamp,
        tiers=commit.tiers,
        segments=kept + parsed.segments,
        resume=parsed.resume,
        facts=parsed.facts,
        final_facts=parsed.final_facts,
        tail=parsed.tail,
        ending=ending_by_marks(parsed.final_facts, parsed.tail),
        reason=parsed.reason,
    )


def traces_below(
    traces: HashTrieMap[bytes, TraceRecord], path: bytes, *, recursive: bool = True
) -> list[TraceRecord]:
    """Return the records of the traces at or below *path* (relative to the root; ``b""`` is it)."""
    prefix = path + b"/" if path else b""
    return [
        record
        for name, record in traces.items()
        if name == path
        or (name.startswith(prefix) and (recursive or b"/" not in name[len(prefix) :]))
    ]
