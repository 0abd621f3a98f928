"""Starting a program under the real tracer, and what its traces announce."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.running import COMMAND_SECONDS, text_of

__all__ = ("FOR_LONG", "announced", "end_now", "end_of", "traced", "traces_in")

pytest.importorskip("dftracer", reason="the tracer is not installed: pip install dftracer")

_PROGRAM = Path(__file__).with_name("traced_program.py")
#: The tracer writes whenever so many bytes of text have gathered.
_BUFFER_BYTES = 16384
#: Seconds for a program that goes on until :func:`end_now`, however slow the machine is.
FOR_LONG = 100.0


@contextmanager
def traced(
    directory: Path, *, mode: str = "finalize", seconds: float = 2.0, plain: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program in *mode* with its traces in *directory*; it never outlives the test."""
    tracer = {
        "DFTRACER_ENABLE": "1",
        "DFTRACER_INC_METADATA": "1",
        "DFTRACER_WRITE_BUFFER_SIZE": str(_BUFFER_BYTES),
        "DFTRACER_TRACE_COMPRESSION": "0" if plain else "1",
    }
    arguments = (mode, directory / "run", directory / "data", str(seconds))
    program = subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM), *map(str, arguments)], env=os.environ | tracer
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.kill()
        program.wait()


def end_of(program: subprocess.Popen[bytes]) -> None:
    """Wait for the program's end; it has to be a good one."""
    assert program.wait(timeout=COMMAND_SECONDS) == 0


def end_now(program: subprocess.Popen[bytes], directory: Path) -> None:
    """Have the program with its traces in *directory* end its work, and wait for its end."""
    (directory / "run.enough").touch()
    end_of(program)


def traces_in(directory: Path) -> list[Path]:
    """Return the traces below a directory."""
    return sorted(directory.rglob("*.pfw*"))


def announced(trace: Path) -> int:
    """Return the number of events that the trace's ``end`` event announces, itself included."""
    records = (json.loads(line) for line in text_of(trace).splitlines() if b'"name":"end"' in line)
    (end,) = (record for record in records if record["cat"] == "dftracer")
    return int(end["args"]["num_events"]) + 1
