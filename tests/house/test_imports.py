"""What an import pulls in, and that it works from anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .checkout import ROOT

#: What only the daemon needs; the client must do without.
OF_THE_DAEMON = (
    *("datafusion", "rpds", "isal", "llvmlite", "numba", "rocksdict", "structlog"),
    "uvloop",
)


def _python(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_EVERY_VERB = "import click; from dftindexd.client.cli import cli; cli.get_help(click.Context(cli))"


def _loaded(code: str, cwd: Path) -> set[str]:
    """Return the packages that *code* imports."""
    packages = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    return set(_python(f"{code}; {packages}", cwd).split())


@pytest.mark.parametrize(
    "code",
    [
        "from dftindexd.client import AsyncClient, connect",
        _EVERY_VERB,
        "import dftindexd.protocol.requests",
    ],
)
def test_the_client_imports_nothing_that_only_the_daemon_needs(code: str, tmp_path: Path) -> None:
    loaded = _loaded(code, tmp_path)
    assert "msgspec" in loaded
    assert loaded & set(OF_THE_DAEMON) == set()


@pytest.mark.parametrize("verb", ["ping", "publish", "sync"])
def test_a_verb_without_rows_imports_no_arrow(verb: str, tmp_path: Path) -> None:
    """It takes longer to import than such a verb does in all."""
    code = (
        "from dftindexd.client.cli import cli; "
        f"cli.get_command(None, {verb!r}); import dftindexd.client.sync_client"
    )
    loaded = _loaded(code, tmp_path)
    assert "click" in loaded
    assert loaded & {"numpy", "pyarrow"} == set()


def test_importing_compat_starts_nothing_and_loads_no_engine(tmp_path: Path) -> None:
    code = (
        "import sys, threading, dftindexd.compat; "
        "print(threading.active_count(), *(m for m in sys.modules if m.startswith('dftindexd.')))"
    )
    threads, *loaded = _python(code, tmp_path).split()
    assert threads == "1"
    assert not [name for name in loaded if name.startswith(("dftindexd.actors", "dftindexd.index"))]


def test_the_rooms_import_from_the_folder_that_holds_them() -> None:
    """There `client/` and `index/` lie in the way of nobody."""
    rooms = ("actors.engine", "client", "compat", "daemon.app", "index", "protocol", "views")
    code = f"import {', '.join(f'dftindexd.{room}' for room in rooms)}; print('imported')"
    assert _python(code, ROOT) == "imported"
