"""What a distributed build costs, part by part, and what that makes of many nodes.

``python -m benchmarks.cluster_scaling [--workers 1,2,4,8]`` measures each part alone on traces that
it makes, fits the model of ``benchmarks/cluster_model.py`` to them, then has LocalClusters of
so many workers index a run, fits what a build and a worker cost besides, and prints what all that
says of 1, 100 and 10,000 nodes. What only computes is measured in processor time, what waits for a
disk or for others in seconds, the best of several each.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from distributed import Client, LocalCluster

from benchmarks.cluster_model import Costs, Load, fitted, predict
from dftindexd.cluster.artifacts import SstArtifactRegistry, move_artifacts
from dftindexd.cluster.build import BatchOrder, Built, Unit, build_batch
from dftindexd.cluster.planning import plan_work_units
from dftindexd.cluster.store import IndexStore
from dftindexd.cluster.traces import traces_in
from dftindexd.compat.dask import DFTracerUtilsDaskWorkerPlugin, distributed_index
from dftindexd.index.artifacts.files import digest_of, take_copy
from dftindexd.index.model import TierConfig
from dftindexd.index.store.layout import MANIFEST
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.sst import write_ssts

_LINE = (
    '{{"id":{id},"name":"{name}","cat":"POSIX","pid":{pid},"tid":{pid},"ts":{ts},"dur":{dur},'
    '"ph":1,"type":3,"args":{{"hhash":"00000000000000aa","fhash":"{file:016x}","ret":{size}}}}}\n'
)
_NAMES = ("read", "write", "open64", "close", "lseek64", "fstat", "stat", "mkdir")
_MEMBER_EVENTS = 5_000
_TIERS = TierConfig().normal()
_REPEATS = 3
_BUILDS = 5
_TASKS = 64
_PLANNED_FILES = 100_000
_LOOKED_FILES = 2_000
#: (traces, events of each): what is built and ingested, in one batch and in several.
_SETS = ((4, 1_000), (60, 1_000), (4, 40_000), (8, 80_000))
#: What whole builds index: traces, and events of each.
_RUN = (32, 80_000)
#: A node of the extrapolation: ranks, each with a trace; threads that read.
_RANKS = 32
_THREADS = 32
_RANK_EVENTS = 200_000
_NODES = (1, 100, 10_000)


class Made(NamedTuple):
    """Traces that were made: their paths, and the bytes of text and the events of all."""

    paths: list[str]
    text_bytes: int
    events: int


def make_traces(folder: Path, number: int, events: int) -> Made:
    """Write *number* traces of so many events, as the tracer does: one member a buffer."""
    folder.mkdir(parents=True)
    size = 0
    for pid in range(1, number + 1):
        chosen = random.Random(pid)
        lines = [
            _LINE.format(
                id=one,
                name=chosen.choice(_NAMES),
                pid=pid,
                ts=1_700_000_000_000_000 + 1_500 * one,
                dur=chosen.randrange(1, 900),
                file=chosen.randrange(20),
                size=chosen.choice((512, 4096, 65536)),
            )
            for one in range(events)
        ]
        size += sum(map(len, lines))
        texts = (
            "".join(lines[one : one + _MEMBER_EVENTS]) for one in range(0, events, _MEMBER_EVENTS)
        )
        data = b"".join(gzip.compress(text.encode(), 1) for text in texts)
        (folder / f"rank-{pid:05}.pfw.gz").write_bytes(data)
    return Made(sorted(map(str, folder.iterdir())), size, number * events)


def best(call: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return the fewest seconds of some calls, of processor time unless told."""
    found = []
    for _ in range(_REPEATS):
        begun = clock()
        call()
        found.append(clock() - begun)
    return min(found)


def build(made: Made, staging: Path, flush_every: int = 0) -> Built:
    """Build artifacts of traces, by one thread."""
    order = BatchOrder(
        name="measured",
        units=tuple(Unit(path, os.path.getsize(path)) for path in made.paths),
        tiers=_TIERS,
        staging=str(staging),
        flush_every=flush_every,
    )
    return build_batch(order)


def files_of(built: Built) -> list[str]:
    """Return the SST files of what was built."""
    return [
        path
        for one in built.artifacts
        for name, path in one.items()
        if path is not None and name != "metadata_sst"
    ]


def bytes_of(paths: Iterable[str]) -> int:
    """Return how many bytes the files *paths* have together."""
    return sum(map(os.path.getsize, paths))


