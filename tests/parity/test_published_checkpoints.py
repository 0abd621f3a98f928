"""Published stores of traces that dftracer-utils 0.0.12 gives checkpoints: these are the same, and
everything of each chunk that they begin."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.running import Daemon, running_daemon
from tests.parity.published_stores import (
    assert_same_rows,
    assert_same_tables,
    publish_folder,
    run,
    said_by_tool,
    tables_of_store,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

METADATA = (
    b'{"id":0,"name":"FH","cat":"dftracer","pid":7,"tid":7,"ph":"M",'
    b'"args":{"name":"/data/f0","value":"f0"}}\n'
)
#: What makes few events a lot of text.
FILLER = "x" * 1500
TOOLS = (
    ("dftracer_info", "--query", "detailed"),
    ("dftracer_stats", "--json", "--report", "detailed"),
    ("dftracer_event_count",),
    ("dftracer_view", "--stream", "--query", 'name == "read" and dur > 5'),
)


class Case(NamedTuple):
    """Traces with a published store beside them, and an index of the reference's own."""

    folder: Path
    own: Path


def _event(number: int) -> bytes:
    name = "write" if number % 50 else "read"
    head = f'{{"id":{number},"name":"{name}","cat":"POSIX","pid":7,"tid":{7 + number % 3},'
    times = f'"ts":{1_000_000 + number * 10},"dur":{number % 13},"ph":"X","args":'
    arguments = f'{{"hhash":"ab","fhash":"f{number % 5}","ret":{number},"fill":"{FILLER}"}}}}\n'
    return (head + times + arguments).encode()


def _members(parts: Sequence[bytes], level: int) -> bytes:
    packers = [zlib.compressobj(level, zlib.DEFLATED, 31) for _ in parts]
    return b"".join(
        packer.compress(part) + packer.flush() for packer, part in zip(packers, parts, strict=True)
    )


def _write_traces(folder: Path) -> None:
    """Write traces of one large member, of one that is not the first and has no last newline, and
    of members that are only together large enough and cut lines."""
    text = b"[\n" + METADATA + b"".join(map(_event, range(22_000)))
    half, end = len(text) // 2, len(text)
    cuts = [
        0,
        half - 123,
        end - 50_000,
        *(end - 50_000 + 3333 * part for part in range(1, 15)),
        end,
    ]
    parts = [text[begin:until] for begin, until in pairwise(cuts)]
    assert len(parts) == 17  # of 16 workers one has two: the first ones
    for name, data in (
        ("one", _members([text], 9)),
        ("late", _members([text[:-1_000_000], text[-1_000_000:-1]], 1)),
        ("carried", _members(parts, 6)),
    ):
        (folder / f"{name}.pfw.gz").write_bytes(data)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with an empty root."""
    with running_daemon(tmp_path_factory.mktemp("daemon"), "--settle", "1") as running:
        yield running


@pytest.fixture(scope="module")
def case(daemon: Daemon, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The traces, published and indexed."""
    folder = daemon.traces / "large"
    folder.mkdir()
    _write_traces(folder)
    own, out = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("out")
    publish_folder(daemon, folder.name)
    before = tables_of_store(folder)
    for index, into in ((own, out / "own"), (folder, out / "published")):
        run(reference, "dump_reference.py", folder, index, into)
    assert_same_tables(out / "published", out / "own")
    assert tables_of_store(folder) == before
    return Case(folder, own)


def test_checkpoints_are_equal_and_ranges_read_by_them(reference: Path, case: Case) -> None:
    before = tables_of_store(case.folder)
    pairs = (case.folder, case.own, case.folder, case.folder)
    own, ours = json.loads(run(reference, "dump_published.py", *pairs).splitlines()[-1])
    assert ours == own
    assert ours["needs_work"] == []
    assert sorted(ours["traces"]) == ["carried.pfw.gz", "late.pfw.gz", "one.pfw.gz"]
    assert [len(trace["points"]) for trace in ours["traces"].values()] == [1, 1, 1]
    assert tables_of_store(case.folder) == before


def test_every_row_of_every_chunk_is_equal(reference: Path, case: Case) -> None:
    rows = assert_same_rows(reference, case.folder / ".dftindex", case.own / ".dftindex")
    assert len(rows["checkpoints"]) == 3
    assert len(rows["chunk_stats"]) == 6


def test_the_tools_say_the_same_and_build_nothing(reference: Path, case: Case) -> None:
    before = tables_of_store(case.folder)
    for tool in TOOLS:
        theirs, _ = said_by_tool(reference, tool, case.folder, case.own)
        ours, log = said_by_tool(reference, tool, case.folder, case.folder)
        assert ours == theirs, tool
        assert "Building" not in log, tool
    assert tables_of_store(case.folder) == before
