"""The writer: what a reopening finds after every kind of end, orderly or not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dftindexd.index.errors import (
    CoreError,
    ForeignStoreError,
    StoreDamagedError,
    StoreLockedError,
    StoreReadOnlyError,
)
from dftindexd.index.failpoints import VARIABLE
from dftindexd.index.store.identity import IDENTITY_FILE
from dftindexd.index.store.layout import (
    AGGREGATION,
    CHUNK_STATS,
    DEFAULT,
    MANIFEST,
    SEGMENT_FAMILIES,
    completion_marker,
)
from dftindexd.index.store.registry import Commit, CommitQuarantine, CommitRemoval, Plan
from dftindexd.index.store.rocks import Batch
from dftindexd.index.store.sst import write_ssts
from dftindexd.index.store.writer import StoreWriter
from tests.index.store.commits import ROW_FAMILIES, TIERS, parsed_commit, rows_of, stamp


def open_writer(path: str) -> StoreWriter:
    return StoreWriter(path, root="/traces", owner="the test")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def writer(path: str) -> Iterator[StoreWriter]:
    writer = open_writer(path)
    yield writer
    writer.close()


def segments_with_rows(writer: StoreWriter) -> set[int]:
    return {
        int.from_bytes(key[:8], "big")
        for family in SEGMENT_FAMILIES
        for key, _ in writer.rocks.scan(family)
        if not key.startswith(b"\xff\xff")
    }


def visible_segments(writer: StoreWriter) -> set[int]:
    return {one.segment_id for record in writer.registry.traces.values() for one in record.segments}


def write_trace(writer: StoreWriter, name: bytes, base: int = 0, *, resumed: bool = False) -> Plan:
    number = writer.new_segment_id()
    return writer.write(rows_of(number), [parsed_commit(name, base, number, resumed=resumed)])


def ingest_trace(writer: StoreWriter, name: bytes, base: int = 0) -> Plan:
    number = writer.new_segment_id()
    return writer.ingest(staged(writer, number), [parsed_commit(name, base, number)])


def staged(writer: StoreWriter, *numbers: int) -> dict[str, list[str]]:
    artifacts = write_ssts(rows_of(*numbers), writer.staging, f"{numbers[0]:x}")
    return {family: [path] for family, path in artifacts.items()}


def keys_of(writer: StoreWriter, prefix: bytes) -> list[bytes]:
    return [key for key, _ in writer.rocks.scan(DEFAULT, prefix)]


def test_a_reopened_store_has_the_registry_it_was_closed_with(path: str) -> None:
    writer = open_writer(path)
    write_trace(writer, b"a")
    ingest_trace(writer, b"b")
    write_trace(writer, b"a", 1, resumed=True)
    writer.write([], [CommitRemoval(path=b"b", base_version=1, tiers=TIERS)])
    write_trace(writer, b"c")
    registry, garbage = writer.registry, writer.garbage_segments
    writer.close()
    writer = open_writer(path)
    assert writer.registry == registry
    assert writer.registry.next_file_id == 4
    assert writer.garbage_segments == garbage == 1
    writer.close()


def test_a_run_of_ids_belongs_to_whoever_asked_for_it(path: str) -> None:
    writer = open_writer(path)
    first, second, third = (writer.new_segment_id(run) for run in (3, 5, 1))
    assert (second - first, third - second) == (3, 5)
    writer.close()


def test_each_opening_is_a_new_epoch_so_that_no_segment_id_comes_twice(path: str) -> None:
    seen: set[int] = set()
    for _ in range(3):
        writer = open_writer(path)
        fresh = {writer.new_segment_id() for _ in range(5)}
        assert len(fresh) == 5
        assert not fresh & seen
        assert not seen or min(fresh) > max(seen)
        seen |= fresh
        writer.close()


def test_an_ingest_moves_its_files_and_makes_their_rows_visible(writer: StoreWriter) -> None:
    ingest_trace(writer, b"a")
    assert os.listdir(writer.staging) == []
    assert segments_with_rows(writer) == visible_segments(writer) != set()
    assert keys_of(writer, b"i") == []


def test_a_refused_commit_leaves_its_rows_as_garbage_that_is_vacuumed(writer: StoreWriter) -> None:
    write_trace(writer, b"a")
    assert write_trace(writer, b"a").refused
    assert ingest_trace(writer, b"a").refused
    assert writer.garbage_segments == 2
    assert writer.vacuum(writer.registry.generation) == 2
    assert segments_with_rows(writer) == visible_segments(writer)
    assert keys_of(writer, b"g") == []


def test_vacuum_leaves_what_the_oldest_reader_can_see(writer: StoreWriter) -> None:
    write_trace(writer, b"a")
    oldest = writer.registry.generation
    before = visible_segments(writer)
    write_trace(writer, b"a", 1)
    write_trace(writer, b"a", 2)
    assert writer.vacuum(oldest) == 0
    assert before <= segments_with_rows(writer)
    assert writer.vacuum(oldest + 1) == 1
    assert not before & segments_with_rows(writer)
    assert writer.vacuum(writer.registry.generation) == 1
    assert segments_with_rows(writer) == visible_segments(writer)


def test_garbage_is_remembered_across_a_reopening(path: str) -> None:
    writer = open_writer(path)
    write_trace(writer, b"a")
    write_trace(writer, b"a", 1)
    writer.close()
    writer = open_writer(path)
    assert writer.vacuum(writer.registry.generation) == 1
    assert segments_with_rows(writer) == visible_segments(writer)
    writer.close()


def test_an_ingest_without_its_commit_leaves_no_rows(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(path)
    ingest_trace(writer, b"a")

    def fail(batch: Batch, commits: Sequence[Commit]) -> Plan:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_commit", fail)
        with pytest.raises(KeyboardInterrupt):
            ingest_trace(writer, b"b")
    assert len(segments_with_rows(writer)) == 2
    writer.close()
    writer = open_writer(path)
    assert list(writer.registry.traces) == [b"a"]
    assert segments_with_rows(writer) == visible_segments(writer)
    assert keys_of(writer, b"i") == []
    writer.close()


KILLED = """
import sys
from dftindexd.index.store.writer import StoreWriter
from tests.index.store.test_writer import ingest_trace, open_writer, write_trace
writer = open_writer(sys.argv[1])
ingest_trace(writer, b"new")
"""


@pytest.mark.parametrize(
    ("failpoint", "there"),
    [
        ("store:ingest:announced", False),
        ("store:ingest:moved", False),
        ("store:commit:written", True),
    ],
)
def test_a_process_killed_within_an_ingest_leaves_all_of_it_or_nothing(
    path: str, failpoint: str, there: bool
) -> None:
    writer = open_writer(path)
    write_trace(writer, b"old")
    writer.close()
    environment = {**os.environ, VARIABLE: f"{failpoint}=kill"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, path], env=environment, check=False, timeout=30
    )
    assert killed.returncode == -signal.SIGKILL
    writer = open_writer(path)
    assert (b"new" in writer.registry.traces) is there
    assert b"old" in writer.registry.traces
    assert segments_with_rows(writer) == visible_segments(writer)
    assert os.listdir(writer.staging) == []
    assert keys_of(writer, b"i") == []
    writer.close()


def test_what_lies_in_staging_is_swept_at_the_opening(path: str) -> None:
    writer = open_writer(path)
    staged(writer, 5)
    writer.close()
    writer = open_writer(path)
    assert os.listdir(writer.staging) == []
    writer.close()


class _Disk:
    """Makes the n-th write of a store fail, applied to the log or not."""

    def __init__(self, writer: StoreWriter, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fail_at = 0
        self.reaches_log = False
        self._write = writer.rocks.write
        monkeypatch.setattr(writer.rocks, "write", self.write)

    def write(self, batch: Batch) -> None:
        self.fail_at -= 1
        if self.fail_at == 0:
            if self.reaches_log:
                self._write(batch)
            raise StoreReadOnlyError("no space left")
        self._write(batch)


@pytest.mark.parametrize("reaches_log", [False, True])
@pytest.mark.parametrize("fail_at", [1, 2])
def test_an_ingest_that_fails_leaves_the_store_as_it_was(
    path: str, monkeypatch: pytest.MonkeyPatch, fail_at: int, reaches_log: bool
) -> None:
    writer = open_writer(path)
    write_trace(writer, b"a")
    registry = writer.registry
    with monkeypatch.context() as patch:
        disk = _Disk(writer, patch)
        disk.fail_at, disk.reaches_log = fail_at, reaches_log
        with pytest.raises(StoreReadOnlyError):
            ingest_trace(writer, b"b")
    assert writer.registry == registry
    assert os.listdir(writer.staging) == []
    ingest_trace(writer, b"c")
    writer.vacuum(writer.registry.generation)
    assert segments_with_rows(writer) == visible_segments(writer)
    assert keys_of(writer, b"i") == keys_of(writer, b"g") == []
    registry = writer.registry
    writer.close()
    writer = open_writer(path)
    assert writer.registry == registry
    assert sorted(writer.registry.traces) == [b"a", b"c"]
    writer.close()


@pytest.mark.parametrize("reaches_log", [False, True])
def test_a_failed_write_that_reached_the_log_is_undone_by_the_next(
    path: str, monkeypatch: pytest.MonkeyPatch, reaches_log: bool
) -> None:
    writer = open_writer(path)
    for name in (b"a", b"b"):
        write_trace(writer, name)
    with monkeypatch.context() as patch:
        disk = _Disk(writer, patch)
        disk.fail_at, disk.reaches_log = 1, reaches_log
        number = writer.new_segment_id()
        commits: list[Commit] = [
            CommitRemoval(path=b"a", base_version=1, tiers=TIERS),
            parsed_commit(b"b", 1, number),
            parsed_commit(b"c", 0, number + 1),
            parsed_commit(b"d", 0, number + 2),
        ]
        with pytest.raises(StoreReadOnlyError):
            writer.write(rows_of(number, number + 1, number + 2), commits)
    write_trace(writer, b"e")
    registry = writer.registry
    assert sorted(registry.traces) == [b"a", b"b", b"e"]
    writer.vacuum(registry.generation)
    writer.close()
    writer = open_writer(path)
    assert writer.registry == registry
    assert writer.garbage_segments == 0
    assert segments_with_rows(writer) == visible_segments(writer)
    writer.close()


def test_a_write_that_failed_can_be_given_again(
    writer: StoreWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = writer.new_segment_id()
    rows, commits = rows_of(number), [parsed_commit(b"a", 0, number)]
    with monkeypatch.context() as patch:
        _Disk(writer, patch).fail_at = 1
        with pytest.raises(StoreReadOnlyError):
            writer.write(rows, commits)
    assert not writer.write(rows, commits).refused
    assert writer.vacuum(writer.registry.generation) == 0
    assert segments_with_rows(writer) == visible_segments(writer) == {number}


def test_an_ingest_of_a_missing_file_changes_nothing(writer: StoreWriter) -> None:
    number = writer.new_segment_id()
    missing = {MANIFEST: [os.path.join(writer.staging, "none.sst")]}
    with pytest.raises(CoreError, match=r"none\.sst") as caught:
        writer.ingest(missing, [parsed_commit(b"a", 0, number)])
    # Somebody deleted an artifact: the store itself is well.
    assert not isinstance(caught.value, StoreReadOnlyError | StoreDamagedError)
    assert not writer.registry.traces
    write_trace(writer, b"b")
    assert list(writer.registry.traces) == [b"b"]


def test_only_a_trace_that_was_read_has_a_completion_marker(writer: StoreWriter) -> None:
    write_trace(writer, b"a")
    assert writer.rocks.get(AGGREGATION, completion_marker(1, TIERS.digest())) == b""
    quarantine = CommitQuarantine(
        path=b"a", base_version=1, tiers=TIERS, stamp=stamp(), reason="kills workers"
    )
    writer.write([], [quarantine])
    assert writer.rocks.get(AGGREGATION, completion_marker(1, TIERS.digest())) is None


def test_a_foreign_directory_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_text("MANIFEST-000004")
    with pytest.raises(ForeignStoreError):
        open_writer(str(tmp_path))
    assert os.listdir(tmp_path) == ["CURRENT"]


@pytest.mark.parametrize(("number", "what"), [(99, "99, newer"), (1, "1, older")])
def test_another_format_is_refused_before_anything_is_written(
    path: str, number: int, what: str
) -> None:
    open_writer(path).close()
    Path(path, IDENTITY_FILE).write_text(f'{{"product":"dftindexd","format":{number},"root":""}}')
    before = sorted(os.listdir(path))
    with pytest.raises(ForeignStoreError, match=what):
        open_writer(path)
    assert sorted(os.listdir(path)) == before


def test_a_store_that_is_open_names_its_holder(path: str, writer: StoreWriter) -> None:
    with pytest.raises(StoreLockedError, match="the test"):
        open_writer(path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreReadOnlyError, match="file/store"):
        open_writer(str(tmp_path / "file" / "store"))


def test_a_record_that_does_not_read_back_keeps_the_store_shut_but_not_locked(path: str) -> None:
    writer = open_writer(path)
    write_trace(writer, b"a")
    batch = writer.rocks.batch()
    batch.put(DEFAULT, b"t\x00\x00\x00\x01", b"\x81")
    writer.rocks.write(batch)
    writer.close()
    for _ in range(2):
        with pytest.raises(StoreDamagedError, match="7400000001"):
            open_writer(path)


def test_a_flipped_byte_in_an_ingested_file_is_damage_and_never_a_short_answer(path: str) -> None:
    writer = open_writer(path)
    number = writer.new_segment_id()
    artifacts = write_ssts(rows_of(number, count=250), writer.staging, "s")
    writer.ingest({key: [one] for key, one in artifacts.items()}, [parsed_commit(b"a", 0, number)])
    assert len(list(writer.rocks.scan(MANIFEST))) == 250
    writer.close()
    for file in Path(path).glob("*.sst"):
        data = bytearray(file.read_bytes())
        data[100] ^= 1
        file.write_bytes(data)

    def read() -> None:
        with closing(open_writer(path)) as damaged:
            for family in (MANIFEST, CHUNK_STATS):
                assert len(list(damaged.rocks.scan(family))) == 250

    with pytest.raises(StoreDamagedError):
        read()


NAMES = st.sampled_from([b"a", b"b", b"\xff/c"])


class WriterMachine(RuleBasedStateMachine):
    """A store beside a dictionary: path to version and segments."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "store")
        self.writer = open_writer(self.path)
        self.model: dict[bytes, tuple[int, list[int]]] = {}
        self.generation = 0

    def version(self, name: bytes) -> int:
        return self.model.get(name, (0, []))[0]

    @rule(name=NAMES, by_sst=st.booleans(), extend=st.booleans(), late=st.booleans())
    def parse(self, name: bytes, by_sst: bool, extend: bool, late: bool) -> None:
        version, segments = self.model.get(name, (0, []))
        number = self.writer.new_segment_id()
        resumed = extend and version > 0
        commits = [parsed_commit(name, version + late, number, resumed=resumed)]
        if by_sst:
            done = self.writer.ingest(staged(self.writer, number), commits)
        else:
            done = self.writer.write(rows_of(number), commits)
        self.generation += 1
        assert bool(done.refused) is late
        if not late:
            self.model[name] = (version + 1, [*segments, number] if resumed else [number])

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.writer.write(
            [], [CommitRemoval(path=name, base_version=self.version(name), tiers=TIERS)]
        )
        self.generation += 1
        del self.model[name]

    @rule(lag=st.integers(0, 3))
    def vacuum(self, lag: int) -> None:
        self.writer.vacuum(self.generation - lag)
        if not lag:
            assert segments_with_rows(self.writer) == visible_segments(self.writer)

    @rule(name=NAMES, reaches_log=st.booleans(), at=st.integers(1, 2))
    def fail(self, name: bytes, reaches_log: bool, at: int) -> None:
        number = self.writer.new_segment_id()
        with pytest.MonkeyPatch.context() as patch:
            disk = _Disk(self.writer, patch)
            disk.fail_at, disk.reaches_log = at, reaches_log
            with pytest.raises(StoreReadOnlyError):
                self.writer.ingest(
                    staged(self.writer, number), [parsed_commit(name, self.version(name), number)]
                )
        # What reached the log counts if nothing else is written; here something is.
        self.writer.write([], [])
        self.generation += 1

    @rule()
    def reopen(self) -> None:
        self.writer.close()
        self.writer = open_writer(self.path)

    @invariant()
    def it_holds_what_the_dictionary_holds(self) -> None:
        registry = self.writer.registry
        assert registry.generation == self.generation
        assert {
            name: (record.version, [one.segment_id for one in record.segments])
            for name, record in registry.traces.items()
        } == self.model
        assert visible_segments(self.writer) <= segments_with_rows(self.writer)
        for _, segments in self.model.values():
            for number in segments:
                for family in ROW_FAMILIES:
                    prefix = number.to_bytes(8, "big")
                    assert len(list(self.writer.rocks.scan(family, prefix))) == 2

    def teardown(self) -> None:
        self.writer.close()
        shutil.rmtree(self.folder)


TestWriterMachine = WriterMachine.TestCase
TestWriterMachine.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)
