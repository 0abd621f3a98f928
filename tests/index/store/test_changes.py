"""What changed since a generation, told by the registry alone, and what outlives a reopening."""

from __future__ import annotations

from pathlib import Path

import pytest

from dftindexd.index.errors import StaleGenerationError
from dftindexd.index.model import TraceFacts
from dftindexd.index.store.registry import (
    Commit,
    CommitRemoval,
    CommitSettled,
    Registry,
    changes_since,
    plan,
)
from dftindexd.index.store.writer import StoreWriter
from tests.index.store.commits import TIERS, parsed_commit, rows_of, stamp


def _after(*batches: list[Commit]) -> Registry:
    registry = Registry.of(0, 1, ())
    for commits in batches:
        registry = plan(registry, commits).registry
    return registry


def _removal(path: bytes, version: int = 1) -> CommitRemoval:
    return CommitRemoval(path=path, base_version=version, tiers=TIERS)


def test_changes_are_of_later_generations_and_below_the_directory() -> None:
    registry = _after(
        [parsed_commit(b"x/a", 0, 1), parsed_commit(b"b", 0, 2), parsed_commit(b"x/c", 0, 3)],
        [_removal(b"x/a"), parsed_commit(b"b", 1, 4)],
    )
    every = changes_since(registry, 0)
    assert sorted(record.path for record in every.changed) == [b"b", b"x/c"]
    assert every.removed == (b"x/a",)
    late = changes_since(registry, 1)
    assert ([record.path for record in late.changed], late.removed) == ([b"b"], (b"x/a",))
    assert changes_since(registry, 1, b"x") == ((), (b"x/a",))
    assert changes_since(registry, 2) == ((), ())


def test_a_generation_that_the_store_has_not_come_to_is_not_known() -> None:
    registry = _after([parsed_commit(b"a", 0, 1)])
    with pytest.raises(StaleGenerationError, match="generation 2 is not one of this store"):
        changes_since(registry, 2)


def test_a_trace_that_is_back_did_not_go() -> None:
    registry = _after([parsed_commit(b"a", 0, 1)], [_removal(b"a")], [parsed_commit(b"a", 0, 2)])
    changes = changes_since(registry, 1)
    assert ([record.path for record in changes.changed], changes.removed) == ([b"a"], ())


def test_what_is_read_anew_as_it_was_has_ended_as_it_had() -> None:
    settled: list[Commit] = [CommitSettled(path=b"a", base_version=1, tiers=TIERS)]
    registry = _after([parsed_commit(b"a", 0, 1)], settled, [parsed_commit(b"a", 2, 2)])
    assert registry.traces[b"a"].ending == "silence"
    grown = parsed_commit(b"a", 2, 2, file=stamp(size=11))
    assert _after([parsed_commit(b"a", 0, 1)], settled, [grown]).traces[b"a"].ending is None
    marked = parsed_commit(b"a", 2, 2, facts=TraceFacts(end_seen=True))
    assert _after([parsed_commit(b"a", 0, 1)], settled, [marked]).traces[b"a"].ending == "end"


def test_removed_traces_are_known_for_their_retention_and_across_a_reopening(
    tmp_path: Path,
) -> None:
    now = 1000.0

    def opened() -> StoreWriter:
        return StoreWriter(str(tmp_path / "s"), root="/t", owner="the test", clock=lambda: now)

    writer = opened()
    for name in (b"a", b"b"):
        number = writer.new_segment_id()
        writer.write(rows_of(number), [parsed_commit(name, 0, number)])
    writer.write([], [_removal(b"a")])
    now = 2000.0
    writer.write([], [_removal(b"b")])
    registry = writer.registry
    writer.close()
    writer = opened()
    assert writer.registry == registry
    assert writer.vacuum(writer.registry.generation, dropped_before=1500.0) == 1
    assert writer.registry.gone.keys() == {b"b"}
    with pytest.raises(StaleGenerationError, match="only since 3"):
        changes_since(writer.registry, 2)
    assert changes_since(writer.registry, 3).removed == (b"b",)
    registry = writer.registry
    writer.close()
    writer = opened()
    assert writer.registry == registry
    writer.close()
