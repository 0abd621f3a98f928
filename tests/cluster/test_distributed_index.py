"""What a Dask cluster indexes, against what one machine does: row for row, whatever goes wrong."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask.config
import pytest
from distributed import Client, LocalCluster

from dftindexd.cluster.build import BatchOrder
from dftindexd.cluster.driver import Build, Inline, Outcome, run_build
from dftindexd.cluster.store import IndexStore
from dftindexd.cluster.traces import traces_in
from dftindexd.compat import Indexer
from dftindexd.compat.dask import (
    DFTracerUtilsDaskWorkerPlugin,
    distributed_aggregate,
    distributed_aggregate_all,
    distributed_index,
)
from dftindexd.index.failpoints import VARIABLE
from dftindexd.index.model import TierConfig
from tests.end_to_end.made_traces import event_lines

from .making import answers, rows_of, table_rows, write_cut_trace, write_run


def _index(tmp_path: Path, run: Path, **options: Any) -> tuple[dict[str, Any], Indexer]:
    path = str(tmp_path / "index.dftindex")
    options.setdefault("aggregation_config", True)
    staging = str(tmp_path / "staging")
    result = distributed_index(str(run), index_path=path, local_staging=staging, **options)
    return result, Indexer(str(run), index_dir=path, require_aggregation=True)


def test_a_cluster_of_processes_answers_as_one_machine_does(
    tmp_path: Path,
    run: Path,
    embedded: dict[str, list[str]],
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result, indexer = _index(tmp_path, run, client=client)
    assert "read again" not in caplog.text
    assert indexer.resolve().needs_work == []
    assert answers(indexer) == embedded
    assert (result["total_files"], result["failed"]) == (len(os.listdir(run)), {})
    assert len(result["per_worker"]) == 2
    assert sum(result["per_worker"]) > result["total_files"], "no trace was cut in slices"
    assert os.listdir(tmp_path / "staging") == []


@pytest.mark.parametrize("partition", ["lpt", "round_robin"])
def test_without_a_client_it_is_done_here(
    tmp_path: Path, run: Path, embedded: dict[str, list[str]], partition: str
) -> None:
    result, indexer = _index(tmp_path, run, partition=partition, parallelism_per_worker=2)
    assert answers(indexer) == embedded
    assert result["per_worker"] == [result["total_files"]]


def test_artifacts_move_to_a_shared_directory_where_the_local_one_is_another(
    tmp_path: Path, run: Path, embedded: dict[str, list[str]], client: Client
) -> None:
    shared = tmp_path / "shared"
    options = {"partition": "round_robin", "flush_every_files": 1, "client": client}
    result, indexer = _index(tmp_path, run, shared_staging=str(shared), **options)
    assert answers(indexer) == embedded
    assert result["artifact_batches"] >= result["total_files"]
    assert os.listdir(shared) == []


def test_what_is_indexed_already_is_left_alone_and_what_changed_is_followed(
    tmp_path: Path, client: Client
) -> None:
    run = write_run(tmp_path / "run")
    _index(tmp_path, run, client=client)
    again, _ = _index(tmp_path, run, client=client)
    assert (again["artifact_batches"], again["per_worker"]) == (0, [])
    (run / "v1-1.pfw.gz").unlink()
    write_cut_trace(run / "cut.pfw.gz", 500, members=3)
    write_cut_trace(run / "new.pfw.gz", 300, members=2)
    result, indexer = _index(tmp_path, run, client=client)
    assert sum(result["per_worker"]) in (2, 3)  # one of two may be cut
    cold = Indexer(str(run), index_dir=str(tmp_path / "cold"), require_aggregation=True)
    cold.ensure_indexed()
    assert answers(indexer) == answers(cold)


def test_a_forced_build_counts_nothing_twice(
    tmp_path: Path, run: Path, embedded: dict[str, list[str]], client: Client
) -> None:
    for _ in range(2):
        result, indexer = _index(tmp_path, run, client=client, force_rebuild=True)
        assert result["artifact_batches"] > 0
        assert answers(indexer) == embedded


def test_progress_is_told_in_bytes(tmp_path: Path, run: Path, client: Client) -> None:
    seen: list[tuple[int, int, str]] = []
    _index(tmp_path, run, client=client, progress=lambda *told: seen.append(told))
    total = sum(path.stat().st_size for path in run.iterdir())
    assert {(whole, phase) for _, whole, phase in seen} == {(total, "Indexing")}
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


@contextmanager
def _mortal_worker(client: Client, tmp_path: Path, point: str) -> Iterator[None]:
    """Have one more worker, which does what the failpoint says, and is not started again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads=1"]
    folder = f"--local-directory={tmp_path / 'scratch'}"
    worker = subprocess.Popen(
        [*command, "--no-dashboard", folder, client.scheduler.address],
        env={**os.environ, VARIABLE: point},
        stderr=subprocess.DEVNULL,
    )
    try:
        client.wait_for_workers(3)
        yield
        assert worker.wait(60) == -9
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize("point", ["cluster:build:unit=kill#2", "cluster:build:flush=kill#2"])
def test_what_a_worker_did_not_finish_when_it_died_is_done_by_another(
    tmp_path: Path, run: Path, embedded: dict[str, list[str]], client: Client, point: str
) -> None:
    with _mortal_worker(client, tmp_path, point):
        result, indexer = _index(
            tmp_path, run, client=client, partition="round_robin", flush_every_files=1
        )
    assert result["failed"] == {}
    assert answers(indexer) == embedded


