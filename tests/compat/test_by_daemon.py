"""An indexer that a daemon serves answers exactly as one that works by itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.random_read import write_one_member
from dftindexd.compat import (
    AggregationConfig,
    CheckpointIndexer,
    DFTUtilsIndexerError,
    Indexer,
    StatisticsQueryUtility,
    TraceReader,
)
from dftindexd.protocol.index_requests import IndexSetsRequest
from tests.end_to_end.running import Daemon, running_daemon

from .writing import count, table_of, write_trace

GROUPS = ["func_name", "file_name", "time_range"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that watches ``traces``, with runs below it."""
    folder = tmp_path_factory.mktemp("daemon")
    for run, pids in (("run1", (1, 2)), ("run2", (2, 3)), ("run1/deeper", (4,))):
        (folder / "traces" / run).mkdir(parents=True, exist_ok=True)
        for pid in pids:
            suffix = ".pfw" if pid % 2 else ".pfw.gz"
            write_trace(folder / "traces" / run / f"t{pid}{suffix}", 20 * pid, pid=pid)
    with running_daemon(folder) as running:
        running.client.sync()
        yield running


@pytest.fixture(autouse=True)
def _served(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFTINDEXD_SOCKET", str(daemon.socket))


@pytest.fixture
def pair(daemon: Daemon, tmp_path: Path) -> tuple[Indexer, Indexer]:
    """An indexer of one run that the daemon serves, and one that works by itself."""
    directory = str(daemon.traces / "run1")
    served = Indexer(directory, require_aggregation=True)
    alone = Indexer(directory, require_aggregation=True, index_dir=str(tmp_path / "index"))
    assert alone.ensure_indexed().needs_work == []
    return served, alone


def _everything(indexer: Indexer) -> dict[str, Any]:
    """Return all that an indexer tells, by what was asked; file ids are each store's own."""
    paths, pids = indexer.query_file_info()
    told: dict[str, Any] = {
        "pids": {paths[number]: found for number, found in pids.items()},
        "all pids": {paths[one]: found for one, found in indexer.query_all_file_pids().items()},
        "one's pids": {path: indexer.query_file_pids(one) for one, path in paths.items()},
        "chunks": {
            path: indexer.get_checkpoint_indexer(path).get_checkpoints() for path in paths.values()
        },
        "lines": {
            path: indexer.get_checkpoint_indexer(path).get_num_lines() for path in paths.values()
        },
    }
    for kind in ("file", "host", "string", "proc"):
        told[kind] = indexer.get_hash_table(kind)
    for kind in ("events", "profiles", "system"):
        told[f"stored {kind}"] = _rows(indexer.iter_aggregation(kind))
        told[f"table {kind}"] = _rows(indexer.iter_arrow_dfanalyzer(kind))
    for name, options in {
        "all": {},
        "query": {"query": 'pid in [1, 2] and cat == "posix"'},
        "grouped": {"group_by": GROUPS, "time_granularity": 3.0, "time_resolution": 1e3},
    }.items():
        tables = indexer.iter_arrow_dfanalyzer_all(**options)  # type: ignore[arg-type]
        told |= {f"{name} {kind}": _rows(batches) for kind, batches in tables.items()}
    return told


def _rows(batches: Any) -> tuple[pa.Schema | None, list[dict[str, Any]]]:
    found = list(batches)
    table = table_of(found) if found else None
    return (table.schema, table.to_pylist()) if table is not None else (None, [])


def test_every_answer_is_the_same_row_for_row(pair: tuple[Indexer, Indexer]) -> None:
    served, alone = pair
    by_daemon, by_itself = _everything(served), _everything(alone)
    assert by_daemon.keys() == by_itself.keys()
    for what, answer in by_itself.items():
        assert by_daemon[what] == answer, what
    assert by_itself["grouped events"][1]
    assert served.resolve().index_path != alone.resolve().index_path


def test_the_status_names_the_same_files_and_the_daemons_store(
    daemon: Daemon, pair: tuple[Indexer, Indexer]
) -> None:
    served, alone = (indexer.ensure_indexed() for indexer in pair)
    assert served.ready == alone.ready
    assert (served.total_files, served.needs_work, served.missing) == (2, [], {})
    assert served.aggregation_interval_us == 5_000_000
    assert served.index_path == daemon.client.status().roots[0].store


def test_an_indexer_of_files_is_of_these_alone(daemon: Daemon, tmp_path: Path) -> None:
    files = [str(daemon.traces / name) for name in ("run1/t2.pfw.gz", "run2/t2.pfw.gz")]
    served = Indexer(files=files, require_aggregation=True)
    alone = Indexer(files=files, require_aggregation=True, index_dir=str(tmp_path / "index"))
    assert alone.ensure_indexed().ready == served.ensure_indexed().ready == files
    assert _everything(served) == _everything(alone)
    assert served.resolve().index_path == daemon.client.status().roots[0].store


def test_a_new_a_changed_and_a_deleted_trace_are_followed(daemon: Daemon) -> None:
    folder = daemon.traces / "changing"
    folder.mkdir()
    write_trace(folder / "a.pfw", 10)
    indexer = Indexer(str(folder), require_aggregation=True)
    assert indexer.ensure_indexed().needs_work == []
    assert count(indexer.iter_aggregation()) == 10
    write_trace(folder / "a.pfw", 15)
    write_trace(folder / "b.pfw", 7)
    indexer.build()
    assert indexer.resolve().needs_work == []
    assert count(indexer.iter_aggregation()) == 22
    (folder / "a.pfw").unlink()
    indexer.build()
    assert count(indexer.iter_aggregation()) == 7


def test_a_forced_build_parses_these_traces_anew_and_no_others(daemon: Daemon) -> None:
    def versions() -> dict[str, int]:
        rows = daemon.client.fetch(IndexSetsRequest(directory=root, names=names)).to_pylist()
        return {row["name"].decode(): row["generation"] for row in rows}

    root, names = bytes(daemon.traces), (b"run1/t1.pfw", b"run1/deeper/t4.pfw.gz")
    before = versions()
    Indexer(str(daemon.traces / "run1"), force_rebuild=True).build()
    after = versions()
    assert after["run1/t1.pfw"] > before["run1/t1.pfw"]
    assert after["run1/deeper/t4.pfw.gz"] == before["run1/deeper/t4.pfw.gz"]


def test_what_the_daemon_does_not_keep_is_built_without_it(daemon: Daemon, tmp_path: Path) -> None:
    config = AggregationConfig(time_interval_ms=1000.0)
    indexer = Indexer(str(daemon.traces / "run1"), require_aggregation=config)
    status = indexer.ensure_indexed()
    assert (status.needs_work, status.aggregation_interval_us) == ([], 1_000_000)
    assert status.index_path.startswith(str(tmp_path / "state"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_trace(elsewhere / "a.pfw", 3)
    unwatched = Indexer(str(elsewhere), require_aggregation=True)
    assert unwatched.ensure_indexed().index_path.startswith(str(tmp_path / "state"))
    assert count(unwatched.iter_aggregation()) == 3


def test_checkpoints_of_the_daemons_size_come_from_it(daemon: Daemon) -> None:
    path = str(daemon.traces / "run1" / "t2.pfw.gz")
    with CheckpointIndexer(path, checkpoint_size=32 << 20) as served:
        assert served.index_path == daemon.client.status().roots[0].store
        assert served.exists()
        assert not served.need_rebuild()
        assert served.get_num_lines() == 43
        assert served.find_checkpoint(0) == served.get_checkpoints()[0]
    with CheckpointIndexer(path) as alone:
        assert alone.need_rebuild()


def test_a_reader_is_told_where_to_read(daemon: Daemon, tmp_path: Path) -> None:
    index = str(tmp_path / "index")
    Indexer(str(daemon.traces / "run1"), index_dir=index).ensure_indexed()
    for name in ("t1.pfw", "t2.pfw.gz"):
        path = str(daemon.traces / "run1" / name)
        served, alone = TraceReader(path), TraceReader(path, index)
        assert served.has_index
        assert alone.has_index
        for query in (None, "ts > 9000000", 'name == "nothing"'):
            assert served.read_lines(query=query) == alone.read_lines(query=query)
            assert pa.table(served.read_arrow(query=query)) == pa.table(
                alone.read_arrow(query=query)
            )
        assert served.read_lines(3, 5) == alone.read_lines(3, 5)
        assert served.get_num_lines() == alone.get_num_lines() == served.num_lines
        assert served.get_max_bytes() == alone.get_max_bytes()
        late = {"query": "ts > 1000000000"}
        assert served.get_view_chunks(late) == alone.get_view_chunks(late)
        for kind in ("summary", "names", "pid_tids"):
            ask = StatisticsQueryUtility()
            assert ask(path, kind) == ask(path, kind, index_dir=index)
    everything = TraceReader(str(daemon.traces / "run1"))
    assert everything.has_index
    assert len(everything.read_json(query='name == "read"')) == 20 + 40 + 80


def test_a_reader_begins_in_the_midst_of_a_large_member(daemon: Daemon, tmp_path: Path) -> None:
    folder = daemon.traces / "large"
    folder.mkdir()
    path = folder / "one.pfw.gz"
    write_one_member(bytes(path), 40)
    plain = TraceReader(str(path), str(tmp_path))
    assert not plain.has_index
    daemon.client.sync(folder)
    served = TraceReader(str(path))
    assert served.has_index
    assert len(served.get_view_chunks()["chunks"]) > 1
    last = served.get_num_lines()
    begin = served.get_max_bytes() - 5000
    assert served.read_lines(last - 9) == plain.read_lines(last - 9)
    assert served.read_lines(start_byte=begin) == plain.read_lines(start_byte=begin)
    exact = [one.read_raw(0, 0, begin, begin + 99, line_aligned=False) for one in (served, plain)]
    assert b"".join(exact[0]) == b"".join(exact[1])
    assert len(b"".join(exact[0])) == 99


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda one: one.iter_arrow_dfanalyzer(query="pid =="), ValueError, r"\w"),
        (lambda one: one.iter_arrow_dfanalyzer(query="nonsense == 1"), ValueError, "nonsense"),
        (lambda one: one.iter_arrow_dfanalyzer_all(group_by=["x"]), ValueError, "x"),
        (lambda one: one.get_hash_table("files"), ValueError, "type must be"),
    ],
)
def test_bad_input_is_refused_in_the_same_words(
    ask: Callable[[Indexer], object],
    error: type[Exception],
    words: str,
    pair: tuple[Indexer, Indexer],
) -> None:
    messages = []
    for indexer in pair:
        with pytest.raises(error, match=words) as caught:
            ask(indexer)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_trace_that_the_daemon_does_not_know_yet_is_warned_of(daemon: Daemon) -> None:
    folder = daemon.traces / "late"
    folder.mkdir()
    write_trace(folder / "a.pfw", 10)
    indexer = Indexer(str(folder), require_aggregation=True)
    indexer.ensure_indexed()
    missing = Indexer(files=[str(folder / "a.pfw"), str(folder / "b.pfw")])
    with pytest.warns(RuntimeWarning, match=r"1 of 2 traces are not in .* such as .*b\.pfw"):
        assert count(missing.iter_aggregation()) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count(indexer.iter_aggregation()) == 10


def test_a_daemon_that_dies_leaves_its_store_to_who_works_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_daemon(tmp_path) as daemon:
        monkeypatch.setenv("DFTINDEXD_SOCKET", str(daemon.socket))
        monkeypatch.setenv("DFTINDEXD_STATE_DIR", str(daemon.state))
        write_trace(daemon.traces / "a.pfw", 10)
        indexer = Indexer(str(daemon.traces), require_aggregation=True)
        assert indexer.ensure_indexed().needs_work == []
        before = _everything(indexer)
        config = AggregationConfig(time_interval_ms=1000.0)
        with pytest.raises(DFTUtilsIndexerError, match="does not watch these traces with these"):
            Indexer(str(daemon.traces), require_aggregation=config).build()
        daemon.process.kill()
        daemon.process.wait()
        assert _everything(indexer) == before
