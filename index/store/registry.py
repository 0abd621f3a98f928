"""The registry: which traces a store holds in which tier sets, and how a commit changes it.

Everything here is a value or a pure function of values; the store actor writes what
:func:`plan` returns in one synced batch and only then takes the new registry as its own. A commit
that was planned on another version of a set than the registry's is refused by name, so that a
late or repeated result cannot undo a newer one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from rpds import HashTrieMap

from dftindexd.index.endings import ending_by_marks, ending_by_silence
from dftindexd.index.errors import StaleGenerationError
from dftindexd.index.model import (
    Ending,
    FileStamp,
    ParsedTrace,
    SegmentSummary,
    TierConfig,
    TraceRecord,
)
from dftindexd.index.tier_sets import Sets, find_set, shown

__all__ = (
    "Changes",
    "Commit",
    "CommitParsed",
    "CommitQuarantine",
    "CommitRemoval",
    "CommitSettled",
    "Gone",
    "Plan",
    "Registry",
    "Tally",
    "changes_since",
    "decode_record",
    "encode_record",
    "plan",
    "records_below",
    "sets_below",
)

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TraceRecord)


class CommitParsed(msgspec.Struct, frozen=True, kw_only=True, tag="parsed"):
    """Make what a parse found visible as the set *tiers*. ``parsed.rows`` is not looked at."""

    path: bytes
    base_version: int
    tiers: TierConfig
    parsed: ParsedTrace


class CommitSettled(msgspec.Struct, frozen=True, kw_only=True, tag="settled"):
    """The set *tiers* of a trace that has been silent long enough to count as finished."""

    path: bytes
    base_version: int
    tiers: TierConfig


class CommitQuarantine(msgspec.Struct, frozen=True, kw_only=True, tag="quarantine"):
    """The trace cannot be parsed for this set; list it with its reason until it can."""

    path: bytes
    base_version: int
    tiers: TierConfig
    stamp: FileStamp
    reason: str


class CommitRemoval(msgspec.Struct, frozen=True, kw_only=True, tag="removal"):
    """This set of a trace is to go: the trace is gone from disk, or was replaced."""

    path: bytes
    base_version: int
    tiers: TierConfig


Commit: TypeAlias = CommitParsed | CommitSettled | CommitQuarantine | CommitRemoval


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many traces there are in which state, and what their lines hold; each counts once.
    ``silent`` and ``truncated`` are among the indexed ones, by how they ended."""

    indexed: int = 0
    silent: int = 0
    truncated: int = 0
    growing: int = 0
    quarantined: int = 0
    events: int = 0
    bad_lines: int = 0
    valid_lines: int = 0
    fast_lines: int = 0

    @classmethod
    def of(cls, records: Iterable[TraceRecord]) -> Tally:
        """Return the tally of traces of which these are shown."""
        growing = quarantined = events = bad = ok = fast = 0
        endings: Counter[Ending] = Counter()
        for record in records:
            if record.quarantined:
                quarantined += 1
            elif record.ending is None:
                growing += 1
            else:
                endings[record.ending] += 1
            events += record.complete_events
            lines = record.lines
            bad, ok, fast = bad + lines.bad, ok + lines.ok, fast + lines.fast
        return cls(
            indexed=endings.total(),
            silent=endings["silence"],
            truncated=endings["cut"],
            growing=growing,
            quarantined=quarantined,
            events=events,
            bad_lines=bad,
            valid_lines=ok,
            fast_lines=fast,
        )

    def after(self, gone: Tally, came: Tally) -> Tally:
        """Return the tally without what *gone* counts and with what *came* does."""
        return Tally(
            **{
                name: getattr(self, name) - getattr(gone, name) + getattr(came, name)
                for name in self.__struct_fields__
            }
        )


class Gone(NamedTuple):
    """At which generation a trace was removed, and when, in seconds since 1970."""

    generation: int
    when: int


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """All traces of a store at one generation.

    ``sets`` has every set of a trace; ``traces`` the one that is shown to whoever wants the tiers
    ``wanted``, and ``tally`` counts these. ``gone`` says of removed traces at which generation they
    went and when, in seconds since 1970; it has all that went after ``known_since``.
    """

    generation: int
    next_file_id: int
    wanted: TierConfig
    sets: HashTrieMap[bytes, Sets]
    traces: HashTrieMap[bytes, TraceRecord]
    tally: Tally
    gone: HashTrieMap[bytes, Gone] = HashTrieMap()
    known_since: int = 0

    @classmethod
    def of(
        cls,
        generation: int,
        next_file_id: int,
        records: Iterable[TraceRecord],
        wanted: TierConfig | None = None,
        *,
        gone: Iterable[tuple[bytes, Gone]] = (),
        known_since: int = 0,
    ) -> Registry:
        """Return the registry that holds *records*; by default the default tiers are wanted."""
        wanted = (wanted or TierConfig()).normal()
        sets: dict[bytes, Sets] = {}
        for record in records:
            sets[record.path] = (*sets.get(record.path, ()), record)
        traces = {path: shown(those, wanted) for path, those in sets.items()}
        return cls(
            generation=generation,
            next_file_id=next_file_id,
            wanted=wanted,
            sets=HashTrieMap(sets),
            traces=HashTrieMap(traces),
            tally=Tally.of(traces.values()),
            gone=HashTrieMap(gone),
            known_since=known_since,
        )

    def with_changes(
        self, generation: int, next_file_id: int, changes: Mapping[bytes, Sets], *, now: int = 0
    ) -> Registry:
        """Return the next registry: the traces of *changes* have these sets, or are gone."""
        sets, traces, gone = self.sets, self.traces, self.gone
        for path, those in changes.items():
            if those:
                sets = sets.insert(path, those)
                traces = traces.insert(path, shown(those, self.wanted))
                gone = gone.discard(path)
            elif path in sets:
                sets, traces = sets.remove(path), traces.remove(path)
                gone = gone.insert(path, Gone(generation, now))
        return Registry(
            generation=generation,
            next_file_id=next_file_id,
            wanted=self.wanted,
            sets=sets,
            traces=traces,
            tally=self.tally.after(
                Tally.of(self.traces[path] for path in changes if path in self.traces),
                Tally.of(traces[path] for path in changes if path in traces),
            ),
            gone=gone,
            known_since=self.known_since,
        )

    def forgetting(self, paths: Iterable[bytes]) -> Registry:
        """Return the registry of the same generation that no longer knows when *paths* went."""
        gone, known_since = self.gone, self.known_since
        for path in paths:
            known_since = max(known_since, gone[path].generation)
            gone = gone.remove(path)
        return msgspec.structs.replace(self, gone=gone, known_since=known_since)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of commits does: the registry after it, and what to write.

    ``changed`` has the record of every set that changed, ``removed`` those that are gone,
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


