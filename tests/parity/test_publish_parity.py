"""Published stores against dftracer-utils 0.0.12: its library and its tools find in them what they
find in an index of their own, and build nothing.

What differs on purpose is in ``docs/publishing.md``.
"""

from __future__ import annotations

import json
import math
import os
import re
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
#: What a tool says of itself, of the place, and of how long it took.
_OF_THE_RUN = re.compile(r"Processing Time|Index Store|^File: |Index Dir")
_LONG_NUMBER = re.compile(r"(\d+\.\d{6})\d+")
_ROW = re.compile(r"^'([0-9A-F]*)' seq:\d+, type:\d+ => ([0-9A-F]*)$", re.MULTILINE)
_FAMILY = re.compile(r"column family name: (\S+)")

Row = dict[str, Any]


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
    return [_published(daemon, name) for name in READABLE]


def _published(daemon: Daemon, name: str, *options: str) -> Path:
    folder = daemon.traces / name
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    daemon.client.wait(folder, timeout=60)
    done = daemon.run("publish", folder, "--json", *options)
    assert done.returncode == 0, done.stderr
    published = json.loads(done.stdout)
    assert published["path"] == str(folder / ".dftindex")
    assert published["left_out"] == {}
    return folder


def _run(reference: Path, script: str, *arguments: Path) -> str:
    place = Path(__file__).with_name(script)
    command = [str(part) for part in (reference, "-P", place, *arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def _tables(folder: Path) -> dict[str, list[Row]]:
    found = {}
    for path in sorted(folder.glob("*.arrow")):
        with pa.OSFile(str(path), "rb") as file:
            rows = pa.ipc.open_file(file).read_all().to_pylist()
        found[path.name] = sorted(rows, key=_exact)
    return found


def _exact(row: Row) -> str:
    return repr([value for value in row.values() if not isinstance(value, float)])


def _differing(ours: Row, theirs: Row) -> dict[str, tuple[Any, Any]]:
    return {
        name: (ours[name], value)
        for name, value in theirs.items()
        if ours[name] != value
        and not (isinstance(value, float) and math.isclose(ours[name], value, rel_tol=1e-9))
    }


def _files(folder: Path) -> dict[str, int]:
    """Return the tables of a store, which nobody may have touched."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(".dftindex/*.sst")}


def test_a_published_store_gives_row_for_row_what_an_index_of_its_own_gives(
    reference: Path, readable: list[Path], tmp_path: Path
) -> None:
    pairs: list[Path] = []
    for folder in readable:
        own, out, before = tmp_path / f"{folder.name}-index", tmp_path / folder.name, _files(folder)
        own.mkdir()
        for index, into in ((own, out / "own"), (folder, out / "published")):
            into.mkdir(parents=True)
            _run(reference, "dump_reference.py", folder, index, into)
        theirs, ours = _tables(out / "own"), _tables(out / "published")
        assert theirs
        assert ours.keys() == theirs.keys()
        for name, rows in theirs.items():
            assert len(ours[name]) == len(rows), (folder, name)
            for mine, row in zip(ours[name], rows, strict=True):
                assert _differing(mine, row) == {}, (folder, name, row)
        facts = [json.loads((out / one / "facts.json").read_text()) for one in ("own", "published")]
        assert facts[0] == facts[1], folder
        assert _files(folder) == before, folder
        pairs += (folder, own, folder, folder)
    said = json.loads(_run(reference, "dump_published.py", *pairs).splitlines()[-1])
    for folder, own_index, published in zip(readable, said[::2], said[1::2], strict=True):
        assert published == own_index, folder
        assert published["needs_work"] == [], folder
        assert published["ready"] == sorted(path.name for path in folder.glob("*.pfw*"))


def _tool(
    reference: Path, tool: tuple[str, ...], traces: Path, index: Path
) -> tuple[list[str], str]:
    program = str(reference.parent / tool[0])
    command = [program, "-d", str(traces), "--index-dir", str(index), *tool[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [line for line in done.stdout.splitlines() if not _OF_THE_RUN.search(line)]
    return sorted(_LONG_NUMBER.sub(r"\1", line) for line in lines), done.stderr


def test_its_tools_say_of_a_published_store_what_they_say_of_their_own_and_build_nothing(
    reference: Path, readable: list[Path], tmp_path: Path
) -> None:
    folder = readable[0]
    before = _files(folder)
    _run(reference, "dump_reference.py", folder, tmp_path, tmp_path / "out")
    for tool in TOOLS:
        theirs, _ = _tool(reference, tool, folder, tmp_path)
        ours, log = _tool(reference, tool, folder, folder)
        assert ours == theirs, tool
        assert "Building" not in log, tool
        assert "rebuilding" not in log, tool
    assert _files(folder) == before


def _stored(reference: Path, store: Path) -> dict[str, dict[str, str]]:
    """Return the rows of each family of a store."""
    found: dict[str, dict[str, str]] = {}
    for path in store.glob("*.sst"):
        command = [str(reference.parent / "sst_dump"), f"--file={path}", "--command=scan"]
        options = ("--output_hex", "--show_properties")
        text = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
        family = _FAMILY.search(text.stdout)
        assert family is not None, path
        found.setdefault(family[1], {}).update(_ROW.findall(text.stdout))
    return found


def test_all_but_rounding_is_equal_byte_for_byte(
    reference: Path, readable: list[Path], tmp_path: Path
) -> None:
    folder = readable[0]
    _run(reference, "dump_reference.py", folder, tmp_path, tmp_path / "out")
    ours, theirs = (_stored(reference, one / ".dftindex") for one in (folder, tmp_path))
    # Of the aggregation only numbers of texts and what nothing reads are otherwise.
    assert len(ours.pop("aggregation")) == len(theirs.pop("aggregation"))
    assert ours.keys() == theirs.keys()
    assert {"chunk_bloom", "manifest", "chunk_dim_stats", "name_chunk_postings"} < ours.keys()
    for family, rows in theirs.items():
        assert ours[family].keys() == rows.keys(), family
        for key, value in rows.items():
            mine = ours[family][key]
            if family in ("chunk_stats", "file_scalar_stats", "root_scalar_stats"):
                # The sum of squared distances is rounded otherwise: a double after seven numbers.
                mine, value = mine[:112] + mine[128:], value[:112] + value[128:]
            assert mine == value, (family, key)


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
    folder = _published(daemon, plain_name)
    before = _files(folder)
    _run(reference, "dump_reference.py", folder, folder, tmp_path)
    assert _files(folder) == before
    tables = _tables(tmp_path)
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
