"""An index of the real traces that many tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dftindexd.compat import Indexer


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test off the user's state directory."""
    monkeypatch.setenv("DFTINDEXD_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def cm1(shared_traces: Path, tmp_path_factory: pytest.TempPathFactory) -> Indexer:
    """The indexed traces of cm1."""
    indexer = Indexer(
        str(shared_traces / "cm1-v1.0.5"),
        index_dir=str(tmp_path_factory.mktemp("index")),
        require_aggregation=True,
    )
    status = indexer.ensure_indexed()
    assert status.needs_work == []
    return indexer