def plan(
    registry: Registry,
    commits: Iterable[Commit],
    dead: Container[int] = frozenset(),
    *,
    now: int = 0,
) -> Plan:
    """Return what *commits* do to *registry*, each whole or refused by name.

    :param dead: segments that were dropped earlier; a commit that offers one came twice.
    """
    generation = registry.generation + 1
    next_file_id = registry.next_file_id
    touched: dict[bytes, Sets] = {}
    changed: dict[tuple[bytes, TierConfig], TraceRecord] = {}
    removed: list[TraceRecord] = []
    dropped: set[int] = set()
    refused: list[tuple[bytes, str]] = []
    for commit in commits:
        path = commit.path
        sets = touched.get(path, registry.sets.get(path, ()))
        old = find_set(sets, commit.tiers)
        reason = _refusal(old, commit)
        offered = _offered(commit)
        if reason is None and any(one in dead or one in dropped for one in offered):
            reason = "its segments were dropped before"
        if reason is not None:
            if reason != "repeated":
                refused.append((path, reason))
                dropped |= offered - _segments(old)
            continue
        others = tuple(one for one in sets if one is not old)
        if isinstance(commit, CommitRemoval):
            if old is not None:
                touched[path] = others
                removed.append(old)
                changed.pop((path, commit.tiers), None)
                dropped |= _segments(old)
            continue
        file_id = sets[0].file_id if sets else next_file_id
        next_file_id += not sets
        new = _next_record(old, commit, file_id, generation)
        touched[path] = tuple(sorted((*others, new), key=_by_digest)) if others else (new,)
        changed[path, commit.tiers] = new
        dropped |= _segments(old) - _segments(new)
    return Plan(
        registry=registry.with_changes(generation, next_file_id, touched, now=now),
        changed=tuple(changed.values()),
        removed=tuple(removed),
        dropped=tuple(sorted(dropped)),
        refused=tuple(refused),
    )


def _by_digest(record: TraceRecord) -> bytes:
    return record.tiers.digest()


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
    # What is read anew as it was has ended as it had.
    same_file_ended = old.ending if old is not None and old.stamp == parsed.stamp else None
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
        ending=ending_by_marks(parsed.final_facts, parsed.tail) or same_file_ended,
        reason=parsed.reason,
    )


def changes_since(registry: Registry, since: int, below: bytes = b"") -> Changes:
    """Return what changed at or below *below* after the generation *since*.

    :raises StaleGenerationError: what was removed since then is not known any more, or it never was
        a generation of this store.
    """
    if since > registry.generation:
        raise StaleGenerationError(
            f"generation {since} is not one of this store, which is at {registry.generation}",
            "list all traces, then ask for changes since that answer",
        )
    if since < registry.known_since:
        raise StaleGenerationError(
            f"what changed since generation {since} is not known any more, "
            f"only since {registry.known_since}",
            "list all traces, then ask for changes since that answer's generation",
        )
    changed = [
        shown(sets, registry.wanted)
        for sets in sets_below(registry, below)
        if any(record.generation > since for record in sets)
    ]
    gone = _below(HashTrieMap({path: path for path in registry.gone}), below, recursive=True)
    removed = [path for path in gone if registry.gone[path].generation > since]
    return Changes(tuple(changed), tuple(removed))


class Changes(NamedTuple):
    """The shown records of traces that came or changed, and the paths of those that went."""

    changed: tuple[TraceRecord, ...]
    removed: tuple[bytes, ...]


def sets_below(registry: Registry, path: bytes, *, recursive: bool = True) -> list[Sets]:
    """Return the sets of each trace at or below *path* (relative to the root; ``b""`` is it)."""
    return _below(registry.sets, path, recursive=recursive)


def records_below(registry: Registry, path: bytes, *, recursive: bool = True) -> list[TraceRecord]:
    """Return the shown record of each trace at or below *path*, as :func:`sets_below` does."""
    return _below(registry.traces, path, recursive=recursive)


def _below(values: HashTrieMap[bytes, T], path: bytes, *, recursive: bool) -> list[T]:
    if not path and recursive:
        return list(values.values())
    prefix = path + b"/" if path else b""
    return [
        value
        for name, value in values.items()
        if name == path
        or (name.startswith(prefix) and (recursive or b"/" not in name[len(prefix) :]))
    ]
