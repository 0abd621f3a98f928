"""Fixtures that every test shares: the event loops, the real traces, leak checks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED_TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run each asynchronous test on both event loops."""
    backend: tuple[str, dict[str, bool]] = request.param
    return backend


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """The folder of real traces beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("DFTINDEXD_TEST_TRACES", SHARED_TRACES))
    if not folder.is_dir():
        pytest.skip(f"no real traces at {folder}: set DFTINDEXD_TEST_TRACES")
    return folder
