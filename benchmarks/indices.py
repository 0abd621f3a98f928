"""How long inverted indices take: ``python -m benchmarks.indices``.

An index of 100,000 keys as an object, and the indices of columns over the rows of 3,000 traces.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from dftindexd.index.model import ParseRequest, TierConfig, TraceRecord
from dftindexd.index.segment import parse_trace
from dftindexd.views.indices import ExplicitSecondaryIndex
from dftindexd.views.indices.columns import Wanted, column_of
from dftindexd.views.indices.derived import IndexedTraces, index_of, partitions_of

_KEYS = 100_000
_TRACES = 3_000
_TIERS = TierConfig(aggregation=None, postings=("ret",)).normal()
_LINE = (
    '{{"id":{0},"name":"read","cat":"POSIX","pid":77,"tid":77,"ts":17{0},"dur":5,"ph":1,"type":3,'
    '"args":{{"hhash":"00000000000000aa","fhash":"00000000000000bb","ret":4096}}}}\n'
)


class _Kept:
    """Rows, and indices, by their keys."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], bytes] = {}
        self.files: dict[str, bytes] = {}

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.rows.get((family, key)) for key in keys]

    def put(self, key: str, data: bytes) -> None:
        self.files[key] = data

    def get(self, key: str) -> bytes:
        return self.files[key]


def _seconds(function: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _of_objects(kept: _Kept) -> Iterator[tuple[str, Callable[[], object]]]:
    values = {number: [f"part_{number % 50}"] for number in range(_KEYS)}
    index = ExplicitSecondaryIndex("column", values)
    key = index.store(kept, "bench")
    stored = ExplicitSecondaryIndex("column", index_storage_key=key)
    yield "make it", lambda: ExplicitSecondaryIndex("column", values)
    yield "1,000 lookups", lambda: [index.query(number) for number in range(0, _KEYS, 100)]
    yield "`==`", lambda: index.eval_operator("==", 7)
    yield "`>=`, half of it", lambda: index.eval_operator(">=", _KEYS // 2)
    yield "`in` 1,000 values", lambda: index.eval_operator("in", list(range(1000)))
    yield "store it", lambda: index.store(kept, "bench")
    yield "load it", lambda: stored.load(kept)


def _of_traces(kept: _Kept, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    path = folder / "t.pfw"
    path.write_text("".join(_LINE.format(number) for number in range(1000)))
    request = ParseRequest(path=os.fsencode(path), segment_id=1, provisional_id=2, tiers=_TIERS)
    parsed = parse_trace(request)
    kept.rows = {(family, key): value for family, key, value in parsed.rows}
    record = TraceRecord(
        file_id=1,
        path=b"t",
        version=1,
        generation=1,
        stamp=parsed.stamp,
        tiers=_TIERS,
        segments=parsed.segments,
    )
    records = [replace(record, file_id=number) for number in range(_TRACES)]
    traces = IndexedTraces(kept, records, [f"t-{number}" for number in range(_TRACES)])
    for name in ("name", "host", "ret"):
        yield f"the index of `{name}` of {_TRACES:,} traces", partial(_derived, name, traces)


def _derived(name: str, traces: IndexedTraces) -> object:
    return index_of(column_of(name, _TIERS), partitions_of(traces, Wanted(name)))


def main() -> None:
    """Print the table."""
    kept = _Kept()
    print(f"| of an index of {_KEYS:,} keys, or of traces | ms |")
    print("|---|---|")
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-indices-") as folder:
        for measured in (_of_objects(kept), _of_traces(kept, Path(folder))):
            for name, function in measured:
                print(f"| {name} | {_seconds(function) * 1000:.2f} |")


if __name__ == "__main__":
    main()
