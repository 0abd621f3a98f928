"""SST artifacts: written whole or not at all, and read back as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.model import Row
from dftindexd.index.store import sst
from dftindexd.index.store.layout import CHUNK_STATS, MANIFEST
from dftindexd.index.store.rocks import RocksStore, _slices
from dftindexd.index.store.sst import SstSink, remove_ssts, write_ssts
from tests.index.store.commits import rows_of


def test_rows_in_any_order_come_back_in_key_order(tmp_path: Path) -> None:
    rows = rows_of(2, 1, count=3)
    paths = write_ssts(reversed(rows), str(tmp_path), "stem")
    assert paths == {
        family: str(tmp_path / f"stem.{family}.sst") for family in (CHUNK_STATS, MANIFEST)
    }
    store = RocksStore(str(tmp_path / "store"))
    store.ingest({family: [path] for family, path in paths.items()})
    for wanted in (CHUNK_STATS, MANIFEST):
        expected = sorted((key, value) for family, key, value in rows if family == wanted)
        assert list(store.scan(wanted)) == expected
    store.close()


def test_no_rows_make_no_files(tmp_path: Path) -> None:
    assert write_ssts([], str(tmp_path), "stem") == {}
    assert os.listdir(tmp_path) == []


def test_two_rows_with_one_key_are_an_error_and_leave_no_file(tmp_path: Path) -> None:
    rows = [(CHUNK_STATS, b"a", b""), (MANIFEST, b"k", b"1"), (MANIFEST, b"k", b"2")]
    with pytest.raises(CoreError, match=r"stem\.manifest\.sst"):
        write_ssts(rows, str(tmp_path), "stem")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_makes_the_store_read_only(tmp_path: Path) -> None:
    with pytest.raises(StoreReadOnlyError, match="stem"):
        write_ssts(rows_of(1), str(tmp_path / "missing"), "stem")


def _ingested(folder: Path, artifacts: dict[str, tuple[str, ...]]) -> list[tuple[bytes, bytes]]:
    store = RocksStore(str(folder / "store"))
    store.ingest(artifacts)
    rows = list(store.scan(MANIFEST))
    store.close()
    return rows


def _of_manifest(rows: list[Row]) -> list[tuple[bytes, bytes]]:
    return sorted((key, value) for family, key, value in rows if family == MANIFEST)


def test_few_rows_are_held_until_they_are_written(tmp_path: Path) -> None:
    sink = SstSink(str(tmp_path), "stem")
    for number in (1, 2):
        sink.begin_trace()
        sink.take(rows_of(number))
    assert os.listdir(tmp_path) == []
    assert sink.rows == rows_of(1) + rows_of(2)
    sink.write()
    assert sink.rows == []
    assert sink.artifacts() == {
        family: (str(tmp_path / f"stem-0.{family}.sst"),) for family in (CHUNK_STATS, MANIFEST)
    }
    assert _ingested(tmp_path, sink.artifacts()) == _of_manifest(rows_of(1, 2))


def test_many_rows_become_files_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sst, "HELD_BYTES", 50)
    sink = SstSink(str(tmp_path), "stem")
    sink.begin_trace()
    for number in (1, 2, 3):
        sink.take(rows_of(number, count=5))
        assert sink.size == 0
    assert [len(paths) for paths in sink.artifacts().values()] == [3, 3]
    assert _ingested(tmp_path, sink.artifacts()) == _of_manifest(rows_of(1, 2, 3, count=5))


@pytest.mark.parametrize("held_bytes", [0, 10_000])
def test_what_a_trace_gave_is_dropped_without_that_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_bytes: int
) -> None:
    sink = SstSink(str(tmp_path), "stem")
    sink.begin_trace()
    sink.take(rows_of(1))
    sink.begin_trace()
    monkeypatch.setattr(sst, "HELD_BYTES", held_bytes)
    sink.take(rows_of(2))
    sink.take(rows_of(3))
    sink.drop()
    sink.take(rows_of(4))
    sink.write()
    assert _ingested(tmp_path, sink.artifacts()) == _of_manifest(rows_of(1, 4))
    left = {str(path) for path in tmp_path.glob("*.sst")}
    assert not left  # moved into the store, and what was dropped is gone


def test_all_is_discarded_where_nothing_can_be_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sst, "HELD_BYTES", 0)
    sink = SstSink(str(tmp_path), "stem")
    for number in (1, 2):
        sink.begin_trace()
        sink.take(rows_of(number))
    sink.discard()
    assert (sink.rows, sink.artifacts(), os.listdir(tmp_path)) == ([], {}, [])


def test_the_files_of_a_dead_worker_are_removed_and_no_others(tmp_path: Path) -> None:
    for stem in ("dead-0", "alive-0"):
        write_ssts(rows_of(1), str(tmp_path), stem)
    remove_ssts(str(tmp_path), "dead")
    assert {name.partition(".")[0] for name in os.listdir(tmp_path)} == {"alive-0"}
    remove_ssts(str(tmp_path / "missing"), "dead")


def test_large_files_are_moved_one_by_one_and_small_ones_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(*range(1, 6))
    paths = [
        write_ssts(rows_of(number), str(tmp_path), f"{number}")[MANIFEST] for number in range(1, 6)
    ]
    size = os.path.getsize(paths[0])
    assert list(_slices(dict.fromkeys(paths, size))) == [paths]
    monkeypatch.setattr("dftindexd.index.store.rocks._INGESTED_BYTES", 2 * size)
    assert list(_slices(dict.fromkeys(paths, size))) == [paths[:2], paths[2:4], paths[4:]]
    assert list(_slices(dict.fromkeys(paths, 9 * size))) == [[path] for path in paths]
    assert _ingested(tmp_path, {MANIFEST: tuple(paths)}) == _of_manifest(rows)
