"""Whose directory it is, and who has it open."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from dftindexd.index.errors import ForeignStoreError, StoreLockedError
from dftindexd.index.store.identity import (
    IDENTITY_FILE,
    LOCK_FILE,
    acquire_lock,
    check_identity,
    copy_identity,
    lock_holder,
    read_identity,
    write_file_durably,
)
from dftindexd.index.store.layout import FORMAT_VERSION


def test_a_missing_or_empty_directory_becomes_ours_and_is_then_recognised(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "store")
    assert check_identity(path, "/traces") is False
    assert check_identity(path, "/traces") is True
    assert os.stat(path).st_mode & 0o777 == 0o700
    identity = msgspec.json.decode((tmp_path / "a/store" / IDENTITY_FILE).read_bytes())
    assert len(identity.pop("id")) == 16
    assert identity == {"product": "dftindexd", "format": FORMAT_VERSION, "root": "/traces"}


def test_no_two_stores_have_one_id_and_a_copy_has_its_own(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("one", "two", "copy")]
    for path in paths:
        check_identity(path, "/traces")
    copy_identity(paths[0], paths[2])
    identities = [read_identity(path) for path in paths]
    assert len({one.id for one in identities}) == 3
    assert msgspec.structs.replace(identities[2], id=identities[0].id) == identities[0]


def test_a_root_whose_name_is_not_text_can_be_noted(tmp_path: Path) -> None:
    check_identity(str(tmp_path), os.fsdecode(b"/traces/\xff"))
    assert check_identity(str(tmp_path), "") is True


def test_what_a_crash_before_the_identity_leaves_is_no_foreign_directory(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f"{IDENTITY_FILE}.new").write_bytes(b'{"prod')
    assert check_identity(str(tmp_path), "/t") is False


@pytest.mark.parametrize("name", ["CURRENT", "notes.txt", ".hidden"])
def test_a_foreign_directory_is_refused_and_left_untouched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    before = os.stat(tmp_path).st_mtime_ns
    with pytest.raises(ForeignStoreError, match=name):
        check_identity(str(tmp_path), "/t")
    assert os.listdir(tmp_path) == [name]
    assert (os.stat(tmp_path).st_mtime_ns, (tmp_path / name).read_text()) == (before, "mine")


@pytest.mark.parametrize(
    "text",
    [b"{}", b"", b"[1]", b'{"product":"other","format":1}', b'{"product":"dftindexd"}', b"\xff"],
)
def test_a_file_that_does_not_name_us_is_no_identity(tmp_path: Path, text: bytes) -> None:
    (tmp_path / IDENTITY_FILE).write_bytes(text)
    with pytest.raises(ForeignStoreError, match="does not identify"):
        check_identity(str(tmp_path), "/t")
    assert (tmp_path / IDENTITY_FILE).read_bytes() == text


def test_a_newer_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    newer = {"product": "dftindexd", "format": FORMAT_VERSION + 1, "future": True}
    (tmp_path / IDENTITY_FILE).write_bytes(msgspec.json.encode(newer))
    with pytest.raises(ForeignStoreError, match=f"{FORMAT_VERSION + 1}, newer than"):
        check_identity(str(tmp_path), "/t")


def test_a_lock_names_its_holder_and_goes_with_its_descriptor(tmp_path: Path) -> None:
    path = str(tmp_path / LOCK_FILE)
    held = acquire_lock(path, "pid 12, socket /run/x.sock")
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StoreLockedError, match=r"pid 12, socket /run/x\.sock"):
        acquire_lock(path, "pid 13")
    assert len(os.listdir("/proc/self/fd")) == descriptors
    os.close(held)
    again = acquire_lock(path, "pid 14")
    assert lock_holder(path) == "pid 14"
    os.close(again)


def test_a_lock_without_a_name_has_an_unknown_holder(tmp_path: Path) -> None:
    assert lock_holder(str(tmp_path / "none")) == "an unknown process"


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_file_durably(str(path), b"old")

    def fail(source: str, target: str) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk"):
            write_file_durably(str(path), b"new")
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])
    write_file_durably(str(path), b"new")
    assert path.read_bytes() == b"new"