def test_a_trace_that_kills_every_worker_is_named_and_the_others_are_indexed(
    tmp_path: Path, run: Path
) -> None:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=":0",
            env={VARIABLE: "cluster:build:unit=kill@v1-2.pfw"},
        ) as cluster,
        Client(cluster) as own,
    ):
        result, indexer = _index(tmp_path, run, client=own)
    (path,) = result["failed"]
    assert path == str(run / "v1-2.pfw.gz")
    assert "KilledWorker" in result["failed"][path]
    assert indexer.resolve().needs_work == [path]


def test_a_trace_that_is_read_while_its_unit_of_time_changes_is_read_as_a_whole(
    tmp_path: Path, client: Client
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_cut_trace(run / "cut.pfw.gz", 2000, members=6, unit_in=1)
    result, indexer = _index(tmp_path, run, client=client)
    assert result["failed"] == {}
    cold = Indexer(str(run), index_dir=str(tmp_path / "cold"), require_aggregation=True)
    cold.ensure_indexed()
    assert answers(indexer) == answers(cold)


def test_the_plugin_loads_the_kernel_and_sets_the_threads(client: Client) -> None:
    from dftindexd.cluster.build import worker_threads
    from dftindexd.index.trace.kernel_cache import is_loaded

    client.register_plugin(DFTracerUtilsDaskWorkerPlugin(threads=3))
    assert set(client.run(worker_threads).values()) == {3}
    assert set(client.run(is_loaded).values()) == {True}


@pytest.mark.parametrize("with_client", [True, False])
def test_aggregating_gives_the_tables_of_one_machine(
    tmp_path: Path,
    run: Path,
    embedded: dict[str, list[str]],
    client: Client,
    with_client: bool,
) -> None:
    options: dict[str, Any] = {
        "client": client if with_client else None,
        "index_dir": str(tmp_path / "index"),
    }
    for kind in ("events", "profiles", "system"):
        table = distributed_aggregate(str(run), data_type=kind, **options)
        assert table_rows(table) == embedded[kind]
    together = distributed_aggregate_all(str(run), time_granularity=0.5, **options)
    assert {f"fused {kind}": table_rows(table) for kind, table in together.items()} == {
        name: rows for name, rows in embedded.items() if name.startswith("fused")
    }


class _Noted(Inline):
    """Runs calls here, and keeps which traces each share has."""

    workers = 2

    def __init__(self) -> None:
        self.shares: list[set[str]] = []

    def run(
        self,
        call: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        note: Callable[[str, int], None],
    ) -> Iterator[tuple[int, Outcome]]:
        """See the base."""
        for order, *_ in arguments:
            if isinstance(order, BatchOrder):
                self.shares.append({os.path.basename(unit.path) for unit in order.units})
        return super().run(call, arguments, note)


def _write_overlapping(run: Path) -> None:
    """Write several traces of each process, whose events are at the same times."""
    run.mkdir()
    for pid in (1, 2, 3):
        for number, size in enumerate((90, 40, 300)):
            lines = event_lines(size, pid=pid)
            name = f"{number}-{pid}.pfw" + ".gz" * (number > 0)
            (run / name).write_bytes(gzip.compress(lines) if number else lines)
    mixed = event_lines(50, pid=3) + event_lines(60, pid=1)  # a process that others are of, too
    (run / "mixed.pfw.gz").write_bytes(gzip.compress(mixed))


def test_a_process_is_one_worker_s_and_keys_of_several_traces_are_one_row(
    tmp_path: Path, client: Client
) -> None:
    run = tmp_path / "run"
    _write_overlapping(run)
    table = distributed_aggregate(str(run), client=client, index_dir=str(tmp_path / "index"))
    cold = Indexer(str(run), index_dir=str(tmp_path / "cold"), require_aggregation=True)
    cold.ensure_indexed()
    assert table_rows(table) == rows_of(cold.iter_arrow_dfanalyzer("events"))
    keys = [(row["pid"], row["func_name"], row["time_range"]) for row in table.to_pylist()]
    assert len(keys) == len(set(keys))
    counts: Counter[int] = Counter()
    for row in table.to_pylist():
        counts[row["pid"]] += row["count"]
    assert counts == {1: 490, 2: 430, 3: 480}

    traces = traces_in(str(run))
    executor = _Noted()
    build = Build(
        root=traces.root,
        stamps=traces.stamps,
        tiers=TierConfig().normal(),
        local_staging=str(tmp_path / "staging"),
        shared_staging=str(tmp_path / "staging"),
        partition="process",
    )
    run_build(build, IndexStore(str(tmp_path / "own"), traces.root), executor)
    homes = [{name[2] for name in share if name[1] == "-"} for share in executor.shares]
    assert sorted(pid for home in homes for pid in home) == ["1", "2", "3"]


@pytest.mark.parametrize("folder", ["v0", "v2"])
def test_real_traces_answer_as_on_one_machine(
    tmp_path: Path, shared_traces: Path, client: Client, folder: str
) -> None:
    files = sorted(map(str, (shared_traces / folder).rglob("*.pfw*")))
    distributed_index(
        files=files,
        index_path=str(tmp_path / "index"),
        local_staging=str(tmp_path / "staging"),
        client=client,
        aggregation_config=True,
    )
    cold = Indexer(files=files, index_dir=str(tmp_path / "cold"), require_aggregation=True)
    cold.ensure_indexed()
    ours = Indexer(files=files, index_dir=str(tmp_path / "index"), require_aggregation=True)
    assert ours.resolve().needs_work == cold.resolve().needs_work
    for kind in ("events", "profiles", "system"):
        assert rows_of(ours.iter_arrow_dfanalyzer(kind)) == rows_of(
            cold.iter_arrow_dfanalyzer(kind)
        )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"index_path": ""}, "index_path is required"),
        ({"local_staging": ""}, "local_staging is required"),
        ({"directory": ""}, "either directory or files is required"),
        ({"partition": "random"}, "unknown partition=random"),
        ({"flush_every_files": -1}, "flush_every_files must be at least 0, not -1"),
    ],
)
def test_arguments_that_are_missing_or_out_of_range_are_named(
    tmp_path: Path, run: Path, options: dict[str, object], text: str
) -> None:
    full = {"directory": str(run), "index_path": str(tmp_path), "local_staging": str(tmp_path)}
    with pytest.raises(ValueError, match=text):
        distributed_index(**{**full, **options})  # type: ignore[arg-type]


