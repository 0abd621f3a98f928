"""The walk of the disk: what it shows, what it reports, what it leaves alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dftindexd.index.scan import Scan, directories_below, scan_tree, stamp_of, stamp_or_none
from dftindexd.index.trace_rules import TraceRules, is_trace_name


def put(path: Path, size: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def walk(root: Path, directory: bytes = b"", *, recursive: bool = True) -> Scan:
    return scan_tree(os.fsencode(root), directory, recursive=recursive)


def shown(root: Path, directory: bytes = b"", *, recursive: bool = True) -> list[bytes]:
    scan = walk(root, directory, recursive=recursive)
    assert not scan.problems
    assert not scan.root_error
    return sorted(scan.stamps)


def failing_scandir(wanted: bytes, error: OSError) -> Callable[[bytes], Any]:
    real = os.scandir

    def scandir(path: bytes) -> Any:
        if path == wanted:
            raise error
        return real(path)

    return scandir


def test_only_traces_are_shown_however_deep(tmp_path: Path) -> None:
    for name in ("a.pfw", "b.pfw.gz", "c.txt", "d/e/f.pfw", "g.pfw/h.pfw", "pfw", ".pfw.gz.tmp"):
        put(tmp_path / name)
    assert shown(tmp_path) == [b"a.pfw", b"b.pfw.gz", b"d/e/f.pfw", b"g.pfw/h.pfw"]
    assert shown(tmp_path, b"d") == [b"d/e/f.pfw"]
    assert shown(tmp_path, b"d/e") == [b"d/e/f.pfw"]
    assert not is_trace_name(b"x.pfw.zst")


def test_without_recursion_only_what_lies_in_the_directory_is_shown(tmp_path: Path) -> None:
    for name in ("a.pfw", "d/b.pfw", "d/e/c.pfw"):
        put(tmp_path / name)
    assert shown(tmp_path, recursive=False) == [b"a.pfw"]
    assert shown(tmp_path, b"d", recursive=False) == [b"d/b.pfw"]
    scan = walk(tmp_path, b"d", recursive=False)
    covered = [name for name in (b"d/x", b"d/e/x", b"dx", b"d") if scan.covers(name)]
    assert covered == [b"d/x", b"d"]


def test_a_stamp_is_what_stat_says(tmp_path: Path) -> None:
    put(tmp_path / "a.pfw", 7)
    stamp = walk(tmp_path).stamps[b"a.pfw"]
    assert stamp == stamp_of(os.stat(tmp_path / "a.pfw"))
    assert stamp.size == 7
    assert stamp_or_none(os.fsencode(tmp_path / "a.pfw")) == stamp
    assert stamp_or_none(os.fsencode(tmp_path)) is None
    assert stamp_or_none(os.fsencode(tmp_path / "a.pfw" / "x")) is None


def test_one_trace_may_be_asked_for_by_name(tmp_path: Path) -> None:
    put(tmp_path / "d" / "a.pfw")
    put(tmp_path / "d" / "a.txt")
    assert shown(tmp_path, b"d/a.pfw") == [b"d/a.pfw"]
    assert shown(tmp_path, b"d/a.txt") == []
    assert shown(tmp_path, b"d/none.pfw") == []
    assert shown(tmp_path, b"d/a.pfw/b.pfw") == []


def test_names_that_are_not_text_are_shown_as_they_are(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    os.mkdir(root + b"/d\xff")
    for name in (b"/d\xff/\xfe.pfw", b"/line\nbreak.pfw"):
        Path(os.fsdecode(root + name)).touch()
    assert shown(tmp_path) == [b"d\xff/\xfe.pfw", b"line\nbreak.pfw"]
    assert shown(tmp_path, b"d\xff/\xfe.pfw") == [b"d\xff/\xfe.pfw"]


def test_links_show_each_trace_once_and_never_lead_out_of_the_root(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    put(other / "far.pfw", 9)
    put(root / "d" / "near.pfw")
    put(root / "d" / "blob", 5)
    (root / "latest.pfw").symlink_to("d/near.pfw")
    (root / "named.pfw").symlink_to(root / "d" / "blob")
    (root / "file.pfw").symlink_to(other / "far.pfw")
    (root / "e").mkdir()
    (root / "e" / "beside.pfw").symlink_to(root / "d" / "blob")
    (root / "link").symlink_to(other)
    (root / "link.pfw").symlink_to(other)
    (root / "up").symlink_to(root)
    (root / "dangling.pfw").symlink_to(other / "none")
    assert shown(root) == [b"d/near.pfw", b"named.pfw"]
    assert walk(root).stamps[b"named.pfw"].size == 5
    hidden = (b"link", b"link/far.pfw", b"link.pfw", b"up", b"up/d", b"dangling.pfw")
    for part in (*hidden, b"file.pfw", b"latest.pfw", b"e", b"e/beside.pfw"):
        assert shown(root, part) == [], part
    assert shown(root, b"named.pfw") == [b"named.pfw"]


def test_where_links_are_followed_they_lead_out_of_the_root_once_and_cycles_are_cut(
    tmp_path: Path,
) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    put(other / "deep" / "far.pfw", 9)
    put(root / "d" / "near.pfw")
    (root / "link").symlink_to(other)
    (root / "file.pfw").symlink_to(other / "deep" / "far.pfw")
    for place, target in (("self", other), ("up", tmp_path), ("deep/home", root), ("x", "deep")):
        (other / place).symlink_to(target)
    (root / "up").symlink_to(root / "d")
    (root / "above").symlink_to(tmp_path)
    rules = TraceRules(follow_links=True)
    whole = scan_tree(os.fsencode(root), rules=rules)
    assert sorted(whole.stamps) == [b"d/near.pfw", b"file.pfw", b"link/deep/far.pfw"]
    assert whole.problems == {}
    for part in (b"link", b"link/deep", b"link/deep/far.pfw", b"d", b"file.pfw"):
        scan = scan_tree(os.fsencode(root), part, rules=rules)
        assert scan.stamps == {path: one for path, one in whole.stamps.items() if scan.covers(path)}
    for part in (
        b"link/self",
        b"link/up/root/d",
        b"link/deep/home",
        b"up",
        b"above/root",
        b"link/x",
    ):
        assert scan_tree(os.fsencode(root), part, rules=rules).stamps == {}, part
    seen = list(directories_below(os.fsencode(root), b"", rules))
    assert sorted(seen) == [b"", b"d", b"link", b"link/deep"]


def test_what_the_rules_leave_out_is_not_shown_and_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.pfw", "old/b.pfw", "run/c.pfw", "run/tmp/d.pfw"):
        put(tmp_path / name)
    rules = TraceRules(exclude=("old", "run/tmp"))
    denied = PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "scandir", failing_scandir(os.fsencode(tmp_path / "old"), denied))
    whole = scan_tree(os.fsencode(tmp_path), rules=rules)
    assert sorted(whole.stamps) == [b"a.pfw", b"run/c.pfw"]
    assert whole.problems == {}
    for part in (b"old", b"old/b.pfw", b"run/tmp", b"run/tmp/d.pfw"):
        assert scan_tree(os.fsencode(tmp_path), part, rules=rules).stamps == {}
    only = scan_tree(os.fsencode(tmp_path), rules=TraceRules(include=("run/*.pfw",)))
    assert sorted(only.stamps) == [b"run/c.pfw"]


def test_a_link_to_itself_is_a_problem_of_its_own(tmp_path: Path) -> None:
    put(tmp_path / "a.pfw")
    (tmp_path / "loop.pfw").symlink_to(tmp_path / "loop.pfw")
    scan = walk(tmp_path)
    assert list(scan.stamps) == [b"a.pfw"]
    assert list(scan.problems) == [b"loop.pfw"]
    assert list(walk(tmp_path, b"loop.pfw").problems) == [b"loop.pfw"]


def test_a_directory_that_cannot_be_read_is_reported_and_the_rest_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.pfw", "shut/b.pfw", "open/c.pfw"):
        put(tmp_path / name)
    denied = PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "scandir", failing_scandir(os.fsencode(tmp_path / "shut"), denied))
    scan = walk(tmp_path)
    assert sorted(scan.stamps) == [b"a.pfw", b"open/c.pfw"]
    assert scan.problems == {b"shut": "Permission denied"}
    assert scan.root_error == ""


def test_a_directory_that_fails_half_way_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "d" / "a.pfw")
    real = os.scandir

    class Half:
        def __enter__(self) -> Iterator[os.DirEntry[bytes]]:
            return self.entries()

        def __exit__(self, *_: object) -> None:
            return None

        def entries(self) -> Iterator[os.DirEntry[bytes]]:
            with real(os.fsencode(tmp_path / "d")) as entries:
                yield from entries
            raise OSError(5, "Input/output error")

    def scandir(path: bytes) -> Any:
        return Half() if path.endswith(b"/d") else real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert walk(tmp_path).problems == {b"d": "Input/output error"}


def test_a_root_that_is_missing_or_no_directory_says_so_and_shows_nothing(tmp_path: Path) -> None:
    put(tmp_path / "file.pfw")
    for name, why in (("none", "No such file"), ("file.pfw", "Not a directory")):
        scan = walk(tmp_path / name)
        assert why in scan.root_error
        assert not scan.stamps


def test_a_root_that_cannot_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "scandir", failing_scandir(os.fsencode(tmp_path), denied))
    assert walk(tmp_path).root_error == "Permission denied"


def test_a_root_that_goes_away_during_the_walk_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    put(root / "a.pfw")
    put(root / "d" / "b.pfw")
    real = os.scandir

    def scandir(path: bytes) -> Any:
        if path.endswith(b"/d"):
            root.rename(tmp_path / "moved")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    scan = walk(root)
    assert scan.root_error
    assert not scan.stamps
