"""RocksDB as we use it: nothing silent, nothing half, nothing left open."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from dftindexd.index.errors import (
    CoreError,
    StoreDamagedError,
    StoreLockedError,
    StoreReadOnlyError,
)
from dftindexd.index.store.layout import COLUMN_FAMILIES, DEFAULT, MANIFEST
from dftindexd.index.store.rocks import RocksStore, classified_errors

ROWS = 5_000


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def filled(path: str) -> None:
    store = RocksStore(path)
    batch = store.batch()
    for row in range(ROWS):
        batch.put(MANIFEST, f"k{row:06}".encode(), f"{row * 7919:032}".encode())
    store.write(batch)
    store.close()


def flip_a_byte(path: str) -> None:
    """Change one byte in the middle of the largest SST file of the store."""
    file = max(Path(path).glob("*.sst"), key=lambda one: one.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x55
    file.write_bytes(data)


def test_a_batch_is_applied_to_all_families_and_survives_a_reopen(path: str) -> None:
    store = RocksStore(path)
    batch = store.batch()
    for family in COLUMN_FAMILIES:
        batch.put(family, b"k", family.encode())
        batch.put(family, b"gone", b"")
        batch.delete(family, b"gone")
        batch.put(family, b"r1", b"")
        batch.delete_range(family, b"r", b"s")
    store.write(batch)
    store.close()
    store = RocksStore(path)
    for family in COLUMN_FAMILIES:
        assert list(store.scan(family)) == [(b"k", family.encode())]
        assert store.get_many(family, [b"none", b"k"]) == [None, family.encode()]
        assert store.get(family, b"none") is None
    store.close()


def test_a_scan_gives_the_rows_of_its_prefix_alone(path: str) -> None:
    store = RocksStore(path)
    batch = store.batch()
    for key in (b"a", b"b", b"b\x00", b"b\xff\xff", b"c"):
        batch.put(DEFAULT, key, b"")
    store.write(batch)
    assert [key for key, _ in store.scan(DEFAULT, b"b")] == [b"b", b"b\x00", b"b\xff\xff"]
    assert list(store.scan(DEFAULT, b"d")) == []
    store.close()


def test_a_scan_given_up_half_way_does_not_keep_the_store_open(path: str) -> None:
    filled(path)
    store = RocksStore(path)
    rows = store.scan(MANIFEST)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    store.close()
    RocksStore(path).close()


def test_a_flipped_byte_ends_a_scan_with_an_error_and_never_short(path: str) -> None:
    filled(path)
    flip_a_byte(path)

    def read() -> None:
        with closing(RocksStore(path)) as store:
            for _ in store.scan(MANIFEST):
                pass

    with pytest.raises(StoreDamagedError, match="store"):
        read()


def test_a_second_opening_in_one_process_is_told_that_it_is_locked(path: str) -> None:
    store = RocksStore(path)
    with pytest.raises(StoreLockedError):
        RocksStore(path)
    store.close()


def test_compaction_stops_when_it_is_told_to(path: str) -> None:
    filled(path)
    store = RocksStore(path)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 1

    store.compact(COLUMN_FAMILIES, cancelled)
    assert len(asked) == 2
    store.close()


def test_compaction_in_pieces_frees_the_room_of_what_was_deleted(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dftindexd.index.store.rocks._COMPACTED_BYTES", 1 << 20)
    store = RocksStore(path)
    for number in range(40):
        batch = store.batch()
        batch.put(MANIFEST, b"%03d" % number, random.Random(number).randbytes(200_000))
        store.write(batch)
    store.compact([MANIFEST], lambda: False)
    full = _table_bytes(path)
    batch = store.batch()
    batch.delete_range(MANIFEST, b"000", b"030")
    store.write(batch)
    pieces = 0

    def counted() -> bool:
        nonlocal pieces
        pieces += 1
        return False

    store.compact([MANIFEST], counted)
    assert pieces > 1
    assert _table_bytes(path) < full // 3
    assert [key for key, _ in store.scan(MANIFEST)] == [b"%03d" % n for n in range(30, 40)]
    store.close()


def _table_bytes(path: str) -> int:
    return sum(file.stat().st_size for file in Path(path).glob("*.sst"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Corruption: block checksum mismatch", StoreDamagedError),
        ("IO error: No space left on device: x", StoreReadOnlyError),
        ("IO error: While appending", StoreReadOnlyError),
        ("IO error: lock hold by current process", StoreLockedError),
        ("IO error: While lock file: x", StoreLockedError),
        ("Result incomplete: Write stall", StoreReadOnlyError),
        ("Invalid argument: x", CoreError),
    ],
)
def test_errors_of_rocksdb_get_a_kind_and_name_the_store(text: str, kind: type[CoreError]) -> None:
    with pytest.raises(CoreError, match="/the/store") as caught, classified_errors("/the/store"):
        raise Exception(text)  # noqa: TRY002 - what rocksdict raises
    assert type(caught.value) is kind


def test_errors_that_are_not_of_rocksdb_pass_unchanged() -> None:
    with pytest.raises(KeyError), classified_errors("/the/store"):
        raise KeyError("x")


def test_rows_that_are_in_no_table_yet_take_bounded_memory_and_become_tables(path: str) -> None:
    most = 0
    with closing(RocksStore(path)) as store:
        for number in range(400):
            batch = store.batch()
            for family in COLUMN_FAMILIES:
                batch.put(family, number.to_bytes(4, "big"), random.randbytes(8_000))
            store.write(batch)
            most = max(most, store.unflushed_bytes)
        assert (8 << 20) < most < (20 << 20)
    assert list(Path(path).glob("*.sst"))


def test_what_was_read_is_kept_and_bounded(path: str) -> None:
    filled(path)
    with closing(RocksStore(path)) as store:
        before = store.cached_bytes
        assert len(list(store.scan(MANIFEST))) == ROWS
        assert before < store.cached_bytes < (16 << 20)
