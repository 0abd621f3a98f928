"""A byte flipped in each kind of file: the store opens, whole, or it is set aside and named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from dftindexd.index.errors import (
    CoreError,
    ForeignStoreError,
    StoreDamagedError,
    StoreLockedError,
    StoreOutdatedError,
)
from dftindexd.index.store.aside import (
    MOST_A_DAY,
    aside_name,
    kept_aside,
    reason_of,
    set_aside_within_a_day,
)
from dftindexd.index.store.identity import IDENTITY_FILE, LOCK_FILE, acquire_lock
from dftindexd.index.store.layout import COLUMN_FAMILIES, FORMAT_VERSION, MANIFEST
from dftindexd.index.store.recovery import open_or_rebuild, set_aside
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import COPIES, StoreWriter
from tests.index.store.commits import parsed_commit, rows_of

_DAY = 86_400.0
_TRACES = 20


def opened(
    path: Path, *, condemned: str = "", least_epoch: int = 1, now: float = 1e9
) -> StoreWriter:
    return open_or_rebuild(
        str(path),
        root="/traces",
        owner="the test",
        condemned=condemned,
        least_epoch=least_epoch,
        clock=lambda: now,
    )


def write(writer: StoreWriter, name: bytes, base: int = 0) -> None:
    number = writer.new_segment_id()
    writer.write(rows_of(number), [parsed_commit(name, base, number)])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with tables and, as after a kill, with a log that holds commits."""
    closed, killed = tmp_path / "closed", tmp_path / "store"
    with closing(opened(closed)) as writer:
        for number in range(_TRACES):
            write(writer, b"%d" % number)
    with closing(opened(closed)) as writer:
        for number in range(_TRACES, 2 * _TRACES):
            write(writer, b"%d" % number)
        killed.mkdir()
        for file in closed.iterdir():
            if file.is_file():
                (killed / file.name).write_bytes(file.read_bytes())
    return killed


def flip(file: Path, place: float) -> None:
    """Change a byte of a file: at *place*, from the end if that is negative, or at that share."""
    data = bytearray(file.read_bytes())
    data[int(place * len(data) if abs(place) < 1 else place)] ^= 0x55
    file.write_bytes(data)


def condemned(writer: StoreWriter) -> str:
    return writer.rocks.condemned


def read_all(store: Path) -> list[tuple[bytes, bytes]] | None:
    """Return all rows of a store, by one look-up each as well, or ``None`` if that is damaged."""
    try:
        with closing(RocksStore(str(store), read_only=True)) as rows:
            read = []
            for family in COLUMN_FAMILIES:
                scanned = list(rows.scan(family))
                found = rows.get_many(family, [key for key, _ in scanned]) if scanned else []
                assert found == [value for _, value in scanned]
                read += scanned
            return read
    except StoreDamagedError:
        return None


def largest(files: Iterable[Path]) -> Path:
    return max(files, key=lambda file: file.stat().st_size)


def registry_table(store: Path) -> Path:
    # The records are larger than the rows of these tests.
    return largest(store.glob("*.sst"))


@pytest.mark.parametrize(
    ("file", "place"),
    [
        (registry_table, 1 / 8),
        (registry_table, 0.9),
        (registry_table, -10),
        (lambda store: largest(store.glob("*.log")), 10),
        (lambda store: largest(store.glob("*.log")), 0.5),
        (lambda store: next(store.glob("MANIFEST-*")), 10),
        (lambda store: next(store.glob("MANIFEST-*")), 0.5),
        (lambda store: next(store.glob("MANIFEST-*")), -2),
        (lambda store: store / "CURRENT", 3),
        (lambda store: store / "CURRENT", -2),
        (lambda store: store / "CURRENT", -1),
    ],
)
def test_a_store_damaged_as_a_whole_is_set_aside_and_another_is_begun(
    store: Path, file: Callable[[Path], Path], place: float
) -> None:
    flip(file(store), place)
    tables = {one.name for one in store.glob("*.sst")}
    with pytest.raises(StoreDamagedError, match="store"):
        StoreWriter(str(store), root="/traces", owner="the test")
    with closing(opened(store)) as writer:
        assert not writer.registry.traces
        (aside,) = kept_aside(str(store))
        assert aside in writer.rebuilding
        assert reason_of(aside) in writer.rebuilding
        assert tables <= {one.name for one in Path(aside).iterdir()}
        write(writer, b"a")
    with closing(opened(store)) as writer:
        assert writer.rebuilding
        assert list(writer.registry.traces) == [b"a"]
        writer.note_rebuilt()
        assert not writer.rebuilding
    with closing(opened(store)) as writer:
        assert not writer.rebuilding
    assert len(kept_aside(str(store))) == 1


