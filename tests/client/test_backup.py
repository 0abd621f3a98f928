"""Taking a backup over: whole and durable at the place that was named, or nothing there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dftindexd.client.backup import free_place, take_over
from dftindexd.protocol.errors import DftIndexError, InvalidArgumentError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the daemon's, as it lies in the state directory."""
    folder = tmp_path / "copies" / "backup-1"
    folder.mkdir(parents=True)
    (folder / "CURRENT").write_bytes(b"MANIFEST-000005\n")
    (folder / "000009.sst").write_bytes(b"x" * 1000)
    return folder


def test_a_backup_is_copied_and_the_daemons_own_is_deleted(folder: Path, tmp_path: Path) -> None:
    table = (folder / "000009.sst").stat()
    target = free_place(tmp_path / "out")
    assert take_over(str(folder), target) == 1016
    assert not folder.exists()
    assert sorted(os.listdir(tmp_path)) == ["copies", "out"]
    assert (tmp_path / "out" / "000009.sst").read_bytes() == b"x" * 1000
    # A copy, not a link: what happens to the one file does not happen to the other.
    assert (tmp_path / "out" / "000009.sst").stat().st_ino != table.st_ino


def test_a_place_that_is_taken_or_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "dangling", "."):
        with pytest.raises(InvalidArgumentError, match="exists already"):
            free_place(tmp_path / name)
    with pytest.raises(InvalidArgumentError, match="is not a directory; make it first"):
        free_place(tmp_path / "none" / "out")


def test_a_backup_that_cannot_be_written_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "theirs").touch()
    with pytest.raises(DftIndexError, match=r"cannot copy the backup to .*out"):
        take_over(str(folder), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.part" / "theirs").exists()
    assert not folder.exists()


def test_a_backup_that_is_gone_before_it_was_copied_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DftIndexError, match="cannot copy"):
        take_over(str(tmp_path / "gone"), str(tmp_path / "out"))
    assert os.listdir(tmp_path) == []
