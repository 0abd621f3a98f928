"""The ten questions of ``docs/recipes.md``, to a daemon and to DuckDB reading the same traces.

``python -m benchmarks.questions [--calls 1000000]`` makes traces of four processes. DuckDB scans
their lines for each question, compressed and plain; a client asks the daemon, whose views are made.
Milliseconds are medians as the one who asks sees them. Answers that differ are an error.
"""

from __future__ import annotations

import argparse
import gzip
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb

from benchmarks.client_rows import serving
from benchmarks.environments import REPOSITORY
from benchmarks.sql_spans import write_thread
from dftindexd.client import Client, connect

__all__ = ("SCANS", "answer_of_scan", "answer_of_store", "calls_of", "questions")

Row: TypeAlias = tuple[Any, ...]

_PROCESSES = 4
_TIMES_OURS, _TIMES_THEIRS = 9, 3
_BLOCK: Final = re.compile(r"(?ms)^## ([^\n]+)\n(?:(?!^##).)*?^```sql\n(.*?)^```$")

#: Every question reads the lines once; what hashes of files and hosts name is in them too.
_LINES: Final = """
WITH lines AS MATERIALIZED (
  SELECT * FROM read_json({files}, format = 'newline_delimited', ignore_errors = true, columns = {{
    name: 'VARCHAR', cat: 'VARCHAR', pid: 'BIGINT', tid: 'BIGINT', ts: 'BIGINT', dur: 'BIGINT',
    ph: 'BIGINT', args: 'STRUCT(hhash VARCHAR, fhash VARCHAR, ret BIGINT, "name" VARCHAR,
    "value" VARCHAR)'}})
), names AS (
  SELECT args.value AS hash, any_value(args.name) AS named
  FROM lines WHERE ph = 4 AND name IN ('FH', 'HH') GROUP BY 1
), events AS (
  SELECT lines.name AS func_name, lower(cat) AS cat, pid, ts, dur, args.ret AS ret,
    coalesce(files.named, '') AS file_name, coalesce(hosts.named, '') AS host_name,
    CASE WHEN lines.name IN ({moving}) AND ret >= 0 THEN ret END AS size,
    (ts + dur // 2) // 5000000 * 5000000 AS bin
  FROM lines LEFT JOIN names AS files ON args.fhash = files.hash
    LEFT JOIN names AS hosts ON args.hhash = hosts.hash
  WHERE ph = 1
)
"""
_READING = ("read", "pread", "pread64", "readv", "fread")
_MOVING = (*_READING, "write", "pwrite", "pwrite64", "writev", "fwrite")
_METADATA = (
    *("open", "open64", "close", "fopen", "fopen64", "fclose", "lseek", "lseek64", "fseek"),
    *("ftell", "stat", "fstat", "__xstat", "__fxstat", "__xstat64", "__fxstat64", "__lxstat64"),
    *("mkdir", "rmdir", "unlink", "rename", "opendir", "closedir", "readdir", "access", "fcntl"),
)
_OPENING = ("open", "open64", "openat", "fopen", "fopen64")


