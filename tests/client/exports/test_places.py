"""Exports appear whole or not at all, and replace nothing but exports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

from dftindexd.client.exports.places import check_free, directory_beside, size_of
from dftindexd.client.exports.tables import write_parquet
from dftindexd.client.table_files import beside
from dftindexd.protocol.errors import InvalidArgumentError, PermissionDeniedError
from tests.disk.small_disk import small_disk


def _export(path: Path) -> None:
    with directory_beside(str(path)) as folder:
        inner = Path(folder) / "day=2026-01-31"
        inner.mkdir()
        (inner / "part-0.parquet").write_bytes(b"rows")


def test_a_directory_is_there_whole_when_it_is_done(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with directory_beside(str(place)) as folder:
        (Path(folder) / "part-0.parquet").write_bytes(b"rows")
        assert not place.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert place.stat().st_mode & 0o777 == 0o777 & ~os.umask(os.umask(0o022))
    assert size_of(str(place)) == (1, 4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, PermissionDeniedError("no")])
def test_what_ends_early_leaves_nothing_and_is_told_as_it_is(
    tmp_path: Path, error: type[BaseException] | BaseException
) -> None:
    kind = error if isinstance(error, type) else type(error)

    def fail(target: BinaryIO) -> None:
        with target:
            target.write(b"rows")
            raise error

    with pytest.raises(kind), directory_beside(str(tmp_path / "out")) as folder:
        fail((Path(folder) / "part-0.parquet").open("wb"))
    with pytest.raises(kind), beside(str(tmp_path / "file")) as file:
        fail(file)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_where_that_was_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "out"
    _export(place)
    with pytest.raises(InvalidArgumentError, match=r"out exists already; .*--force"):
        check_free(str(place), force=False, directory=True)
    check_free(str(place), force=True, directory=True)
    with directory_beside(str(place)) as folder:
        (Path(folder) / "part-0.parquet").write_bytes(b"new")
    assert [path.name for path in place.iterdir()] == ["part-0.parquet"]
    assert list(tmp_path.iterdir()) == [place]


def test_a_directory_of_anything_else_is_never_replaced(tmp_path: Path) -> None:
    place = tmp_path / "home"
    _export(place)
    precious = place / "day=2026-01-31" / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(InvalidArgumentError, match=r"something else than an export: .*thesis.txt"):
        check_free(str(place), force=True, directory=True)
    precious.unlink()
    (place / "day=2026-01-31" / "part-1.parquet").symlink_to(tmp_path)
    with pytest.raises(InvalidArgumentError, match="something else than an export"):
        check_free(str(place), force=True, directory=True)
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(InvalidArgumentError, match="something else than an export"):
        check_free(str(tmp_path / "link"), force=True, directory=True)
    with pytest.raises(InvalidArgumentError, match="is no regular file"):
        check_free(str(tmp_path / "link"), force=True, directory=False)
    with pytest.raises(InvalidArgumentError, match=r"nowhere is not a directory; make it"):
        check_free(str(tmp_path / "nowhere" / "out"), force=False, directory=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 256 KiB."""
    with small_disk(tmp_path / "small", 256 << 10) as folder:
        yield folder


def test_a_full_disk_is_an_error_that_names_the_place_and_leaves_nothing(disk: Path) -> None:
    with (
        pytest.raises(InvalidArgumentError, match=r"small/file cannot be written: No space left"),
        beside(str(disk / "file")) as file,
    ):
        file.write(bytes(1 << 20))
    with (
        pytest.raises(InvalidArgumentError, match=r"small/out cannot be written: No space left"),
        directory_beside(str(disk / "out")) as folder,
    ):
        (Path(folder) / "part-0.parquet").write_bytes(bytes(1 << 20))
    noise = pa.RecordBatch.from_pydict({"n": [os.urandom(1 << 16) for _ in range(16)]})
    with (
        pytest.raises(InvalidArgumentError, match=r"small/out cannot be written: .*No space left"),
        directory_beside(str(disk / "out")) as folder,
    ):
        write_parquet([noise], folder, ())
    assert list(disk.iterdir()) == []
