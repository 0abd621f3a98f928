"""What the house tests look at: the files of this checkout that are or will be committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ("ROOT", "committed_files", "python_files")

ROOT = Path(__file__).resolve().parents[2]


def committed_files() -> list[Path]:
    """Return every file that git tracks, or would if all were added, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    present = [file for file in files if (ROOT / file).is_file()]
    if not present:
        raise AssertionError(f"git lists no files in {ROOT}")
    return present


def python_files() -> list[Path]:
    """Return the Python files among them."""
    return [file for file in committed_files() if file.suffix == ".py"]
