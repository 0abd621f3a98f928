"""Compiled code lies where only its user can write, and is found again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dftindexd.index.trace.kernel_cache import KernelCacheError, cache_root

_PREPARE = (
    "import os, sys; from dftindexd.index.trace import kernel_cache; "
    "kernel_cache.build = lambda: kernel_cache.MachineCode('symbol', b'code'); "
    "kernel_cache._write = lambda path, code: print(os.path.dirname(path)); "
    "kernel_cache.compile_once(os.environ, int(sys.argv[1]))"
)


def _prepare(directory: Path, uid: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PREPARE, str(os.geteuid() if uid is None else uid)],
        env=dict(os.environ, CACHE_DIRECTORY=str(directory), PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_says_where_compiled_code_lies() -> None:
    assert cache_root({"CACHE_DIRECTORY": "/c:/d", "HOME": "/h"}) == "/c"
    assert cache_root({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == "/x/dftindexd"
    assert cache_root({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == "/h/.cache/dftindexd"
    with pytest.raises(KernelCacheError, match="set CACHE_DIRECTORY"):
        cache_root({})


def test_the_directory_is_made_for_its_user_alone(tmp_path: Path) -> None:
    done = _prepare(tmp_path / "new")
    assert done.returncode == 0, done.stderr
    directory = Path(done.stdout.strip())
    assert directory.parent == tmp_path / "new"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert _prepare(tmp_path / "new").stdout == done.stdout


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    directory = Path(_prepare(tmp_path).stdout.strip())
    directory.chmod(0o770)
    done = _prepare(tmp_path)
    assert "could write compiled code into" in done.stderr
    assert str(directory) in done.stderr
    directory.chmod(0o700)
    assert "others than user" in _prepare(tmp_path, os.geteuid() + 1).stderr


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _prepare(tmp_path / "file")
    assert f"cannot make {tmp_path / 'file'}" in done.stderr
    assert "set CACHE_DIRECTORY" in done.stderr


def _run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import os; from dftindexd.index.trace import kernel_cache; " + code,
        ],
        env=dict(os.environ, CACHE_DIRECTORY=str(directory), PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_kernel_that_was_never_compiled_is_an_error_that_says_so(tmp_path: Path) -> None:
    done = _run("kernel_cache.load()", tmp_path)
    assert "no compiled kernel" in done.stderr
    assert str(tmp_path) in done.stderr


def test_a_damaged_file_of_machine_code_is_never_run(tmp_path: Path) -> None:
    write = "d = kernel_cache._usable_directory(os.environ, os.geteuid()); "
    write += "kernel_cache._write(kernel_cache._path(d), kernel_cache.MachineCode('s', b'code')); "
    assert _run(write + "print(kernel_cache.is_compiled(os.environ))", tmp_path).stdout == "True\n"
    (file,) = tmp_path.glob("kernel-*/kernel-*")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "no compiled kernel" in _run("kernel_cache.load()", tmp_path).stderr