def _texts(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


#: What DuckDB is asked over those, by question.
SCANS: Final[Mapping[str, str]] = {
    "Top files by bytes": """
        SELECT file_name, sum(size) AS bytes FROM events WHERE size > 0
        GROUP BY file_name ORDER BY bytes DESC, file_name LIMIT 10""",
    "Bandwidth over time": """
        SELECT make_timestamp(bin), coalesce(sum(size), 0) // 5
        FROM events GROUP BY bin ORDER BY bin""",
    "Slowest calls": """
        SELECT func_name, file_name, make_timestamp(ts), dur * 1000 FROM events
        ORDER BY dur DESC, ts, func_name LIMIT 10""",
    "Time per category and process": """
        SELECT cat, host_name, pid, sum(dur) FROM events GROUP BY ALL ORDER BY ALL""",
    "Metadata to data": f"""
        SELECT metadata, data, metadata / data FROM (
          SELECT count(*) FILTER (WHERE func_name IN ({_texts(_METADATA)})) AS metadata,
            count(*) FILTER (WHERE func_name IN ({_texts(_MOVING)})) AS data FROM events)""",
    "Calls per file": """
        SELECT file_name, count(*) AS calls FROM events WHERE file_name <> ''
        GROUP BY file_name ORDER BY calls DESC, file_name LIMIT 20""",
    "Sizes of reads": """
        SELECT CAST(floor(log2(size)) AS BIGINT), count(*) FROM events
        WHERE func_name IN ('read', 'pread64') AND size > 0 GROUP BY 1 ORDER BY 1""",
    "Processes by I/O time": """
        SELECT host_name, pid, sum(dur) AS us FROM events WHERE cat IN ('posix', 'stdio')
        GROUP BY host_name, pid ORDER BY us DESC, host_name, pid""",
    "Time by hour and phase": """
        SELECT make_timestamp(bin // 3600000000 * 3600000000), func_name, count(*), sum(dur)
        FROM events WHERE cat = 'app' GROUP BY 1, 2 ORDER BY 1, 2""",
    "Files opened by most processes": f"""
        SELECT file_name, count(DISTINCT pid) AS processes, count(*) AS opens
        FROM events WHERE func_name IN ({_texts(_OPENING)})
        GROUP BY file_name ORDER BY processes DESC, opens DESC, file_name LIMIT 10""",
}


def questions() -> dict[str, str]:
    """Return the statements of the page by their headings."""
    page = (REPOSITORY / "docs" / "recipes.md").read_text()
    return dict(_BLOCK.findall(page))


def calls_of(client: Client, traces: Path) -> str:
    """Return what ``{calls}`` stands for on the page."""
    query = "SELECT stream_id FROM streams WHERE array_has(tags, 'cpu') ORDER BY 1"
    return " UNION ALL ".join(
        f"(SELECT * FROM view_instance('thread_spans', '{row['stream_id']}') WHERE depth > 0)"
        for row in client.sql(query, traces, seconds=3600.0).to_pylist()
    )


def answer_of_store(client: Client, text: str, traces: Path) -> list[Row]:
    """Return the rows of a statement to the daemon."""
    return _plain(client.sql(text, traces, seconds=3600.0).to_pylist())


def answer_of_scan(text: str, files: list[Path]) -> list[Row]:
    """Return the rows of a statement over the lines of traces."""
    lines = _LINES.format(files=[str(file) for file in files], moving=_texts(_MOVING))
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        found = connection.execute(lines + text)
        names = [column[0] for column in found.description or ()]
        return _plain([dict(zip(names, row, strict=True)) for row in found.fetchall()])


def _plain(rows: list[dict[str, Any]]) -> list[Row]:
    return [tuple(_value(value) for value in row.values()) for row in rows]


def _value(value: Any) -> Any:
    """Return times in microseconds and numbers as both sides have them."""
    if hasattr(value, "value"):
        return value.value // 1000
    if isinstance(value, datetime):
        return round(value.replace(tzinfo=value.tzinfo or UTC).timestamp() * 1e6)
    return value


def _median(times: int, ask: Callable[[], object]) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


def _compare(client: Client, traces: Path, plain: list[Path]) -> None:
    calls = calls_of(client, traces)
    packed = sorted(traces.iterdir())
    print("| question | rows | ms, DuckDB, .pfw.gz | ms, DuckDB, .pfw | ms, ours | at least |")
    print("|---|---|---|---|---|---|")
    for name, text in questions().items():
        statement = text.replace("{calls}", calls)
        own = answer_of_store(client, statement, traces)
        if own != answer_of_scan(SCANS[name], plain):
            raise SystemExit(f"error: the answers to {name} differ")
        ours = _median(_TIMES_OURS, partial(answer_of_store, client, statement, traces))
        theirs = [
            _median(_TIMES_THEIRS, partial(answer_of_scan, SCANS[name], files))
            for files in (packed, plain)
        ]
        print(
            f"| {name} | {len(own)} | {theirs[0]:.0f} | {theirs[1]:.0f} | {ours:.1f} "
            f"| {min(theirs) / ours:.0f} times |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
        traces, state, folder = (Path(name, one) for one in ("traces", "state", "plain"))
        traces.mkdir()
        folder.mkdir()
        plain = []
        for process in range(_PROCESSES):
            trace = traces / f"process-{process}.pfw.gz"
            write_thread(trace, options.calls // _PROCESSES, pid=100 + process)
            plain.append(folder / f"process-{process}.pfw")
            plain[-1].write_bytes(gzip.decompress(trace.read_bytes()))
        with serving(traces, state) as socket, connect(socket, timeout=None) as client:
            client.sync()
            _compare(client, traces, plain)


if __name__ == "__main__":
    main()
