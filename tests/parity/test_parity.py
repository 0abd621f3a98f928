"""The aggregation tier against dftracer-utils 0.0.12 itself, row for row.

What differs on purpose is in ``docs/differences.md`` and, as code, in :data:`DIFFERENT`; nothing
else may.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dftindexd.compat import Indexer
from tests.parity.dump_reference import GROUPINGS, HASH_KINDS, QUERIES, decoded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Columns whose values differ on purpose.
DIFFERENT = frozenset(("dur_std", "size_std", "offset_min", "offset_max"))
#: Functions whose ``io_cat`` the wider table knows and 0.0.12 does not.
WIDER_IO = frozenset(("fork", "pread64", "pwrite64", "preadv2", "pwritev2", "waitpid"))
SHARED = ("live_v203", "live_v210", "v203_fork", "v210_fork", "v203_agg", "v210_service")

Row = dict[str, Any]


@pytest.fixture(scope="module")
def generated(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traces that the reference's own generator made."""
    folder = tmp_path_factory.mktemp("generated")
    program = reference.parent / "dftracer_gen_fake_trace"
    options = ("-p", "3", "-H", "2", "-e", "2", "-s", "200")
    command = [str(program), "--output-dir", str(folder), *options]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(folder / ".dftindex", ignore_errors=True)
    return folder


def _dump(reference: Path, traces: Path, out: Path) -> dict[str, Any]:
    index = out / "index"
    index.mkdir(parents=True)
    script = Path(__file__).with_name("dump_reference.py")
    command = [str(part) for part in (reference, "-P", script, traces, index, out)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    facts: dict[str, Any] = json.loads((out / "facts.json").read_text())
    return facts


def _theirs(out: Path, name: str) -> list[Row]:
    files = sorted(out.glob(f"{name}.*.arrow"))
    if not files:
        return []
    with pa.OSFile(str(files[0]), "rb") as file:
        rows: list[Row] = pa.ipc.open_file(file).read_all().to_pylist()
    return rows


def _ours(batches: Iterable[Any]) -> list[Row]:
    tables = [decoded(pa.Table.from_batches([pa.record_batch(batch)])) for batch in batches]
    return [row for table in tables for row in table.to_pylist()]


def _sorted(rows: list[Row], columns: list[str]) -> list[Row]:
    kept = [{column: row[column] for column in columns} for row in rows]
    exact = [c for c in columns if not any(isinstance(row[c], float) for row in kept)]
    return sorted(kept, key=lambda row: repr([row[column] for column in exact]))


def _is_close(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12)
    return ours == theirs


def _assert_equal(name: str, ours: list[Row], theirs: list[Row]) -> None:
    assert len(ours) == len(theirs), name
    if not theirs:
        return
    columns = [column for column in theirs[0] if column not in DIFFERENT]
    missing = [column for column in theirs[0] if column not in ours[0]]
    assert missing == [], name
    for mine, other in zip(_sorted(ours, columns), _sorted(theirs, columns), strict=True):
        if "io_cat" in other and mine.get("func_name") in WIDER_IO:
            mine["io_cat"] = other["io_cat"]
        wrong = {c: (mine[c], other[c]) for c in columns if not _is_close(mine[c], other[c])}
        assert wrong == {}, (name, mine)


def _compare(reference: Path, traces: Path, tmp_path: Path) -> None:
    out = tmp_path / "theirs"
    facts = _dump(reference, traces, out)
    store = tmp_path / "ours"
    store.mkdir()
    with Indexer(str(traces), require_aggregation=True, index_dir=str(store)) as indexer:
        status = indexer.ensure_indexed()
        assert sorted(Path(path).name for path in status.ready) == facts["ready"]
        has_samples = any("time_bucket" in row for row in _theirs(out, "all-system"))
        for kind in ("events", "profiles"):
            _assert_equal(
                f"aggregation-{kind}",
                _ours(indexer.iter_aggregation(kind)),
                _theirs(out, f"aggregation-{kind}"),
            )
            _assert_equal(
                f"dfanalyzer-{kind}",
                _ours(indexer.iter_arrow_dfanalyzer(kind)),
                _theirs(out, f"dfanalyzer-{kind}"),
            )
        for label, query in QUERIES.items():
            if has_samples:
                # Decision 5: a filter on columns that system metrics lack is no empty answer.
                with pytest.raises(ValueError, match="no column"):
                    indexer.iter_arrow_dfanalyzer_all(query=query)
                continue
            answers = indexer.iter_arrow_dfanalyzer_all(query=query)
            for kind in ("events", "profiles"):
                name = f"query-{label}-{kind}"
                _assert_equal(name, _ours(answers[kind]), _theirs(out, name))
        for label, columns in GROUPINGS.items():
            if has_samples:
                with pytest.raises(ValueError, match="column"):
                    indexer.iter_arrow_dfanalyzer_all(group_by=list(columns))
                continue
            answers = indexer.iter_arrow_dfanalyzer_all(group_by=list(columns))
            for kind in ("events", "profiles"):
                name = f"group-{label}-{kind}"
                merged = _merged(_theirs(out, name), columns)
                if "io_cat" not in columns:
                    _assert_equal(name, _ours(answers[kind]), merged)
        for hash_kind in HASH_KINDS:
            assert indexer.get_hash_table(hash_kind) == facts["hashes"][hash_kind]
        paths, pids = indexer.query_file_info()
        files = {Path(path).name: sorted(pids[key]) for key, path in paths.items()}
        assert files == facts["files"]


def _merged(rows: list[Row], keys: list[str]) -> list[Row]:
    """Sum up the groups that the reference leaves apart, one a scan thread."""
    groups: dict[str, Row] = {}
    for row in rows:
        into = groups.setdefault(repr([row[key] for key in keys]), {})
        for column, value in row.items():
            into[column] = value if column in keys else _merge(column, into.get(column), value)
    return list(groups.values())


def _merge(column: str, left: Any, right: Any) -> Any:
    if left is None or right is None:
        return right if left is None else left
    if column.endswith("_min") or column == "time_start":
        return min(left, right)
    if column.endswith("_max") or column == "time_end":
        return max(left, right)
    return left + right


def test_generated_traces_give_what_the_reference_gives(
    reference: Path, generated: Path, tmp_path: Path
) -> None:
    _compare(reference, generated, tmp_path)


@pytest.mark.parametrize("folder", SHARED)
def test_real_traces_give_what_the_reference_gives(
    reference: Path, shared_traces: Path, tmp_path: Path, folder: str
) -> None:
    traces = tmp_path / "traces"
    shutil.copytree(shared_traces / "v2" / folder, traces)
    _compare(reference, traces, tmp_path)
