"""What dftracer-utils gets wrong about several traces, directories or builds, done right.

Defects that have their test elsewhere are listed with it in ``docs/differences.md``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dftindexd.compat import Indexer

from .writing import count, table_of, write_trace


def _indexer(folder: Path, **options: Any) -> Indexer:
    return Indexer(str(folder), **({"require_aggregation": True, "parallelism": 1} | options))


def _names(indexer: Indexer) -> set[object]:
    table = table_of(indexer.iter_arrow_dfanalyzer("events"))
    return set(table["file_name"].to_pylist())


def _write_events(path: Path, name: str, start: int, events: int) -> None:
    """Write events of one file, whose hash is the same in every trace."""
    records: list[dict[str, Any]] = [
        {"name": "FH", "cat": "dftracer", "pid": 1, "tid": 1, "ph": 4, "type": 1,
         "args": {"hhash": "h", "name": name, "value": "f"}}
    ]  # fmt: skip
    records += [
        {"id": number, "name": "read", "cat": "POSIX", "pid": 1, "tid": 1, "ts": start + number,
         "dur": 2, "ph": 1, "type": 3, "args": {"hhash": "h", "fhash": "f", "ret": 10}}
        for number in range(events)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_an_earlier_trace_moves_the_origin_of_all(tmp_path: Path) -> None:
    _write_events(tmp_path / "later.pfw", "/a", 1_000_000_000, 5)
    indexer = _indexer(tmp_path)
    indexer.ensure_indexed()
    before = table_of(indexer.iter_arrow_dfanalyzer("events"))
    assert before["time_start"].to_pylist() == [0]
    _write_events(tmp_path / "earlier.pfw", "/a", 400_000_000, 5)
    indexer.ensure_indexed()
    after = table_of(indexer.iter_arrow_dfanalyzer("events"))
    assert set(after["time_start"].to_pylist()) == {0, 600_000_000}
    assert set(after["time_range"].to_pylist()) == {0, 600}


def test_traces_of_one_name_in_two_directories_are_two(tmp_path: Path) -> None:
    folders = [tmp_path / "run.v1.2", tmp_path / "run.v1.3"]
    for number, folder in enumerate(folders, 1):
        folder.mkdir()
        write_trace(folder / "rank.0.pfw.gz", 10 * number, pid=number)
    files = [str(folder / "rank.0.pfw.gz") for folder in folders]
    indexer = Indexer(files=files, require_aggregation=True, index_dir=str(tmp_path / "index"))
    assert indexer.ensure_indexed().ready == files
    paths, pids = indexer.query_file_info()
    assert {paths[file]: pids[file] for file in paths} == {files[0]: {1}, files[1]: {2}}
    table = table_of(indexer.iter_arrow_dfanalyzer_all(group_by=["pid"])["events"])
    assert dict(zip(*(table[name].to_pylist() for name in ("pid", "count")), strict=True)) == {
        1: 10,
        2: 20,
    }


def test_two_indexes_in_one_process_have_names_of_their_own(tmp_path: Path) -> None:
    indexers = []
    for name in ("/first", "/second"):
        folder = tmp_path / name.strip("/")
        folder.mkdir()
        _write_events(folder / "t.pfw", name, 1_000, 5)
        indexers.append(_indexer(folder))
        indexers[-1].ensure_indexed()
    assert [_names(indexer) for indexer in indexers] == [{"/first"}, {"/second"}]
    assert [indexer.get_hash_table("file") for indexer in indexers] == [
        {"f": "/first"},
        {"f": "/second"},
    ]


def test_two_directories_in_one_index_dir_leave_each_other_alone(tmp_path: Path) -> None:
    folders = [tmp_path / "a.b", tmp_path / "a.c"]
    for number, folder in enumerate(folders, 1):
        folder.mkdir()
        write_trace(folder / "t.pfw.gz", 10 * number)
    shared = str(tmp_path / "index")
    indexers = [_indexer(folder, index_dir=shared) for folder in folders]
    paths = {indexer.ensure_indexed().index_path for indexer in indexers}
    assert len(paths) == 2
    indexers[1].build()
    assert [indexer.resolve().needs_work for indexer in indexers] == [[], []]
    assert [count(indexer.iter_aggregation()) for indexer in indexers] == [10, 20]


def test_a_group_comes_once_however_many_traces_hold_it(tmp_path: Path) -> None:
    for number in range(4):
        _write_events(tmp_path / f"{number}.pfw", "/a", 1_000, 25)
    indexer = _indexer(tmp_path)
    indexer.ensure_indexed()
    table = table_of(indexer.iter_arrow_dfanalyzer_all(group_by=["func_name"])["events"])
    assert table["count"].to_pylist() == [100]
    assert pc.sum(table["size"]).as_py() == 1000
