"""What may go wrong in the midst of a distributed build: each ends with the right index, or with an
error that names what is wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from dftindexd.cluster.build import BatchOrder
from dftindexd.cluster.dask_executor import DaskExecutor
from dftindexd.cluster.driver import Build, Done, Inline, Outcome, run_build
from dftindexd.cluster.store import IndexStore
from dftindexd.cluster.traces import traces_in
from dftindexd.compat import AggregationConfig, DFTUtilsIndexerError, Indexer, SstArtifactRegistry
from dftindexd.compat.dask import distributed_index
from dftindexd.index.model import TierConfig
from tests.disk.small_disk import small_disk

from .making import answers, write_cut_trace, write_run
from .test_primitives import Coordinator


def _index(run: Path, tmp_path: Path, **options: Any) -> tuple[dict[str, Any], Indexer]:
    path = str(tmp_path / "index.dftindex")
    options.setdefault("local_staging", str(tmp_path / "staging"))
    result = distributed_index(str(run), index_path=path, aggregation_config=True, **options)
    return result, Indexer(str(run), index_dir=path, require_aggregation=True)


def _cold(run: Path, tmp_path: Path) -> dict[str, list[str]]:
    indexer = Indexer(str(run), index_dir=str(tmp_path / "cold"), require_aggregation=True)
    indexer.ensure_indexed()
    return answers(indexer)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with small_disk(tmp_path / "small", 256 << 10) as folder:
        yield folder


def test_a_full_staging_directory_is_named_and_room_is_all_that_is_missing(
    run: Path,
    embedded: dict[str, list[str]],
    tmp_path: Path,
    disk: Path,
    client: Client,
) -> None:
    (disk / "ballast").write_bytes(b"x" * (250 << 10))
    options: dict[str, Any] = {"client": client, "local_staging": str(disk / "staging")}
    result, indexer = _index(run, tmp_path, **options)
    assert set(result["failed"]) == {str(path) for path in run.iterdir()}
    assert all(str(disk) in reason for reason in result["failed"].values())
    assert indexer.resolve().ready == []
    (disk / "ballast").unlink()
    result, indexer = _index(run, tmp_path, **options)
    assert result["failed"] == {}
    assert answers(indexer) == embedded


def test_two_drivers_of_one_index_at_once_both_end_well(
    run: Path, embedded: dict[str, list[str]], tmp_path: Path
) -> None:
    def index(number: int) -> dict[str, Any]:
        staging = str(tmp_path / f"staging-{number}")
        return _index(run, tmp_path, local_staging=staging, flush_every_files=1)[0]

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(index, range(2)))
    assert [one["failed"] for one in done] == [{}, {}]
    assert answers(_index(run, tmp_path)[1]) == embedded


def test_artifacts_of_other_tiers_lie_beside_the_first_and_change_no_answer(
    run: Path, embedded: dict[str, list[str]], tmp_path: Path
) -> None:
    coordinator = Coordinator(run, tmp_path)
    coordinator.ingest(*coordinator.build())
    fine = AggregationConfig(time_interval_ms=1.0)
    coordinator.ingest(*coordinator.build(aggregation_config=fine, checkpoint_size=1 << 16))
    assert answers(coordinator.indexer()) == embedded
    other = Indexer(str(run), index_dir=coordinator.path, require_aggregation=fine)
    cold = Indexer(str(run), index_dir=str(tmp_path / "fine"), require_aggregation=fine)
    assert cold.ensure_indexed().needs_work == []
    assert answers(other) == answers(cold) != embedded


class _Meddling(Inline):
    """Runs calls here; *meddle* is called before anything is built."""

    workers = 3

    def __init__(self, meddle: Callable[[], object]) -> None:
        self._meddle = meddle

    def run(
        self,
        call: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        note: Callable[[str, int], None],
    ) -> Iterator[tuple[int, Outcome]]:
        """See the base."""
        if arguments and isinstance(arguments[0][0], BatchOrder):
            self._meddle()
            self._meddle = bool
        return super().run(call, arguments, note)


def _meddled(run: Path, tmp_path: Path, meddle: Callable[[], object]) -> tuple[Done, Indexer]:
    traces = traces_in(str(run))
    staging = str(tmp_path / "staging")
    build = Build(
        root=traces.root,
        stamps=traces.stamps,
        tiers=TierConfig().normal(),
        local_staging=staging,
        shared_staging=staging,
        whole_root=True,
    )
    path = str(tmp_path / "index.dftindex")
    done = run_build(build, IndexStore(path, traces.root), _Meddling(meddle))
    return done, Indexer(str(run), index_dir=path, require_aggregation=True)


def test_a_trace_that_is_replaced_between_plan_and_build_is_indexed_as_it_is_then(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run")

    def replace() -> None:
        for name, events in (("cut.pfw.gz", 700), ("v1-2.pfw.gz", 33)):
            write_cut_trace(run / "new", events, members=3)
            (run / "new").rename(run / name)

    done, indexer = _meddled(run, tmp_path, replace)
    assert done.failed == {}
    assert answers(indexer) == _cold(run, tmp_path)


def test_a_trace_that_goes_between_plan_and_build_is_named_and_the_others_are_indexed(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run")
    gone = {str(run / name) for name in ("cut.pfw.gz", "v2-1.pfw.gz")}

    def remove() -> None:
        for path in gone:
            os.unlink(path)

    done, indexer = _meddled(run, tmp_path, remove)
    assert set(done.failed) == gone
    assert all("gone" in reason for reason in done.failed.values())
    assert answers(indexer) == _cold(run, tmp_path)


def test_an_empty_directory_has_an_empty_index_also_where_there_was_one(
    tmp_path: Path, client: Client
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    result, _ = _index(run, tmp_path, client=client)
    assert (result["total_files"], result["per_worker"], result["failed"]) == (0, [], {})
    write_cut_trace(run / "a.pfw.gz", 20, members=1)
    _index(run, tmp_path, client=client)
    (run / "a.pfw.gz").unlink()
    result, _ = _index(run, tmp_path, client=client)
    assert (result["total_files"], result["artifact_batches"]) == (0, 0)
    with IndexStore(result["index_path"], os.fsencode(run)).open() as writer:
        assert dict(writer.registry.sets) == {}


def test_one_small_trace_is_one_worker_s_and_the_others_have_nothing_to_do(
    tmp_path: Path, client: Client
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_cut_trace(run / "a.pfw.gz", 20, members=1)
    result, indexer = _index(run, tmp_path, client=client)
    assert sorted(result["per_worker"]) == [0, 1]
    assert answers(indexer) == _cold(run, tmp_path)


def test_an_artifact_that_is_damaged_on_its_way_is_named(run: Path, tmp_path: Path) -> None:
    coordinator = Coordinator(run, tmp_path)
    artifacts = coordinator.build()
    path = next(str(one["aggregation_sst"]) for one in artifacts if one["aggregation_sst"])
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(data)
    registry = SstArtifactRegistry()
    for one in artifacts:
        registry.append(one)
    with pytest.raises(DFTUtilsIndexerError, match=f"{path} is damaged"):
        coordinator.database.bulk_ingest(registry)
    assert coordinator.indexer().resolve().ready == []


def test_a_call_whose_worker_dies_while_there_is_no_other_is_run_by_the_next(
    tmp_path: Path,
) -> None:
    died = tmp_path / "died"

    def die_once(_note: Callable[[str, int], None]) -> str:
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as own,
    ):
        outcomes = list(DaskExecutor(own).run(die_once, [(), ()], lambda *_: None))
    assert sorted((number, one.result) for number, one in outcomes) == [(0, "done"), (1, "done")]