def test_a_missing_file_is_an_error_and_no_files_are_none(tmp_path: Path) -> None:
    paths: dict[str, Any] = {
        "index_path": str(tmp_path / "index"),
        "local_staging": str(tmp_path / "staging"),
    }
    with pytest.raises(FileNotFoundError):
        distributed_index(files=[str(tmp_path / "gone.pfw")], **paths)
    result = distributed_index(files=[], **paths)
    assert (result["total_files"], result["per_worker"]) == (0, [])


def test_without_dask_the_import_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "import dftindexd.compat\n"
        "try:\n    import dftindexd.compat.dask\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (
        done.stdout.strip()
        == "dftindexd.compat.dask needs dask.distributed: install dftindexd[dask]"
    )


def test_an_indexer_follows_what_lies_in_the_directory_and_keeps_what_lies_below(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    (run / "below").mkdir(parents=True)
    write_cut_trace(run / "a.pfw.gz", 100, members=2)
    write_cut_trace(run / "below" / "b.pfw.gz", 200, members=2)
    result, indexer = _index(tmp_path, run)
    assert result["total_files"] == 2
    write_cut_trace(run / "c.pfw.gz", 50, members=1)
    assert len(indexer.ensure_indexed().ready) == 2
    again, _ = _index(tmp_path, run)
    assert (again["total_files"], again["artifact_batches"]) == (3, 0)
