"""SST artifacts: written whole or not at all, and read back as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.store.layout import CHUNK_STATS, MANIFEST
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.sst import write_ssts
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
