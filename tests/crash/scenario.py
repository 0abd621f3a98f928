"""The life of one store, told line by line, for a process that is to fail in the midst of it.

``python -m tests.crash.scenario STORE LOG``. Each line of LOG is synced: ``begin`` says what a step
is about to commit, ``done`` what the store then holds in memory, also after a step that failed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any

from dftindexd.index.errors import CoreError
from dftindexd.index.store.layout import COLUMN_FAMILIES
from dftindexd.index.store.registry import Commit, CommitRemoval
from dftindexd.index.store.sst import write_ssts
from dftindexd.index.store.writer import StoreWriter
from tests.index.store.commits import TIERS, parsed_commit, rows_of

__all__ = ("Held", "held_by", "opened")

#: What a store holds: of each trace its version and segments.
Held = dict[str, list[Any]]


def opened(path: str) -> StoreWriter:
    """Open the store at *path*; where that fails once, again."""
    try:
        return StoreWriter(path, root="/traces", owner="the scenario")
    except CoreError:
        return StoreWriter(path, root="/traces", owner="the scenario")


def held_by(writer: StoreWriter) -> Held:
    """Return what *writer* holds."""
    return {
        path.decode(): [record.version, [one.segment_id for one in record.segments]]
        for path, record in writer.registry.traces.items()
    }


class _Life:
    def __init__(self, path: str, log: IO[str]) -> None:
        self._path = path
        self._log = log
        self.writer = opened(path)
        self._tell(done=held_by(self.writer))

    def _tell(self, **what: object) -> None:
        self._log.write(json.dumps(what) + "\n")
        self._log.flush()
        os.fsync(self._log.fileno())

    def _try(self, coming: Held, step: Callable[[], object]) -> None:
        self._tell(begin=coming)
        try:
            step()
        except CoreError as error:
            self._tell(failed=str(error))
        self._tell(done=held_by(self.writer))

    def _commits(self, names: Sequence[str]) -> tuple[Held, list[int], list[Commit]]:
        coming = held_by(self.writer)
        numbers = [self.writer.new_segment_id() for _ in names]
        commits: list[Commit] = []
        for name, number in zip(names, numbers, strict=True):
            version = coming.get(name, [0])[0]
            commits.append(parsed_commit(name.encode(), version, number))
            coming[name] = [version + 1, [number]]
        return coming, numbers, commits

    def write(self, *names: str) -> None:
        coming, numbers, commits = self._commits(names)
        self._try(coming, lambda: self.writer.write(rows_of(*numbers), commits))

    def ingest(self, *names: str) -> None:
        coming, numbers, commits = self._commits(names)
        files = write_ssts(rows_of(*numbers), self.writer.staging, f"{numbers[0]:x}")
        artifacts = {family: [file] for family, file in files.items()}
        self._try(coming, lambda: self.writer.ingest(artifacts, commits))

    def remove(self, name: str) -> None:
        coming = held_by(self.writer)
        version, _ = coming.pop(name, [0, []])
        commit = CommitRemoval(path=name.encode(), base_version=version, tiers=TIERS)
        self._try(coming, lambda: self.writer.write([], [commit]))

    def compact(self) -> None:
        held, generation = held_by(self.writer), self.writer.registry.generation
        self._try(held, lambda: self.writer.vacuum(generation))
        self._try(held, lambda: self.writer.rocks.compact(COLUMN_FAMILIES, lambda: False))

    def reopen(self) -> None:
        held = held_by(self.writer)
        self.writer.close()
        self._tell(begin=held)
        self.writer = opened(self._path)
        self._tell(done=held_by(self.writer))


def main(path: str, log_path: str) -> None:
    """Live once."""
    with open(log_path, "w", encoding="utf-8") as log:
        life = _Life(path, log)
        for _ in range(2):
            life.write("a", "b")
            life.ingest("c", "d")
            life.write("a")
            life.ingest("b", "c")
            life.remove("d")
            life.compact()
            life.reopen()
        life.writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