@pytest.mark.parametrize("name", ["IDENTITY", "OPTIONS", "rocksdict-config", "LOCK", "LOG"])
def test_what_no_answer_depends_on_may_be_damaged(store: Path, name: str) -> None:
    for file in [one for one in store.glob(f"{name}*") if one.stat().st_size]:
        flip(file, 0.5)
    with closing(opened(store)) as writer:
        assert len(writer.registry.traces) == 2 * _TRACES
        assert len(list(writer.rocks.scan(MANIFEST))) == 4 * _TRACES
    assert not kept_aside(str(store))


def test_a_flipped_byte_of_a_table_never_makes_an_answer_short(store: Path) -> None:
    opened(store).close()
    whole, found = read_all(store), 0
    for table in sorted(store.glob("*.sst")):
        sound = table.read_bytes()
        for eighth in range(8):
            flip(table, (2 * eighth + 1) / 16)
            read = read_all(store)
            assert read in (whole, None)  # a filter's byte changes no answer
            found += read is None
            table.write_bytes(sound)
    assert found


@pytest.mark.parametrize("missing", ["CURRENT", "MANIFEST", "sst"])
def test_a_missing_file_is_damage_and_no_empty_store(store: Path, missing: str) -> None:
    with closing(opened(store)):
        pass  # an orderly end leaves no log, which would tell RocksDB that there was a database
    names = [one for one in store.iterdir() if missing in one.name and one.is_file()]
    largest(names).unlink()
    with pytest.raises(StoreDamagedError):
        StoreWriter(str(store), root="/traces", owner="the test")
    with closing(opened(store)) as writer:
        assert writer.rebuilding


def test_generations_and_segments_of_a_rebuilt_store_come_after_those_before(store: Path) -> None:
    with closing(opened(store)) as writer:
        write(writer, b"a")
        generation, epoch = writer.registry.generation, writer.epoch
        segment = writer.new_segment_id()
    with closing(opened(store, condemned="by a test", least_epoch=epoch + 1)) as writer:
        assert not writer.registry.traces
        assert writer.registry.generation > generation
        assert writer.new_segment_id() > segment
        write(writer, b"a")
        again = writer.registry.generation
    with closing(opened(store)) as writer:
        assert writer.registry.generation == again


def test_a_crash_between_setting_aside_and_beginning_anew_is_still_a_rebuilding(
    store: Path,
) -> None:
    set_aside(str(store), "damaged", "by a test", "the test", 1e9)
    assert not store.exists()
    with closing(StoreWriter(str(store), root="/traces", owner="the test")) as writer:
        assert "by a test" in writer.rebuilding


def test_a_store_of_an_older_format_is_set_aside_and_built_anew(store: Path) -> None:
    text = (store / IDENTITY_FILE).read_bytes()
    older = text.replace(b'"format":%d' % FORMAT_VERSION, b'"format":%d' % (FORMAT_VERSION - 1))
    (store / IDENTITY_FILE).write_bytes(older)
    with pytest.raises(StoreOutdatedError, match="older"):
        StoreWriter(str(store), root="/traces", owner="the test")
    with closing(opened(store)) as writer:
        (aside,) = kept_aside(str(store))
        assert ".outdated-" in aside
        assert "older" in writer.rebuilding
    assert (Path(aside) / IDENTITY_FILE).read_bytes() == older


@pytest.mark.parametrize(
    "text",
    [b'{"product":"dftindexd","format":%d}' % (FORMAT_VERSION + 1), b"{}", b"", b"not json"],
)
def test_a_newer_store_and_what_is_no_store_of_ours_is_refused_and_not_set_aside(
    store: Path, text: bytes
) -> None:
    (store / IDENTITY_FILE).write_bytes(text)
    before = {one.name: one.read_bytes() for one in store.iterdir()}
    with pytest.raises(ForeignStoreError):
        opened(store)
    assert {one.name: one.read_bytes() for one in store.iterdir()} == before
    assert not kept_aside(str(store))