def measure_looks(folder: Path) -> dict[str, float]:
    """Return what a trace costs before it is read."""
    made = make_traces(folder / "looked", _LOOKED_FILES, 1)
    root = str(folder / "looked")
    traces = traces_in(root)
    scan = best(lambda: traces_in(root))
    stores = iter(range(_REPEATS))

    def register() -> None:
        store = IndexStore(str(folder / f"registered-{next(stores)}"), traces.root)
        store.register(made.paths)
        store.lacking(traces.stamps, _TIERS)

    registered = best(register)
    members = [[(0, 1000 + number % 7)] for number in range(_PLANNED_FILES)]
    plan = best(lambda: plan_work_units(members, _PLANNED_FILES // _RANKS))
    return {
        "scan_file": scan / _LOOKED_FILES,
        "register_file": registered / _LOOKED_FILES,
        "plan_file": plan / _PLANNED_FILES,
    }


def measure_builds(folder: Path) -> dict[str, float]:
    """Return what reading costs, a flush of what was read, and how much that leaves."""
    samples = []
    left = events = 0
    for number, events_each in _SETS:
        made = make_traces(folder / f"set-{number}-{events_each}", number, events_each)
        for flush_every in (0, 2):
            staging = folder / f"staged-{number}-{events_each}-{flush_every}"
            built = build(made, staging, flush_every)
            seconds = best(lambda: build(made, folder / "again", flush_every))  # noqa: B023
            shutil.rmtree(folder / "again")
            batches = sum(1 for one in built.artifacts if one["metadata_sst"])
            samples.append(({"file": number, "byte": made.text_bytes, "flush": batches}, seconds))
        left += bytes_of(files_of(built))
        events += made.events
    costs = fitted(samples, ("file", "byte", "flush"))
    return {
        "read_file": costs["file"],
        "read_byte": costs["byte"],
        "flush": costs["flush"],
        "artifact_bytes": left / events,
    }


def measure_moves(folder: Path) -> dict[str, float]:
    """Return what it costs to move artifacts to another file system, where there is one; it then
    holds what is staged in memory."""
    samples = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        for number, events in _SETS:
            made = Made(sorted(map(str, (folder / f"set-{number}-{events}").iterdir())), 0, 0)
            built = build(made, Path(memory) / f"moved-{number}-{events}")
            paths = files_of(built)
            counted = {"file": float(len(paths)), "byte": float(bytes_of(paths))}
            begun = time.perf_counter()
            for one in built.artifacts:
                move_artifacts(one, str(folder / "moved"))
            samples.append((counted, time.perf_counter() - begun))
    costs = fitted(samples, ("file", "byte"))
    return {"move_file": costs["file"], "move_byte": costs["byte"]}


def measure_ingests(folder: Path) -> dict[str, float]:
    """Return what taking in costs, by files and their bytes."""
    samples = []
    a_byte = measure_bytes(folder)
    for number, events in _SETS:
        source = folder / f"set-{number}-{events}"
        made = Made(sorted(map(str, source.iterdir())), 0, 0)
        for flush_every in (0, 2):
            taken = []
            for repeat in range(_REPEATS):
                name = f"{number}-{events}-{flush_every}-{repeat}"
                built = build(made, folder / f"to-ingest-{name}", flush_every)
                registry = SstArtifactRegistry()
                for one in built.artifacts:
                    registry.append(one)
                paths = files_of(built)
                size = bytes_of(paths)
                store = IndexStore(str(folder / f"store-{name}"), os.fsencode(source))
                begun = time.perf_counter()
                store.ingest(registry)
                taken.append(time.perf_counter() - begun - size * a_byte)
            samples.append(({"ingest": 1.0, "sst": float(len(paths))}, min(taken)))
    costs = fitted(samples, ("ingest", "sst"))
    return {"ingest": costs["ingest"], "ingest_sst": costs["sst"], "ingest_byte": a_byte}


def measure_bytes(folder: Path) -> float:
    """Return what a byte of a large file costs that is taken in."""
    place = folder / "large"
    (place / "staging").mkdir(parents=True)
    random_bytes = random.Random(1).randbytes
    rows = [(MANIFEST, number.to_bytes(8, "big"), random_bytes(1 << 15)) for number in range(2048)]
    path = write_ssts(rows, str(place), "large")[MANIFEST]
    size, digest = os.path.getsize(path), digest_of(path)
    store = RocksStore(str(place / "store"))
    begun = time.perf_counter()
    target = str(place / "staging" / "large.sst")
    take_copy(path, target, size=size, digest=digest)
    store.ingest({MANIFEST: [target]})
    taken = time.perf_counter() - begun
    store.close()
    return taken / size


def index_with(folder: Path, workers: int) -> tuple[float, float]:
    """Return the seconds of a whole build by so many workers, and of a task that does nothing."""
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(DFTracerUtilsDaskWorkerPlugin())
        names = [str(number) for number in range(_TASKS)]
        task = best(
            lambda: client.gather(client.map(os.path.basename, names, pure=False)),
            time.perf_counter,
        )
        found = []
        for repeat in range(_BUILDS):
            begun = time.perf_counter()
            result = distributed_index(
                str(folder / "run"),
                index_path=str(folder / f"whole-{workers}-{repeat}.dftindex"),
                local_staging=str(folder / "staging"),
                client=client,
                aggregation_config=True,
            )
            found.append(time.perf_counter() - begun)
            if result["failed"]:
                raise RuntimeError(f"not indexed: {result['failed']}")
    return min(found), task / _TASKS


def fit_whole(measured: Mapping[int, float], cores: int) -> dict[str, float]:
    """Return what builds by so many workers cost together, what each worker adds, and what is
    shared between those that run at once."""
    samples = [
        ({"start": 1.0, "worker": float(number), "shared": 1 / min(number, cores)}, seconds)
        for number, seconds in measured.items()
    ]
    return fitted(samples, ("start", "worker", "shared"))


def print_costs(costs: Costs) -> None:
    """Print what each part costs."""
    print("| part | costs |\n|---|---|")
    rows = (
        ("a build, whatever it is of", f"{costs.start * 1e3:.0f} ms"),
        ("look for a trace", f"{costs.scan_file * 1e6:.0f} µs"),
        ("register a trace, and see whether it is there", f"{costs.register_file * 1e6:.0f} µs"),
        ("plan a trace", f"{costs.plan_file * 1e6:.0f} µs"),
        ("a task of Dask", f"{costs.task * 1e3:.1f} ms"),
        ("read a trace, whatever its size", f"{costs.read_file * 1e3:.1f} ms"),
        ("read text, one thread alone", f"{1e-6 / costs.read_byte:.0f} MB/s"),
        ("write a batch", f"{costs.flush * 1e3:.0f} ms"),
        ("move a file", f"{costs.move_file * 1e3:.2f} ms"),
        ("move bytes", f"{1e-6 / costs.move_byte:.0f} MB/s" if costs.move_byte else "-"),
        ("take in, whatever it is", f"{costs.ingest * 1e3:.0f} ms"),
        ("take an SST file in", f"{costs.ingest_sst * 1e3:.2f} ms"),
        ("take its bytes in", f"{1e-6 / costs.ingest_byte:.0f} MB/s" if costs.ingest_byte else "-"),
        ("artifacts of an event", f"{costs.artifact_bytes:.1f} bytes"),
    )
    for name, value in rows:
        print(f"| {name} | {value} |")


def print_nodes(costs: Costs) -> None:
    """Print what the model says of many nodes."""
    print("| nodes | traces | look | plan | build | move | take in | all | SST files | artifacts |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    event_bytes = len(_LINE.format(id=1, name="read", pid=1, ts=10**15, dur=10, file=1, size=4096))
    for nodes in _NODES:
        load = Load(
            files=nodes * _RANKS,
            text_bytes=event_bytes * _RANK_EVENTS,
            events=_RANK_EVENTS,
            workers=nodes,
            threads=_THREADS,
            staged=True,
        )
        parts = predict(costs, load)
        times = (
            parts.start + parts.look,
            parts.plan,
            parts.build,
            parts.move,
            parts.ingest,
            parts.total,
        )
        told = " | ".join(f"{one:,.1f} s" for one in times)
        print(
            f"| {nodes:,} | {load.files:,} | {told} | {parts.ssts:,} "
            f"| {parts.artifact_bytes / 1e9:,.1f} GB |"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", default="1,2,3,4,6,8")
    workers = [int(one) for one in parser.parse_args().workers.split(",")]
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parts = (
            measure_looks(folder)
            | measure_builds(folder)
            | measure_moves(folder)
            | measure_ingests(folder)
        )
        run = make_traces(folder / "run", *_RUN)
        builds = {number: index_with(folder, number) for number in workers}
        measured = {number: seconds for number, (seconds, _) in builds.items()}
        whole = fit_whole(measured, cores)
        load = Load(
            files=len(run.paths),
            text_bytes=run.text_bytes / len(run.paths),
            events=run.events / len(run.paths),
            workers=1,
            threads=1,
        )
        task = min(one for _, one in builds.values())
        alone = Costs(start=whole["start"], task=task, slower=1.0, **parts)
        own = predict(alone, load)
        costs = replace(alone, slower=max(whole["shared"] / own.build, 1.0))
        print_costs(costs)
        print(
            f"\n{run.text_bytes / 1e6:.0f} MB of text, of which one worker reads all: "
            f"{whole['shared']:.2f} s by these builds, {own.build:.2f} s by its parts, "
            f"{costs.slower:.1f} times as much.\n"
            f"Each worker adds {whole['worker'] * 1e3:.0f} ms here.\n"
        )
        print(f"| workers, on {cores} processors | measured | the model |\n|---|---|---|")
        for number, seconds in measured.items():
            model = whole["start"] + whole["worker"] * number + whole["shared"] / min(number, cores)
            print(f"| {number} | {seconds:.2f} s | {model:.2f} s |")
        print()
        print_nodes(costs)


if __name__ == "__main__":
    main()
