"""The references: environments of their own, made where they can be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.environments import reference_python


@pytest.fixture(scope="session")
def reference() -> Path:
    """The interpreter of an environment with the reference in it."""
    return _installed("0.0.12")


@pytest.fixture(scope="session")
def newer_reference() -> Path:
    """The same, with the version that reads generation 2."""
    return _installed("0.0.14")


def _installed(version: str) -> Path:
    try:
        return reference_python(version)
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"dftracer-utils {version} cannot be installed here: {error}")
