"""A cluster whose coordinator is a running daemon: the result is that of one machine, and the
daemon neither reads again what came, nor takes in what it should not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from distributed import Client

from dftindexd.compat import (
    DFTUtilsIndexerError,
    IndexDatabase,
    Indexer,
    SstArtifactRegistry,
    build_sst_batch,
)
from dftindexd.compat.dask import distributed_aggregate, distributed_index
from dftindexd.index.artifacts.batch import read_metadata, write_metadata
from dftindexd.index.failpoints import VARIABLE
from dftindexd.protocol.cluster_requests import ClusterHoldRequest
from dftindexd.protocol.index_requests import IndexSetsRequest
from tests.end_to_end.made_traces import event_lines
from tests.end_to_end.running import Daemon, running_daemon, wait_for_exit

from .making import answers, table_rows, write_cut_trace, write_run

Artifacts = dict[str, str | None]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that serves the runs of all tests of this module, and takes no silence for an end:
    that is a commit, which no test could tell from one of its own."""
    with running_daemon(tmp_path_factory.mktemp("served"), "--settle", "600") as running:
        yield running


@pytest.fixture
def _served(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFTINDEXD_SOCKET", str(daemon.socket))


@pytest.fixture
def held(daemon: Daemon, tmp_path: Path, _served: None) -> Path:
    """A run below the daemon's root, which it has not read, and does not for a while."""
    written = write_run(tmp_path / "run")
    target = daemon.traces / tmp_path.name
    _hold(daemon, target, os.listdir(written), 600.0)
    written.rename(target)
    return target


def _hold(daemon: Daemon, run: Path, names: list[str], seconds: float) -> None:
    run_name = run.name
    encoded = tuple(os.fsencode(f"{run_name}/{name}") for name in names)
    directory = os.fsencode(daemon.traces)
    daemon.client.request(ClusterHoldRequest(directory=directory, names=encoded, seconds=seconds))


def _jobs(daemon: Daemon) -> int:
    """Return how many jobs the daemon's own workers had."""
    metrics = daemon.client.metrics()
    found = re.search(r"^dftindexd_parse_seconds_count (\S+)$", metrics, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def _sets(daemon: Daemon, run: Path) -> list[dict[str, Any]]:
    """Return what the store has of the traces of *run*, each with its version."""
    return daemon.client.fetch(IndexSetsRequest(directory=os.fsencode(run))).to_pylist()


def _alone(run: Path, tmp_path: Path) -> dict[str, list[str]]:
    """Return what an index of one machine answers that no daemon has to do with."""
    indexer = Indexer(str(run), index_dir=str(tmp_path / "alone"), require_aggregation=True)
    assert indexer.ensure_indexed().needs_work == []
    return answers(indexer)


def _served_answers(run: Path) -> dict[str, list[str]]:
    indexer = Indexer(str(run), require_aggregation=True)
    assert indexer.resolve().needs_work == []
    return answers(indexer)


def test_the_daemon_takes_in_what_a_cluster_read_and_reads_nothing_itself(
    daemon: Daemon, held: Path, tmp_path: Path, client: Client
) -> None:
    store = daemon.client.status().roots[0].store
    before = _jobs(daemon)
    seen: list[tuple[int, int, str]] = []
    result = distributed_index(
        str(held),
        index_path=store,
        local_staging=str(tmp_path / "staging"),
        client=client,
        aggregation_config=True,
        progress=lambda *told: seen.append(told),
    )
    assert (result["failed"], result["index_path"]) == ({}, store)
    assert sum(result["per_worker"]) > result["total_files"], "no trace was cut in slices"
    assert _served_answers(held) == _alone(held, tmp_path)
    daemon.client.sync(held)
    assert _jobs(daemon) == before
    assert seen[-1][0] == sum(path.stat().st_size for path in held.iterdir())
    assert os.listdir(tmp_path / "staging") == []
    states = {row["state"] for row in daemon.listed(held)}
    assert states <= {"indexed", "growing"}


def test_what_grows_after_it_was_taken_in_is_followed_by_the_daemon(
    daemon: Daemon, held: Path, tmp_path: Path, client: Client
) -> None:
    options: dict[str, Any] = {"local_staging": str(tmp_path / "staging"), "client": client}
    distributed_index(str(held), aggregation_config=True, **options)
    with (held / "plain.pfw").open("ab") as trace:
        trace.write(event_lines(7, pid=9))
    write_cut_trace(held / "new.pfw.gz", 300, members=2)
    (held / "v1-1.pfw.gz").unlink()
    daemon.client.sync(held)
    again = distributed_index(str(held), aggregation_config=True, **options)
    assert again["artifact_batches"] == 0
    assert _served_answers(held) == _alone(held, tmp_path)


def test_what_the_daemon_keeps_up_to_date_beyond_the_build_it_builds_itself(
    daemon: Daemon, held: Path, tmp_path: Path, client: Client
) -> None:
    distributed_index(str(held), local_staging=str(tmp_path / "staging"), client=client)
    daemon.client.sync(held)
    assert _served_answers(held) == _alone(held, tmp_path)


def test_aggregating_on_a_cluster_gives_the_served_index_what_it_lacks(
    daemon: Daemon, held: Path, tmp_path: Path, client: Client
) -> None:
    before = _jobs(daemon)
    alone = _alone(held, tmp_path)
    for kind in ("events", "profiles", "system"):
        assert (
            table_rows(distributed_aggregate(str(held), data_type=kind, client=client))
            == (alone[kind])
        )
    assert _jobs(daemon) == before


class _Driver:
    """Calls the primitives one by one for a run that the daemon serves."""

    def __init__(self, daemon: Daemon, run: Path, staging: Path) -> None:
        self.database = IndexDatabase(daemon.client.status().roots[0].store)
        self.files = sorted(str(path) for path in run.iterdir())
        self.ids = self.database.register_files(self.files)
        self._staging = str(staging)

    def build(self, **options: Any) -> list[Artifacts]:
        """Build all files."""
        artifacts, _ = build_sst_batch(
            self.files,
            self.ids,
            self._staging,
            "batch",
            build_manifest=True,
            aggregation_config=True,
            parallelism=1,
            **options,
        )
        return artifacts

    def ingest(self, artifacts: list[Artifacts], **options: Any) -> None:
        """Ingest them."""
        registry = SstArtifactRegistry()
        for one in artifacts:
            registry.append(one)
        self.database.bulk_ingest(registry, **options)


def test_the_primitives_work_by_the_daemon_and_what_comes_twice_changes_nothing(
    daemon: Daemon, held: Path, tmp_path: Path
) -> None:
    before = _jobs(daemon)
    driver = _Driver(daemon, held, tmp_path / "staging")
    assert driver.database.register_files(driver.files) == driver.ids
    assert {row["state"] for row in daemon.listed(held)} <= {"quarantined", "queued"}
    first, second = driver.build(flush_every_files=2), driver.build()
    driver.ingest(first)
    driver.database.write_agg_file_markers(driver.ids)
    before_again = _sets(daemon, held)
    driver.ingest(first)
    assert _sets(daemon, held) == before_again
    driver.ingest([*second, *first])
    assert _served_answers(held) == _alone(held, tmp_path)
    assert _jobs(daemon) == before
    with pytest.raises(DFTUtilsIndexerError, match="a daemon serves"):
        driver.ingest(first, skip_cfs=["aggregation"])


def _path_of(artifacts: list[Artifacts], name: str) -> Path:
    return Path(next(path for one in artifacts if (path := one[name])))


def _made_a_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def _made_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "happens", "text"),
    [
        ("aggregation_sst", _made_a_link, "is a link"),
        ("metadata_sst", _made_a_link, "is a link"),
        ("aggregation_sst", _made_a_pipe, "is no regular file"),
        ("aggregation_sst", lambda path: path.chmod(0o666), "can be written by others"),
        ("metadata_sst", lambda path: path.chmod(0o620), "can be written by others"),
        ("manifest_sst", _cut_short, r"has \d+ of \d+ bytes"),
        ("manifest_sst", _flipped, "is damaged"),
        ("metadata_sst", _flipped, "is damaged"),
        ("manifest_sst", Path.unlink, "is missing"),
    ],
)
def test_an_artifact_that_is_not_as_it_should_be_is_refused_by_its_name(
    daemon: Daemon,
    held: Path,
    tmp_path: Path,
    name: str,
    happens: Callable[[Path], None],
    text: str,
) -> None:
    driver = _Driver(daemon, held, tmp_path / "staging")
    before = _sets(daemon, held)
    artifacts = driver.build()
    path = _path_of(artifacts, name)
    happens(path)
    with pytest.raises(DFTUtilsIndexerError, match=f"{re.escape(str(path))} {text}"):
        driver.ingest(artifacts)
    assert _sets(daemon, held) == before
    store = Path(daemon.client.status().roots[0].store)
    assert list((store / "staging").iterdir()) == []
    assert list((store / "copies").glob("*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_artifact_of_another_user_is_refused(daemon: Daemon, held: Path, tmp_path: Path) -> None:
    driver = _Driver(daemon, held, tmp_path / "staging")
    artifacts = driver.build()
    os.chown(_path_of(artifacts, "aggregation_sst"), 12345, -1)
    with pytest.raises(DFTUtilsIndexerError, match="belongs to user 12345"):
        driver.ingest(artifacts)


def test_rows_of_other_segments_than_the_batch_s_own_are_refused(
    daemon: Daemon, held: Path, tmp_path: Path
) -> None:
    driver = _Driver(daemon, held, tmp_path / "staging")
    artifacts, others = driver.build(), driver.build()
    path = str(_path_of(artifacts, "metadata_sst"))
    foreign = read_metadata(str(_path_of(others, "metadata_sst"))).files
    write_metadata(path, msgspec.structs.replace(read_metadata(path), files=foreign))
    mixed = [{**one, "metadata_sst": path} for one in others[:1]] + others[1:]
    with pytest.raises(DFTUtilsIndexerError, match="none of its batch"):
        driver.ingest(mixed)


def test_traces_of_elsewhere_are_refused(daemon: Daemon, held: Path, tmp_path: Path) -> None:
    driver = _Driver(daemon, held, tmp_path / "staging")
    elsewhere = write_run(tmp_path / "elsewhere")
    driver.files = sorted(str(path) for path in elsewhere.iterdir())
    with pytest.raises(DFTUtilsIndexerError, match="does not lie below"):
        driver.ingest(driver.build())


def test_who_waits_for_held_traces_waits_until_the_hold_ends(daemon: Daemon, held: Path) -> None:
    _hold(daemon, held, os.listdir(held), 600.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(daemon.client.sync, held)
        assert {row["state"] for row in daemon.listed(held)} <= {"queued"}
        assert not waiting.done()
        _hold(daemon, held, os.listdir(held), 0.0)
        assert waiting.result(60).problems == ()
    assert {row["state"] for row in daemon.listed(held)} <= {"indexed", "growing"}


def test_a_daemon_that_is_killed_while_it_takes_in_is_waited_for(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "traces" / "run")
    monkeypatch.setenv("DFTINDEXD_SOCKET", str(tmp_path / "s"))
    monkeypatch.setenv(VARIABLE, "store:ingest:moved=kill;worker:parse:before=sleep:600")
    with ThreadPoolExecutor(1) as pool:
        with running_daemon(tmp_path) as first:
            indexing = pool.submit(
                distributed_index,
                str(run),
                local_staging=str(tmp_path / "staging"),
                client=client,
                aggregation_config=True,
            )
            assert wait_for_exit(first.process) == -9
        monkeypatch.setenv(VARIABLE, "worker:parse:before=sleep:600")
        with running_daemon(tmp_path):
            monkeypatch.delenv(VARIABLE)
            assert indexing.result(60)["failed"] == {}
            assert _served_answers(run) == _alone(run, tmp_path)
