"""A run to index, its index made on one machine, and a cluster of processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from dftindexd.compat import Indexer

from .making import answers, write_run


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test off the user's state directory."""
    monkeypatch.setenv("DFTINDEXD_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of traces."""
    return write_run(tmp_path_factory.mktemp("cluster") / "run")


@pytest.fixture(scope="session")
def embedded(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What an index of *run* answers that one machine made."""
    index_dir = str(tmp_path_factory.mktemp("embedded"))
    indexer = Indexer(str(run), index_dir=index_dir, require_aggregation=True)
    assert indexer.ensure_indexed().needs_work == []
    found = answers(indexer)
    assert all(found[kind] for kind in ("events", "system", "fused system", "file"))
    return found


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A cluster of two worker processes."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client
