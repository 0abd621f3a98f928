"""Published stores against dftracer-utils 0.0.12: its library and its tools find in them what they
find in an index of their own, and build nothing.

What differs on purpose is in ``docs/publishing.md``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dftindexd.compat import Indexer
from tests.end_to_end.running import Daemon, running_daemon
from tests.parity.dump_reference import decoded
from tests.parity.published_stores import (
    Row,
    arrow_tables,
    assert_same_rows,
    assert_same_tables,
    publish_folder,
    run,
    said_by_tool,
    tables_of_store,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Directories that 0.0.12 reads itself, beside one that its own generator makes.
READABLE = ("generated", "v203_agg", "v210_service", "v210_fork")
#: Directories that it does not read, or not rightly: generations 2, 1.0 and 0.
UNREADABLE = ("v2/agg_sel", "v2/service", "v2/mp_fork", "v2/ns", "v0", "dlio-v1.0.8")
#: Those of an aggregated row that are no key, and compared exactly.
VALUES = (
    *("count", "dur_total", "dur_min", "dur_max", "size_total", "size_min", "size_max"),
    *("ts", "te"),
)
KEYS = ("cat", "name", "pid", "tid", "hhash", "fhash", "time_bucket")
TOOLS = (
    ("dftracer_info",),
    ("dftracer_info", "--query", "detailed"),
    *(
        ("dftracer_stats", "--json", "--report", report)
        for report in ("summary", "names", "pid_tids", "duration", "detailed")
    ),
    ("dftracer_event_count",),
    ("dftracer_view", "--stream", "--query", 'name == "read" and dur > 5'),
    ("dftracer_view", "--stream", "--query", 'not (cat == "POSIX")'),
    ("dftracer_view", "--stream", "--preset", "io"),
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose root has all the directories."""
    with running_daemon(tmp_path_factory.mktemp("daemon"), "--settle", "1") as running:
        yield running


@pytest.fixture(scope="module")
def readable(daemon: Daemon, reference: Path, shared_traces: Path) -> list[Path]:
    """Directories of traces that the reference reads itself, published."""
    generated = daemon.traces / "generated"
    program = reference.parent / "dftracer_gen_fake_trace"
    options = ("-p", "2", "-H", "2", "-e", "2", "-s", "100")
    subprocess.run([program, "-o", generated, *options], check=True, capture_output=True)
    shutil.rmtree(generated / ".dftindex", ignore_errors=True)
    for name in READABLE[1:]:
        shutil.copytree(shared_traces / "v2" / name, daemon.traces / name)
    return [publish_folder(daemon, name) for name in READABLE]


def test_a_published_store_gives_row_for_row_what_an_index_of_its_own_gives(
    reference: Path, readable: list[Path], tmp_path: Path
) -> None:
    pairs: list[Path] = []
    for folder in readable:
        own, out, before = (
            tmp_path / f"{folder.name}-index",
            tmp_path / folder.name,
            tables_of_store(folder),
        )
        own.mkdir()
        for index, into in ((own, out / "own"), (folder, out / "published")):
            into.mkdir(parents=True)
            run(reference, "dump_reference.py", folder, index, into)
        assert_same_tables(out / "published", out / "own")
        facts = [json.loads((out / one / "facts.json").read_text()) for one in ("own", "published")]
        assert facts[0] == facts[1], folder
        assert tables_of_store(folder) == before, folder
        pairs += (folder, own, folder, folder)
    said = json.loads(run(reference, "dump_published.py", *pairs).splitlines()[-1])
    for folder, own_index, ours in zip(readable, said[::2], said[1::2], strict=True):
        assert ours == own_index, folder
        assert ours["needs_work"] == [], folder
        assert ours["ready"] == sorted(path.name for path in folder.glob("*.pfw*"))


def test_its_tools_say_of_a_published_store_what_they_say_of_their_own_and_build_nothing(
    reference: Path, readable: list[Path], tmp_path: Path
) -> None:
    folder = readable[0]
    before = tables_of_store(folder)
    run(reference, "dump_reference.py", folder, tmp_path, tmp_path / "out")
    for tool in TOOLS:
        theirs, _ = said_by_tool(reference, tool, folder, tmp_path)
        ours, log = said_by_tool(reference, tool, folder, folder)
        assert ours == theirs, tool
        assert "Building" not in log, tool
        assert "rebuilding" not in log, tool
    assert tables_of_store(folder) == before


def test_all_but_rounding_is_equal_byte_for_byte(
    reference: Path, readable: list[Path], tmp_path: Path
) -> None:
    folder = readable[0]
    run(reference, "dump_reference.py", folder, tmp_path, tmp_path / "out")
    ours = assert_same_rows(reference, folder / ".dftindex", tmp_path / ".dftindex")
    assert {"chunk_bloom", "manifest", "chunk_dim_stats", "name_chunk_postings"} < ours.keys()


@pytest.mark.parametrize("name", UNREADABLE)
def test_traces_of_other_generations_come_out_as_we_read_them(
    reference: Path,
    daemon: Daemon,
    shared_traces: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain_name = name.translate({ord("/"): "-", ord("."): "-"})  # 0.0.12 does not like dots
    shutil.copytree(shared_traces / name, daemon.traces / plain_name)
    folder = publish_folder(daemon, plain_name)
    before = tables_of_store(folder)
    run(reference, "dump_reference.py", folder, folder, tmp_path)
    assert tables_of_store(folder) == before
    tables = arrow_tables(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    monkeypatch.setenv("DFTINDEXD_SOCKET", str(daemon.socket))
    with Indexer(str(folder), require_aggregation=True) as indexer:
        ready = sorted(map(os.path.basename, indexer.resolve().ready))
        assert facts["ready"] == ready
        assert facts["hashes"]["file"].items() <= indexer.get_hash_table("file").items()
        found = 0
        for kind in ("events", "profiles", "system"):
            ours = _by_key(
                row
                for batch in indexer.iter_aggregation(kind)
                for row in decoded(pa.Table.from_batches([pa.record_batch(batch)])).to_pylist()
            )
            theirs = _by_key(tables.get(f"aggregation-{kind}.0.arrow", []))
            assert theirs == ours, kind
            found += len(ours)
        assert found


def _by_key(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Any]]:
    """Return rows by their keys."""
    return {tuple(row[key] for key in KEYS): [row[name] for name in VALUES] for row in rows}
