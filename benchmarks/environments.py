"""The environments that a comparison needs: dftracer-utils in two versions, and dfanalyzer, each on
its own."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ("REPOSITORY", "analyzer_python", "reference_python")

REPOSITORY = Path(__file__).resolve().parents[1]


def reference_python(version: str) -> Path:
    """Return the interpreter of an environment that has dftracer-utils *version*; make it if need
    be.

    :raises subprocess.CalledProcessError: pip cannot install it; its own words are on stderr.
    """
    return _python(version, f"dftracer-utils=={version}", "pyarrow", "pandas")


def analyzer_python() -> Path:
    """Return the same with dfanalyzer and the dftracer-utils that it works with."""
    return _python("analyzer", "dftracer-analyzer==0.0.9", "dftracer-utils==0.0.12")


def _python(name: str, *packages: str) -> Path:
    folder = REPOSITORY / "build" / "reference" / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be at it
        if not done.exists():
            print(f"installing {packages[0]} for the comparison", file=sys.stderr)
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
            done.touch()
    return python
