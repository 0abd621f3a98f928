"""How much memory a worker takes for one job: ``python -m benchmarks.job_memory``.

Each row is one trace, indexed by an engine of one worker that has read another before. *At most* is
what the worker has for itself alone (USS), sampled every 10 ms; *expected* is what jobs are
admitted by (``job_memory`` in ``actors/admission.py``).
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import psutil

from benchmarks.loop_lag import make_traces
from dftindexd.actors.admission import job_memory
from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root_options import RootOptions

_MEMBER_BYTES = 16 << 20
_SECONDS = 0.01


class _Sampler:
    """The most memory that any child of this process had."""

    def __init__(self) -> None:
        self.peak = 0

    def _look(self) -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                self.peak = max(self.peak, process.memory_full_info().uss)
            except psutil.NoSuchProcess:
                continue

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take samples for as long as the context lasts."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_SECONDS):
                self._look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def make_trace(folder: Path, kind: str, megabytes: float) -> Path:
    """Write one trace of *megabytes* of text."""
    make_traces(folder, 1, megabytes)
    plain = folder / "0.pfw"
    if kind == "plain":
        return plain
    text, packed = plain.read_bytes(), folder / "0.pfw.gz"
    plain.unlink()
    size = _MEMBER_BYTES if kind == "many members" else len(text)
    members = (gzip.compress(text[at : at + size], 6) for at in range(0, len(text), size))
    with packed.open("wb") as file:
        file.writelines(members)
    return packed


async def index(engine: Engine, folder: Path) -> None:
    """Index the traces of *folder*."""
    root = await engine.add_root(os.fsencode(folder))
    await (await root.leave_ticket(root.path)).wait()


async def measure(folder: Path, kind: str, megabytes: float) -> None:
    """Print the row of one trace."""
    traces, warm = folder / "traces", folder / "warm"
    for directory in (traces, warm):
        directory.mkdir()
    make_traces(warm, 1, 0.01)
    size = make_trace(traces, kind, megabytes).stat().st_size
    options = EngineOptions(
        state_dir=str(folder / "state"),
        owner="a benchmark",
        workers=1,
        root=RootOptions(follow=False),
    )
    sampler = _Sampler()
    async with open_engine(options) as engine:
        await index(engine, warm)
        with sampler.running():
            await index(engine, traces)
    peak, expected = sampler.peak / 1e6, job_memory(size) / 1e6
    row = f"| {kind}, {megabytes:.0f} MB | {size / 1e6:.1f} | {peak:.0f} | {expected:.0f} |"
    print(row, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.parse_args()
    print("| trace, text | on disk, MB | at most, MB | expected |")
    print("|---|---|---|---|")
    for kind in ("many members", "one member", "plain"):
        for megabytes in (8, 32, 128, 512):
            with tempfile.TemporaryDirectory(prefix="dftindexd-bench-") as name:
                folder = Path(os.path.realpath(name))
                anyio.run(partial(measure, folder, kind, megabytes))


if __name__ == "__main__":
    main()
