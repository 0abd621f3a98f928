"""How late the event loop is while the daemon's engine indexes: ``python -m benchmarks.loop_lag``.

The engine runs in this process with two workers, as it does in the daemon, and the loop is sampled
from the first look at the disk to the last commit. ``one ingest`` is SST files of 1 GB that the
writer takes in at once. What is promised is 50 ms at the 99th percentile.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from dftindexd.actors.engine import open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root_options import RootOptions
from dftindexd.daemon.app import WORKER_NICENESS
from dftindexd.daemon.loop_lag import LoopLag
from dftindexd.index.store.layout import MANIFEST, segment_key
from dftindexd.index.store.sst import write_ssts
from dftindexd.index.store.writer import StoreWriter

_LINE = (
    '{{"id":{id},"name":"{name}","cat":"POSIX","pid":{pid},"tid":{tid},"ts":{ts},"dur":{dur},'
    '"ph":"X","args":{{"hhash":"00000000000000aa","fhash":"{file:016x}","ret":4096}}}}\n'
)
_NAMES = ("open64", "read", "write", "lseek64", "close", "stat", "fsync", "mmap")
_VALUE_BYTES = 64 << 10


def make_traces(folder: Path, number: int, megabytes: float) -> None:
    """Write so many plain traces of *megabytes* together, with many files, threads and times."""
    least = int(megabytes * 1e6 / number)
    for pid in range(number):
        chance = random.Random(pid)
        ts = 1_700_000_000_000_000
        with (folder / f"{pid}.pfw").open("w") as trace:
            trace.write("[\n")
            event = written = 0
            while written < least:
                event += 1
                ts += chance.randrange(2000)
                written += trace.write(
                    _LINE.format(
                        id=event,
                        name=chance.choice(_NAMES),
                        pid=pid,
                        tid=pid + chance.randrange(8),
                        ts=ts,
                        dur=chance.randrange(500),
                        file=chance.randrange(2000),
                    )
                )
            trace.write("]\n")


async def index(folder: str, lag: LoopLag) -> None:
    """Index the traces of *folder* by an engine of its own."""
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-state-") as state:
        options = EngineOptions(
            state_dir=state,
            owner="a benchmark",
            workers=2,
            niceness=WORKER_NICENESS,
            root=RootOptions(follow=False),
        )
        async with open_engine(options) as engine, anyio.create_task_group() as tasks:
            root = await engine.add_root(os.fsencode(folder))
            tasks.start_soon(lag.run)
            await (await root.leave_ticket(root.path)).wait()
            tasks.cancel_scope.cancel()


async def ingest(megabytes: float, lag: LoopLag) -> None:
    """Have a writer in a thread take in SST files, as the store's actor does."""
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-state-") as state:
        store = os.path.join(state, "store")
        writer = StoreWriter(store, root=state, owner="a benchmark")
        number = writer.new_segment_id()
        value = random.Random(1).randbytes(_VALUE_BYTES)
        rows = (
            (MANIFEST, segment_key(number, row.to_bytes(4, "big")), value)
            for row in range(int(megabytes * 1e6) // _VALUE_BYTES)
        )
        paths = write_ssts(rows, writer.staging, "bench")
        artifacts = {family: (path,) for family, path in paths.items()}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lag.run)
            await anyio.to_thread.run_sync(writer.ingest, artifacts, ())
            tasks.cancel_scope.cancel()
        writer.close()


@contextmanager
def row_of(what: str) -> Iterator[LoopLag]:
    """Print a row of the table for what is done meanwhile."""
    lag, begin = LoopLag(float("inf")), time.perf_counter()
    yield lag
    seconds, late = time.perf_counter() - begin, lag.summary()
    print(
        f"| {what} | {seconds:.1f} | {late.p50_ms:.1f} | {late.p99_ms:.1f} | {late.max_ms:.1f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=1000.0)
    megabytes = parser.parse_args().megabytes
    print("| meanwhile | s | lag p50, ms | p99 | max |")
    print("|---|---|---|---|---|")
    for what, number, size in (
        (f"8 traces, {megabytes:.0f} MB", 8, megabytes),
        (f"2,000 traces, {megabytes / 10:.0f} MB", 2000, megabytes / 10),
    ):
        with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
            folder = os.path.realpath(name)
            make_traces(Path(folder), number, size)
            with row_of(what) as lag:
                _run(partial(index, folder, lag))
    with row_of(f"one ingest, {megabytes:.0f} MB") as lag:
        _run(partial(ingest, megabytes, lag))


def _run(function: Callable[[], Awaitable[None]]) -> None:
    anyio.run(function, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
