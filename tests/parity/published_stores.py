"""Published stores beside those of dftracer-utils 0.0.12: what both of them say."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import rocksdict

from tests.end_to_end.running import Daemon

__all__ = (
    "Row",
    "arrow_tables",
    "assert_same_rows",
    "assert_same_tables",
    "publish_folder",
    "run",
    "said_by_tool",
    "tables_of_store",
)

#: What a tool says of itself, of the place, and of how long it took.
_OF_THE_RUN = re.compile(r"Processing Time|Index Store|^File: |Index Dir")
_LONG_NUMBER = re.compile(r"(\d+\.\d{6})\d+")
_ROW = re.compile(r"^'([0-9A-F]*)' seq:\d+, type:\d+ => ([0-9A-F]*)$", re.MULTILINE)
_FAMILY = re.compile(r"column family name: (\S+)")

Row = dict[str, Any]


def publish_folder(daemon: Daemon, name: str, *options: str) -> Path:
    """Publish the directory called *name* of the daemon's root; return it."""
    folder = daemon.traces / name
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    daemon.client.wait(folder, timeout=60)
    done = daemon.run("publish", folder, "--json", *options)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["path"] == str(folder / ".dftindex")
    assert said["left_out"] == {}
    return folder


def run(reference: Path, script: str, *arguments: Path) -> str:
    """Return what a script prints in the environment of the reference."""
    place = Path(__file__).with_name(script)
    command = [str(part) for part in (reference, "-P", place, *arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def arrow_tables(folder: Path) -> dict[str, list[Row]]:
    """Return the rows of each Arrow file in *folder*, in an order of their own."""
    found = {}
    for path in sorted(folder.glob("*.arrow")):
        with pa.OSFile(str(path), "rb") as file:
            rows = pa.ipc.open_file(file).read_all().to_pylist()
        found[path.name] = sorted(rows, key=_exact)
    return found


def _exact(row: Row) -> str:
    return repr([value for value in row.values() if not isinstance(value, float)])


def assert_same_tables(ours: Path, theirs: Path) -> None:
    """Compare the Arrow files in two folders row by row, but for rounding."""
    expected, found = arrow_tables(theirs), arrow_tables(ours)
    assert expected
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert len(found[name]) == len(rows), (theirs, name)
        for mine, row in zip(found[name], rows, strict=True):
            assert _differing(mine, row) == {}, (theirs, name, row)


def _differing(ours: Row, theirs: Row) -> dict[str, tuple[Any, Any]]:
    return {
        name: (ours[name], value)
        for name, value in theirs.items()
        if ours[name] != value
        and not (isinstance(value, float) and math.isclose(ours[name], value, rel_tol=1e-9))
    }


def tables_of_store(folder: Path) -> dict[str, int]:
    """Return the tables of a store, which nobody may have touched."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(".dftindex/*.sst")}


def said_by_tool(
    reference: Path, tool: tuple[str, ...], traces: Path, index: Path
) -> tuple[list[str], str]:
    """Return the lines that a command of the reference prints, ordered, and its log."""
    program = str(reference.parent / tool[0])
    command = [program, "-d", str(traces), "--index-dir", str(index), *tool[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [line for line in done.stdout.splitlines() if not _OF_THE_RUN.search(line)]
    return sorted(_LONG_NUMBER.sub(r"\1", line) for line in lines), done.stderr


def _published(store: Path) -> dict[str, dict[str, str]]:
    """Return the rows of each family of a store of ours, whose tables do not all name theirs."""
    options = rocksdict.Options(raw_mode=True)
    path, mode = str(store), rocksdict.AccessType.read_only()
    families = dict.fromkeys(rocksdict.Rdict.list_cf(path, options), options)
    database: Any = rocksdict.Rdict(path, options, families, mode)
    found = {
        family: {
            key.hex().upper(): value.hex().upper()
            for key, value in database.get_column_family(family).items()
        }
        for family in families
    }
    database.close()
    return {family: rows for family, rows in found.items() if rows}


def _stored(reference: Path, store: Path) -> dict[str, dict[str, str]]:
    """Return the rows of each family of a store of dftracer-utils, merges that are to be done
    included."""
    found: dict[str, dict[str, str]] = {}
    for path in store.glob("*.sst"):
        command = [str(reference.parent / "sst_dump"), f"--file={path}", "--command=scan"]
        options = ("--output_hex", "--show_properties")
        text = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
        family = _FAMILY.search(text.stdout)
        assert family is not None, path
        found.setdefault(family[1], {}).update(_ROW.findall(text.stdout))
    return found


def assert_same_rows(reference: Path, ours: Path, theirs: Path) -> dict[str, dict[str, str]]:
    """Compare two stores byte for byte, but for rounding; return the rows of the first."""
    found, expected = _published(ours), _stored(reference, theirs)
    # Of the aggregation only numbers of texts and what nothing reads are otherwise.
    assert len(found["aggregation"]) == len(expected.pop("aggregation"))
    assert found.keys() - {"aggregation"} == expected.keys()
    for family, rows in expected.items():
        assert found[family].keys() == rows.keys(), family
        for key, value in rows.items():
            mine = found[family][key]
            if family in ("chunk_stats", "file_scalar_stats", "root_scalar_stats"):
                # The sum of squared distances is rounded otherwise: a double after seven numbers.
                mine, value = mine[:112] + mine[128:], value[:112] + value[128:]
            assert mine == value, (family, key)
    return found
