"""Other users of a daemon: each a process of its own, started by setpriv as that user."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from dftindexd.protocol.errors import DftIndexError, error_from_code
from tests.end_to_end import asker
from tests.end_to_end.identities import Person
from tests.end_to_end.running import COMMAND_SECONDS

__all__ = ("Asker", "as_user", "require_other_users")


def as_user(person: Person, command: Sequence[str]) -> list[str]:
    """Return the command line by which root runs *command* as *person*, with no capability."""
    groups = ",".join(map(str, person.groups))
    return [
        *("setpriv", f"--reuid={person.uid}", f"--regid={person.gid}"),
        *(f"--groups={groups}" if groups else "--clear-groups", "--inh-caps=-all"),
        *("--no-new-privs", *command),
    ]


def require_other_users() -> None:
    """Skip the test where no process of another user can be had."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not here: install the package util-linux")
    tried = as_user(Person(12999, 12999), [sys.executable, "-P", "-c", "import dftindexd.client"])
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"other users cannot run this interpreter: {done.stderr.strip()[-200:]}")


class Asker:
    """A process of *person* with a client of the daemon at *socket*."""

    def __init__(self, person: Person, socket: Path) -> None:
        line = as_user(person, [sys.executable, "-P", asker.__file__, str(socket)])
        self._process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )

    def __enter__(self) -> Asker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=COMMAND_SECONDS)

    @property
    def pid(self) -> int:
        """The process that asks."""
        return self._process.pid

    def ask(self, call: str, *arguments: object, **options: object) -> Any:
        """Return what a method of the client, or of ``asker.py``, answers; an error is raised here
        as it was there."""
        self.begin(call, *arguments, **options)
        return self.end()

    def outcome(self, call: str, *arguments: object) -> Any:
        """Return the same, or the error instead of raising it."""
        try:
            return self.ask(call, *arguments)
        except DftIndexError as error:
            return error

    def begin(self, call: str, *arguments: object, **options: object) -> None:
        """Have a call made; :meth:`end` returns its answer."""
        assert self._process.stdin is not None
        line = json.dumps([call, arguments, options], default=str)
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self) -> Any:
        """Return the next answer."""
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        if "error" in told:
            raise error_from_code(*told["error"])
        return told.get("answer")
