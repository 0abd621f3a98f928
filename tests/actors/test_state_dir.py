"""The state directory: where it is, who works in it, what it remembers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dftindexd.actors.state_dir import StateDir, WatchSettings, default_state_dir, store_name
from dftindexd.index.errors import CoreError, StoreLockedError
from dftindexd.index.trace_rules import TraceRules

ROOTS = [b"/traces/run 1", b"/traces/\xff\n", b"/"]


@pytest.mark.parametrize(
    ("environment", "uid", "path"),
    [
        ({"DFTINDEXD_STATE_DIR": "/a:b", "STATE_DIRECTORY": "/c"}, 0, "/a:b"),
        ({"STATE_DIRECTORY": "/c:/d", "XDG_STATE_HOME": "/x"}, 1, "/c"),
        ({}, 0, "/var/lib/dftindexd"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, 1, "/x/dftindexd"),
        ({"HOME": "/h"}, 1, "/h/.local/state/dftindexd"),
    ],
)
def test_the_state_directory_is_found_in_order(
    environment: dict[str, str], uid: int, path: str
) -> None:
    assert default_state_dir(environment, uid) == path


def test_roots_are_remembered_whatever_their_names(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "state"), "first")
    assert state.load_roots() == {}
    roots = dict.fromkeys(ROOTS, WatchSettings()) | {
        b"/odd": WatchSettings(backend="poll", rules=TraceRules(exclude=("tmp",)), columns=("ret",))
    }
    state.save_roots(roots)
    state.close()
    state = StateDir(str(tmp_path / "state"), "second")
    assert state.load_roots() == roots
    state.close()


@pytest.mark.parametrize(
    "text", [b"", b"{", b'[{"path":"x"}]', b'[{"path":"x","path_hex":"zz"}]', b"\xff"]
)
def test_a_file_of_roots_that_does_not_read_back_is_named(tmp_path: Path, text: bytes) -> None:
    state = StateDir(str(tmp_path), "first")
    (tmp_path / "roots.json").write_bytes(text)
    with pytest.raises(CoreError, match=r"roots\.json"):
        state.load_roots()
    state.close()


def test_a_second_process_is_told_who_works_there(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path), "pid 3, socket /run/s")
    with pytest.raises(StoreLockedError, match="pid 3, socket /run/s"):
        StateDir(str(tmp_path), "second")
    state.close()
    StateDir(str(tmp_path), "third").close()


@pytest.mark.parametrize(("mode", "who"), [(0o777, "anybody"), (0o770, "its group")])
def test_a_directory_that_others_may_write_into_is_refused(
    tmp_path: Path, mode: int, who: str
) -> None:
    os.chmod(tmp_path, mode)
    with pytest.raises(CoreError, match=f"{who} may write .*chmod go-w"):
        StateDir(str(tmp_path), "first")


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CoreError, match="file/state"):
        StateDir(str(tmp_path / "file" / "state"), "first")


def test_store_names_are_readable_short_and_differ_with_the_whole_path() -> None:
    names = [store_name(root) for root in (*ROOTS, b"/a/run", b"/b/run", b"/" + b"x" * 255)]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and "/" not in name and len(name) < 100 for name in names)
    assert names[3].startswith("run-")
    assert all(name.endswith(".dftindex") for name in names)
