"""The environments that a comparison needs: dftracer-utils in two versions, each on its own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

__all__ = ("REPOSITORY", "reference_python")

REPOSITORY = Path(__file__).resolve().parents[1]


def reference_python(version: str) -> Path:
    """Return the interpreter of an environment that has dftracer-utils *version*; make it if need
    be.

    :raises subprocess.CalledProcessError: pip cannot install it; its own words are on stderr.
    """
    folder = REPOSITORY / "build" / "reference" / version
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"installing dftracer-utils {version} for the comparison", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        packages = [f"dftracer-utils=={version}", "pyarrow", "pandas"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        done.touch()
    return python
