"""One more finished trace in a store of 3,000 traces and in one of 100,000, and their start.

``python -m benchmarks.one_more [--traces 3000 --traces 100000] [--times 30]`` makes a root of empty
files and a store whose registry names them all as indexed, follows that root as the daemon does,
and adds small traces one by one. It prints for each size, in milliseconds:

- ``open``: the store, from its directory to its registry in memory;
- ``caught up``: from there to all traces looked at and found as they were;
- ``asked``: a new trace from the request to index it to its commit, median and worst;
- ``found``: a new trace from its appearance in the root to its commit, median and worst;
- ``status``: one ``status`` of the root;
- ``scan``: the longest time in which the event loop did nothing else while all was looked at again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import anyio

from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.state_dir import StateDir
from dftindexd.daemon.logs import configure_logs
from dftindexd.daemon.tables import root_status
from dftindexd.index.model import (
    LineCounts,
    ParsedTrace,
    ResumePoint,
    SegmentSummary,
    TierConfig,
    TraceFacts,
)
from dftindexd.index.scan import stamp_of
from dftindexd.index.store.registry import CommitParsed
from dftindexd.index.store.writer import StoreWriter

_PER_FOLDER = 1000
_SECONDS = 300.0
_HEARTBEAT = 0.002


@dataclass
class Measured:
    """Milliseconds of each thing that is measured."""

    open: float = 0.0
    caught_up: float = 0.0
    asked: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)
    status: float = 0.0
    scan: float = 0.0


def make_root(root: Path, traces: int) -> list[bytes]:
    """Make empty traces below *root* and return their paths relative to it."""
    names = []
    for number in range(traces):
        folder = root / f"run{number // _PER_FOLDER}"
        if number % _PER_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"trace-{number}.pfw.gz"
        path.touch()
        names.append(os.fsencode(path.relative_to(root)))
    return names


def fill_store(root: Path, store_path: str, names: list[bytes]) -> None:
    """Make a store that names all traces as finished, with one segment each."""
    writer = StoreWriter(store_path, root=str(root), owner="a benchmark")
    try:
        for first in range(0, len(names), _PER_FOLDER):
            some = names[first : first + _PER_FOLDER]
            writer.write((), [_commit(root, name, writer.new_segment_id()) for name in some])
    finally:
        writer.close()


def _commit(root: Path, name: bytes, segment_id: int) -> CommitParsed:
    segment = SegmentSummary(
        segment_id=segment_id,
        provisional=False,
        c_begin=0,
        c_end=100_000,
        uc_begin=0,
        uc_end=1_000_000,
        first_line=0,
        lines=LineCounts(total=5000, ok=5000, fast=5000),
        records=5000,
        complete_events=4900,
        metadata=100,
        chunks=1,
        min_bucket=1_700_000_000_000_000,
    )
    facts = TraceFacts(generation="v2", end_seen=True)
    return CommitParsed(
        path=name,
        base_version=0,
        tiers=TierConfig(),
        parsed=ParsedTrace(
            stamp=stamp_of(os.stat(os.path.join(os.fsencode(root), name))),
            resumed=False,
            segments=(segment,),
            resume=ResumePoint(
                c_offset=100_000,
                uc_offset=1_000_000,
                line_offset=1_000_000,
                line=5000,
                head=bytes(16),
                head_bytes=4096,
                tail=bytes(16),
            ),
            facts=facts,
            final_facts=facts,
            tail="complete",
        ),
    )


def finished_trace() -> bytes:
    """Return a small trace that says that it has ended."""
    lines = [
        json.dumps({"id": number, "name": "read", "cat": "POSIX", "pid": 1, "tid": 1, "ph": "X",
                    "ts": 1000 * number, "dur": 10, "args": {"ret": 4096}})
        for number in range(1, 101)
    ]  # fmt: skip
    return ("[\n" + "\n".join(lines) + "\n]\n").encode()


async def measure(traces: int, times: int) -> Measured:
    """Measure everything with a store of so many *traces*."""
    measured = Measured()
    with tempfile.TemporaryDirectory(prefix="one-more-") as folder:
        root_path, state = Path(folder, "traces"), os.path.join(folder, "state")
        names = make_root(root_path, traces)
        real = os.path.realpath(os.fsencode(root_path))  # noqa: ASYNC240 - nothing runs yet
        state_dir = StateDir(state, "a benchmark")
        store_path = state_dir.store_path(real)
        state_dir.close()
        fill_store(root_path, store_path, names)
        options = EngineOptions(
            state_dir=state,
            owner="a benchmark",
            workers=1,
            root=RootOptions(rescan_seconds=_SECONDS),
        )
        async with open_engine(options) as engine:
            await _follow(engine, real, root_path, times, measured)
    return measured


async def _follow(
    engine: Engine, real: bytes, root_path: Path, times: int, measured: Measured
) -> None:
    begin = time.perf_counter()
    root = await engine.add_root(real)
    measured.open = _milliseconds(begin)
    begin = time.perf_counter()
    before = root.handle.registry.generation
    await (await root.leave_ticket(real)).wait()
    measured.caught_up = _milliseconds(begin)
    if root.handle.registry.generation != before:
        raise RuntimeError("something was indexed although nothing had changed")
    fresh = count()
    # The first ones load what a worker needs.
    await _add(root, root_path, fresh, 3, _asked, [])
    await _add(root, root_path, fresh, times, _asked, measured.asked)
    await _add(root, root_path, fresh, times, _found, measured.found)
    begin = time.perf_counter()
    root_status(root)
    measured.status = _milliseconds(begin)
    measured.scan = await _longest_pause(root)


async def _add(
    root: Root,
    root_path: Path,
    fresh: Iterator[int],
    times: int,
    commit: Callable[[Root, bytes], Awaitable[None]],
    into: list[float],
) -> None:
    data = finished_trace()
    for _ in range(times):
        name = f"new-{next(fresh)}.pfw"
        aside = root_path / f"{name}.part"
        aside.write_bytes(data)
        begin = time.perf_counter()
        aside.rename(root_path / name)
        await commit(root, name.encode())
        into.append(_milliseconds(begin))
        if root.handle.registry.traces[name.encode()].ending != "end":
            raise RuntimeError(f"{name} is not finished")


async def _asked(root: Root, name: bytes) -> None:
    await (await root.leave_ticket(os.path.join(root.path, name))).wait()


async def _found(root: Root, name: bytes) -> None:
    with anyio.fail_after(_SECONDS):
        while name not in root.handle.registry.traces:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(_HEARTBEAT / 2)


async def _longest_pause(root: Root) -> float:
    """Return for how long at most the event loop did not come round while all was looked at."""
    pauses = []
    async with anyio.create_task_group() as tasks:

        async def beat() -> None:
            while True:
                begin = time.perf_counter()
                await anyio.sleep(_HEARTBEAT)
                pauses.append(_milliseconds(begin) - _HEARTBEAT * 1000)

        tasks.start_soon(beat)
        await (await root.leave_ticket(root.path)).wait()
        tasks.cancel_scope.cancel()
    return max(pauses)


def _milliseconds(begin: float) -> float:
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, action="append")
    parser.add_argument("--times", type=int, default=30)
    given = parser.parse_args()
    configure_logs("warning")
    print("traces | open | caught up | asked | found | status | scan, all in ms")
    for traces in given.traces or (3000, 100_000):
        done = anyio.run(measure, traces, given.times, backend_options={"use_uvloop": True})
        print(
            f"{traces} | {done.open:.0f} | {done.caught_up:.0f}"
            f" | {statistics.median(done.asked):.1f}, at most {max(done.asked):.1f}"
            f" | {statistics.median(done.found):.1f}, at most {max(done.found):.1f}"
            f" | {done.status:.2f} | {done.scan:.1f}"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
