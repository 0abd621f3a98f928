"""What a distributed build costs: a model of its parts, and fitting it to measurements. Pure.

A part costs a constant for each thing that it handles (:class:`Costs`). The coordinator's parts are
done by one processor, one after the other; a worker's by as many as it has threads. So the time of
a build (:func:`predict`) is the coordinator's and that of a worker with an even share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ("Costs", "Load", "Parts", "fitted", "predict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds a thing, but for ``artifact_bytes``: bytes of SST files an event. ``start`` is what a
    build costs whatever it is of, ``slower`` how many times as long reading takes in whole builds
    as alone."""

    start: float
    slower: float
    scan_file: float
    register_file: float
    plan_file: float
    task: float
    read_file: float
    read_byte: float
    flush: float
    move_file: float
    move_byte: float
    ingest: float
    ingest_sst: float
    ingest_byte: float
    artifact_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A build: *files* of *text_bytes* and *events* each, by *workers* of so many *threads* that
    run at once. A worker leaves *ssts* files, and moves them if they are *staged* apart."""

    files: int
    text_bytes: float
    events: float
    workers: int
    threads: int
    ssts: int = 8
    staged: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """Seconds of each part of a build, and how much the workers leave."""

    start: float
    look: float
    plan: float
    build: float
    move: float
    ingest: float
    ssts: int
    artifact_bytes: float

    @property
    def total(self) -> float:
        """Seconds of all of it."""
        return self.start + self.look + self.plan + self.build + self.move + self.ingest


def predict(costs: Costs, load: Load) -> Parts:
    """Return what *load* takes with *costs*."""
    readers = min(load.workers * load.threads, load.files)
    files = load.files / readers
    ssts = min(load.workers, load.files) * load.ssts
    left = load.files * load.events * costs.artifact_bytes
    a_file = costs.read_file + costs.read_byte * load.text_bytes
    a_worker = load.ssts * costs.move_file + left / load.workers * costs.move_byte
    return Parts(
        start=costs.start,
        look=load.files * (costs.scan_file + costs.register_file),
        plan=load.files * costs.plan_file + load.workers * costs.task,
        build=(files * a_file + costs.flush) * costs.slower,
        move=a_worker if load.staged else 0.0,
        ingest=costs.ingest + ssts * costs.ingest_sst + left * costs.ingest_byte,
        ssts=ssts,
        artifact_bytes=left,
    )


def fitted(
    samples: Sequence[tuple[Mapping[str, float], float]], names: Sequence[str]
) -> dict[str, float]:
    """Return for each of *names* the seconds a thing that fit *samples* best: each has how many
    there were of each, and the seconds of all. No cost is negative; errors count by their share.

    :raises ValueError: there are fewer samples than names.
    """
    if len(samples) < len(names):
        raise ValueError(f"{len(samples)} samples cannot tell {len(names)} costs apart")
    counts = np.array([[counted.get(name, 0.0) for name in names] for counted, _ in samples])
    seconds = np.array([taken for _, taken in samples])
    kept = list(range(len(names)))
    while True:
        found = np.linalg.lstsq(counts[:, kept] / seconds[:, None], np.ones(len(samples)))[0]
        worst = int(np.argmin(found))
        if found[worst] >= 0 or len(kept) == 1:
            break
        del kept[worst]
    costs = dict.fromkeys(names, 0.0)
    return costs | {
        names[place]: max(float(one), 0.0) for place, one in zip(kept, found, strict=True)
    }
