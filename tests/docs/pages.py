"""The blocks of code of a page, and running them as somebody does who pastes them one by one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ("Block", "Home", "blocks_of", "python_script", "shell_script")

_SECONDS = 240.0
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block: what stands behind the fence, and its text."""

    kind: str
    text: str


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page in order."""
    return [Block(kind.strip(), text) for kind, text in _FENCE.findall(page)]


def shell_script(blocks: list[Block]) -> str:
    """Return one script of all blocks that are to be run; those of Python go to the interpreter.

    A pipe may end before what it reads from: ``| head`` is no failure.
    """
    parts = ["set -eu"]
    for block in blocks:
        if block.kind == "sh":
            parts.append(block.text)
        elif block.kind == "python":
            parts.append(f"python - <<'END OF BLOCK'\n{block.text}END OF BLOCK")
    return "\n".join(parts) + "\n"


def python_script(blocks: list[Block], mark: str) -> str:
    """Return one program of all blocks of Python, which prints *mark* after each."""
    return "".join(
        f"{block.text}\nprint({mark!r}, flush=True)\n" for block in blocks if block.kind == "python"
    )


@dataclass
class Home:
    """A home directory of its own, with both commands and ``python`` on the path."""

    path: Path

    def __post_init__(self) -> None:
        commands = self.path / "bin"
        commands.mkdir(parents=True)
        runtime = self.path / "runtime"
        runtime.mkdir(mode=0o700)
        programs = {
            "dftindexd": "-P -m dftindexd.daemon.cli",
            "dftindexd-client": "-P -m dftindexd.client.cli",
            "python": "-P",
        }
        for name, arguments in programs.items():
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            script.chmod(0o755)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DFTINDEXD_")
        } | {
            "HOME": os.fspath(self.path),
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": os.fspath(runtime),
            "DFTINDEXD_STATE_DIR": os.fspath(self.path / "state"),
            # The compiled kernel of the whole machine, not of this home.
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
        }
        self.environment.pop("RUNTIME_DIRECTORY", None)

    def run(self, *command: str, text: str) -> subprocess.CompletedProcess[str]:
        """Run a command that reads *text*, with this home, to its end; it has to succeed."""
        with (self.path / "errors").open("w+") as errors:
            done = subprocess.run(
                command,
                input=text,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=self.path,
                env=self.environment,
                timeout=_SECONDS,
                check=False,
            )
            errors.seek(0)
            assert done.returncode == 0, done.stdout + errors.read()
        return done
