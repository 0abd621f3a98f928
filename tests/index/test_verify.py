"""Verifying one store: each kind of problem is found, named by its trace, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from dftindexd.index.model import AggregationTier, LineCounts, ParseRequest, TierConfig, TraceRecord
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import (
    AGGREGATION,
    CHECKPOINTS,
    CHUNK_STATS,
    DEFAULT,
    FILE_BLOOM,
    MANIFEST,
    SEGMENT_FAMILIES,
    completion_marker,
    segment_key,
)
from dftindexd.index.store.registry import CommitParsed, CommitQuarantine
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import StoreWriter
from dftindexd.index.tiers.event_order import ORDER_SUFFIX
from dftindexd.index.verify import (
    Problem,
    compare_parse,
    verify_files,
    verify_registry,
    verify_trace,
)
from tests.end_to_end.made_traces import event_lines, write_trace

#: Tiers with every family of rows, in several chunks.
FULL = TierConfig(
    chunk_bytes=1 << 12,
    aggregation=AggregationTier(percentiles=True, group_keys=("epoch",)),
    arguments=("ret",),
)
_EVENTS = 200


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[StoreWriter]:
    with closing(StoreWriter(str(tmp_path / "store"), root="/t", owner="the test")) as writer:
        yield writer


def index(
    writer: StoreWriter,
    path: Path,
    tiers: TierConfig = FULL,
    base: int = 0,
    *,
    root: Path | None = None,
) -> TraceRecord:
    request = ParseRequest(
        path=os.fsencode(path),
        segment_id=writer.new_segment_id(),
        provisional_id=writer.new_segment_id(),
        tiers=tiers,
    )
    parsed = parse_trace(request, use_kernel=False)
    name = os.fsencode(path.relative_to(root or path.parent))
    commit = CommitParsed(path=name, base_version=base, tiers=tiers, parsed=parsed)
    (record,) = writer.write(parsed.rows, [commit]).changed
    return record


@pytest.fixture
def record(writer: StoreWriter, tmp_path: Path) -> TraceRecord:
    write_trace(tmp_path / "a.pfw", _EVENTS)
    return index(writer, tmp_path / "a.pfw")


def problems(writer: StoreWriter, record: TraceRecord) -> list[Problem]:
    root = os.path.dirname(os.fsencode(writer.path))
    return verify_trace(writer.rocks, root, writer.registry.sets[record.path])


@pytest.mark.parametrize("kind", ["pfw", "pfw.gz"])
@pytest.mark.parametrize(
    "tiers",
    [
        TierConfig(),
        FULL,
        TierConfig(checkpoints=False, bloom=False, manifest=False),
        TierConfig(bloom=False, manifest=False, aggregation=None),
        TierConfig(bloom=False, aggregation=None),
        TierConfig(checkpoints=False, bloom=False, manifest=False, aggregation=None),
    ],
)
def test_a_sound_trace_of_any_tiers_has_no_problem(
    writer: StoreWriter, tmp_path: Path, tiers: TierConfig, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    write_trace(path, _EVENTS)
    assert problems(writer, index(writer, path, tiers.normal())) == []


@pytest.mark.parametrize(
    "text", [b"", b"[\n", b"[\nnot json\n", event_lines(3)[:-5], b"\n\n[\n]\n"]
)
def test_odd_traces_have_no_problem(writer: StoreWriter, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.pfw").write_bytes(text)
    assert problems(writer, index(writer, tmp_path / "a.pfw")) == []


def test_shared_traces_have_no_problem(writer: StoreWriter, shared_traces: Path) -> None:
    traces = sorted(shared_traces.rglob("*.pfw*"), key=lambda path: path.stat().st_size)[:20]
    assert traces
    for path in traces:
        record = index(writer, path, root=shared_traces)
        sets = writer.registry.sets[record.path]
        assert verify_trace(writer.rocks, os.fsencode(shared_traces), sets) == []


def test_every_row_that_is_missing_is_found(writer: StoreWriter, record: TraceRecord) -> None:
    (segment,) = record.segments
    rows = [
        (family, key, value)
        for family in SEGMENT_FAMILIES
        for key, value in writer.rocks.scan(family, segment_key(segment.segment_id))
    ]
    assert {family for family, _, _ in rows} >= {FILE_BLOOM, AGGREGATION, CHECKPOINTS}
    for family, key, value in rows:
        gone, back = writer.rocks.batch(), writer.rocks.batch()
        gone.delete(family, key)
        back.put(family, key, value)
        writer.rocks.write(gone)
        (problem, *more) = problems(writer, record)
        assert (problem.kind, problem.path) == ("missing", b"a.pfw")
        assert problem.segments == {segment.segment_id}
        assert family in problem.reason
        # Sketches cannot be read without the rows that they are of.
        assert all(one.kind == "unreadable" for one in more)
        writer.rocks.write(back)
    assert problems(writer, record) == []


def test_every_row_that_does_not_decode_is_found(writer: StoreWriter, record: TraceRecord) -> None:
    prefix = segment_key(record.segments[0].segment_id)
    for family in SEGMENT_FAMILIES:
        for key, value in list(writer.rocks.scan(family, prefix)):
            for damaged in (b"", value[:-1], b"\xc1" + value[1:]):
                _put(writer, family, key, damaged)
                kinds = [one.kind for one in problems(writer, record)]
                assert kinds, (family, damaged[:20])
                assert set(kinds) <= {"unreadable", "wrong"}
            _put(writer, family, key, value)


def _put(writer: StoreWriter, family: str, key: bytes, value: bytes) -> None:
    batch = writer.rocks.batch()
    batch.put(family, key, value)
    writer.rocks.write(batch)


def test_rows_of_another_segment_contradict_the_record(
    writer: StoreWriter, record: TraceRecord, tmp_path: Path
) -> None:
    write_trace(tmp_path / "b.pfw", 3)
    other = index(writer, tmp_path / "b.pfw")
    for family in (CHECKPOINTS, CHUNK_STATS):
        key = segment_key(record.segments[0].segment_id)
        value = writer.rocks.get(family, key)
        small = writer.rocks.get(family, segment_key(other.segments[0].segment_id))
        assert value is not None
        assert small is not None
        _put(writer, family, key, small)
        (problem,) = problems(writer, record)
        assert problem.kind == "wrong"
        assert "chunks" in problem.reason
        _put(writer, family, key, value)


def test_an_order_of_other_events_contradicts_the_manifest(
    writer: StoreWriter, tmp_path: Path
) -> None:
    write_trace(tmp_path / "a.pfw", 5)
    write_trace(tmp_path / "b.pfw", 6)
    tiers = replace(FULL, chunk_bytes=32 << 20)
    record, other = (index(writer, tmp_path / name, tiers) for name in ("a.pfw", "b.pfw"))
    assert [len(one.segments) for one in (record, other)] == [1, 1]
    value = writer.rocks.get(MANIFEST, segment_key(other.segments[0].segment_id, ORDER_SUFFIX))
    assert value is not None
    _put(writer, MANIFEST, segment_key(record.segments[0].segment_id, ORDER_SUFFIX), value)
    (problem,) = problems(writer, record)
    assert problem.kind == "wrong"
    assert problem.reason == "manifest: other records in order than by kind"


def test_a_missing_completion_marker_is_found(writer: StoreWriter, record: TraceRecord) -> None:
    batch = writer.rocks.batch()
    batch.delete(AGGREGATION, completion_marker(record.file_id, record.tiers.digest()))
    writer.rocks.write(batch)
    (problem,) = problems(writer, record)
    assert (problem.kind, problem.reason) == ("missing", "the completion marker is missing")


def test_a_quarantined_trace_has_no_rows_to_miss(writer: StoreWriter, record: TraceRecord) -> None:
    writer.write(
        (),
        [
            CommitQuarantine(
                path=b"a.pfw", base_version=1, tiers=FULL, stamp=record.stamp, reason="by a test"
            )
        ],
    )
    assert problems(writer, record) == []


def test_a_file_of_another_text_with_the_same_stamp_is_found(
    writer: StoreWriter, record: TraceRecord, tmp_path: Path
) -> None:
    assert record.resume is not None
    root = os.fsencode(tmp_path)
    other = replace(record, resume=replace(record.resume, head=b"\0" * 16))
    (problem,) = verify_trace(writer.rocks, root, (other,))
    assert (problem.kind, problem.path) == ("replaced", b"a.pfw")
    # One that changed and one that is gone is the business of whoever watches the disk.
    write_trace(tmp_path / "a.pfw", 1, append=True)
    assert verify_trace(writer.rocks, root, (other,)) == []
    (tmp_path / "a.pfw").unlink()
    assert verify_trace(writer.rocks, root, (other,)) == []


def test_what_parsing_again_gives_otherwise_is_named(record: TraceRecord, tmp_path: Path) -> None:
    request = ParseRequest(
        path=os.fsencode(tmp_path / "a.pfw"), segment_id=1, provisional_id=2, tiers=FULL
    )
    parsed = parse_trace(request, use_kernel=False)
    assert compare_parse(record, parsed) == []
    (segment,) = record.segments
    lines = LineCounts(total=segment.lines.total, ok=segment.lines.ok - 1, bad=1)
    other = replace(record, segments=(replace(segment, lines=lines),))
    (problem,) = compare_parse(other, parsed)
    assert problem.kind == "differs"
    assert f"readable {_EVENTS - 1} instead of {_EVENTS}, bad 1 instead of 0" in problem.reason
    changed = replace(record.stamp, ino=record.stamp.ino + 1)
    assert compare_parse(replace(other, stamp=changed), parsed) == []


def test_a_registry_that_is_not_as_it_was_committed_is_damage_of_the_store(
    writer: StoreWriter, record: TraceRecord
) -> None:
    assert verify_registry(writer.rocks, writer.registry) == []
    ((key, value),) = list(writer.rocks.scan(DEFAULT, b"t"))
    for damaged, reason in ((b"\xc1", "does not read back"), (None, "not as it was committed")):
        batch = writer.rocks.batch()
        if damaged is None:
            batch.delete(DEFAULT, key)
        else:
            batch.put(DEFAULT, key, damaged)
        writer.rocks.write(batch)
        (problem,) = verify_registry(writer.rocks, writer.registry)
        assert (problem.kind, problem.path) == ("store", b"")
        assert reason in problem.reason
    _put(writer, DEFAULT, key, value)
    assert verify_registry(writer.rocks, writer.registry) == []


@pytest.mark.parametrize("text", [b"", b"MANIFEST-000099\n", b"MANIFEST-000005", b"\xff"])
def test_a_current_file_that_names_no_manifest_is_damage_of_the_store(
    writer: StoreWriter, text: bytes
) -> None:
    assert verify_files(writer.path) == []
    current = Path(writer.path, "CURRENT")
    sound = current.read_bytes()
    current.write_bytes(text)
    (problem,) = verify_files(writer.path)
    assert problem.kind == "store"
    current.unlink()
    assert "cannot be read" in verify_files(writer.path)[0].reason
    current.write_bytes(sound)


def test_a_copy_can_be_verified_while_commits_go_on(
    writer: StoreWriter, record: TraceRecord, tmp_path: Path
) -> None:
    registry, copy = writer.registry, writer.copy("verify")
    write_trace(tmp_path / "a.pfw", _EVENTS + 1)
    index(writer, tmp_path / "a.pfw", base=1)
    writer.vacuum(writer.registry.generation)
    with closing(RocksStore(copy, read_only=True)) as rows:
        assert verify_registry(rows, registry) == []
        assert verify_trace(rows, os.fsencode(tmp_path), registry.sets[record.path]) == []