def test_a_half_created_store_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    (path / f"{IDENTITY_FILE}.new").write_bytes(b'{"prod')
    with closing(opened(path)) as writer:
        write(writer, b"a")
    for name in ("MANIFEST-000001", "CURRENT"):  # what RocksDB writes first, and not to its end
        half = tmp_path / f"half-{name}"
        half.mkdir()
        (half / IDENTITY_FILE).write_bytes((path / IDENTITY_FILE).read_bytes())
        (half / name).write_bytes(b"")
        with closing(opened(half)) as writer:
            write(writer, b"a")


def test_a_store_that_somebody_has_open_is_not_set_aside(store: Path) -> None:
    lock = acquire_lock(str(store / LOCK_FILE), "pid 7, the other")
    try:
        with pytest.raises(StoreLockedError, match="pid 7, the other"):
            opened(store, condemned="by a test")
    finally:
        os.close(lock)
    assert not kept_aside(str(store))


def test_a_store_is_set_aside_so_often_a_day_and_no_more(store: Path) -> None:
    for number in range(MOST_A_DAY):
        opened(store, condemned="again", now=1e9 + number).close()
    with pytest.raises(StoreDamagedError, match="3 times within a day; check the disk"):
        opened(store, condemned="again", now=1e9 + 100)
    assert store.exists()
    assert len(kept_aside(str(store))) == MOST_A_DAY
    opened(store, condemned="again", now=1e9 + _DAY + 100).close()
    assert len(kept_aside(str(store))) == MOST_A_DAY + 1


def test_stores_set_aside_in_one_second_have_names_of_their_own() -> None:
    first = aside_name("/s/a.dftindex", "damaged", 1e9)
    assert first == "/s/a.dftindex.damaged-20010909T014640Z"
    second = aside_name("/s/a.dftindex", "damaged", 1e9, [first])
    assert second == "/s/a.dftindex.damaged-20010909T014641Z"
    assert set_aside_within_a_day([first, second], 1e9 + _DAY) == [first, second]
    assert set_aside_within_a_day([first, second], 1e9 + _DAY + 1) == [second]
    assert not set_aside_within_a_day([aside_name("/s/a", "outdated", 1e9)], 1e9)


def test_only_stores_of_the_very_name_are_taken_for_those_set_aside(tmp_path: Path) -> None:
    for name in (
        "a.damaged-20010909T014641Z",
        "a.outdated-20010909T014640Z",
        "ab.damaged-2",
        "a",
        "a.damaged-x",
    ):
        (tmp_path / name).mkdir()
    names = [os.path.basename(path) for path in kept_aside(str(tmp_path / "a"))]
    assert names == ["a.outdated-20010909T014640Z", "a.damaged-20010909T014641Z"]
    assert kept_aside(str(tmp_path / "none" / "a")) == []


def test_damage_that_rocksdb_finds_by_writing_condemns_the_store(store: Path) -> None:
    with closing(opened(store)) as writer:
        damaged = tables_of_segments(writer)
    # Closed, RocksDB has no thread that could read a table while its byte is flipped. Those of the
    # registry stay sound: opening reads them, and has their blocks in its cache.
    for name in damaged:
        flip(store / name, 2)
    writer = opened(store)
    number = writer.new_segment_id()
    writer.write(rows_of(1, 2, number), [parsed_commit(b"x", 0, number)])
    assert not condemned(writer)
    with pytest.raises(StoreDamagedError):
        writer.rocks.compact(COLUMN_FAMILIES, lambda: False)
    assert condemned(writer)
    with pytest.raises(StoreDamagedError):
        writer.close()
    with closing(opened(store, condemned="it is")) as again:  # all of it was let go
        write(again, b"a")


def tables_of_segments(writer: StoreWriter) -> list[str]:
    """Return the names of the tables that begin with a row of a segment."""
    tables = writer.rocks._db.live_files()
    return [
        one["name"].lstrip("/")
        for one in tables
        if one["start_key"][:4] in (b"\0\0\0\1", b"\0\0\0\2")
    ]


def test_a_copy_is_a_store_of_the_moment_it_was_made(store: Path) -> None:
    with closing(opened(store)) as writer:
        copy = writer.copy("backup")
        write(writer, b"later")
        rows = RocksStore(copy, read_only=True)
        assert len(list(rows.scan(MANIFEST))) == 4 * _TRACES
        rows.close()
        with pytest.raises(CoreError):
            writer.copy("backup")
    again = StoreWriter(copy, root="/traces", owner="the test")
    assert len(again.registry.traces) == 2 * _TRACES
    again.close()
    with closing(opened(store)):
        assert not (store / COPIES).exists()
