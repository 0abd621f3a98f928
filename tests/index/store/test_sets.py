"""Several tier sets of one trace in one store: each with its own commits, counted as one trace."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.index.model import AggregationTier, TierConfig
from dftindexd.index.store.layout import AGGREGATION, completion_marker
from dftindexd.index.store.registry import (
    Commit,
    CommitQuarantine,
    CommitRemoval,
    CommitSettled,
    Registry,
    Tally,
    plan,
    records_below,
    sets_below,
)
from dftindexd.index.store.writer import StoreWriter
from tests.index.store.commits import TIERS, parsed_commit, rows_of, stamp
from tests.index.store.test_writer import open_writer, segments_with_rows

OTHER = TierConfig(
    checkpoints=False,
    bloom=False,
    manifest=False,
    aggregation=AggregationTier(interval_us=1_000_000),
)
BOTH = TierConfig(aggregation=OTHER.aggregation)


def two_sets() -> Registry:
    """Return a registry of one trace with two sets: segment 1, and beside it segment 2."""
    first = plan(Registry.of(0, 1, (), BOTH), [parsed_commit(b"a", 0, 1)])
    second = plan(first.registry, [parsed_commit(b"a", 0, 2, tiers=OTHER)])
    assert not second.refused
    assert not second.dropped
    return second.registry


def segments(registry: Registry, path: bytes = b"a") -> dict[TierConfig, list[int]]:
    return {
        one.tiers: [segment.segment_id for segment in one.segments]
        for one in registry.sets.get(path, ())
    }


def test_a_second_set_is_beside_the_first_under_the_same_file_id() -> None:
    registry = two_sets()
    assert segments(registry) == {TIERS: [1], OTHER: [2]}
    assert {one.file_id for one in registry.sets[b"a"]} == {1}
    assert [one.version for one in registry.sets[b"a"]] == [1, 1]
    assert registry.next_file_id == 2


def test_a_trace_with_two_sets_is_one_trace_to_whoever_counts() -> None:
    registry = two_sets()
    assert len(registry.traces) == 1
    assert len(records_below(registry, b"")) == len(sets_below(registry, b"")) == 1
    assert registry.tally == Tally(growing=1, events=1, valid_lines=1)


def test_each_set_is_committed_settled_and_refused_by_its_own_version() -> None:
    registry = two_sets()
    extended = plan(registry, [parsed_commit(b"a", 1, 3, resumed=True, tiers=OTHER)])
    assert segments(extended.registry) == {TIERS: [1], OTHER: [2, 3]}
    late = plan(extended.registry, [parsed_commit(b"a", 1, 4, tiers=OTHER)])
    assert [path for path, _ in late.refused] == [b"a"]
    assert late.dropped == (4,)
    settled = plan(registry, [CommitSettled(path=b"a", base_version=1, tiers=TIERS)]).registry
    assert {one.tiers: one.ending for one in settled.sets[b"a"]} == {TIERS: "silence", OTHER: None}
    assert settled.tally.growing == 1


def test_a_replacement_by_one_set_keeps_the_file_id_and_drops_the_others() -> None:
    batch: list[Commit] = [
        parsed_commit(b"a", 0, 3, tiers=BOTH),
        CommitRemoval(path=b"a", base_version=1, tiers=TIERS),
        CommitRemoval(path=b"a", base_version=1, tiers=OTHER),
    ]
    done = plan(two_sets(), batch)
    assert segments(done.registry) == {BOTH: [3]}
    assert done.dropped == (1, 2)
    assert done.registry.traces[b"a"].file_id == 1


def test_a_trace_is_gone_with_its_last_set() -> None:
    one = plan(two_sets(), [CommitRemoval(path=b"a", base_version=1, tiers=TIERS)])
    assert segments(one.registry) == {OTHER: [2]}
    assert one.dropped == (1,)
    none = plan(one.registry, [CommitRemoval(path=b"a", base_version=1, tiers=OTHER)])
    assert not none.registry.sets
    assert not none.registry.traces
    assert none.registry.tally == Tally()


def test_a_quarantine_of_one_set_leaves_the_other_its_segments() -> None:
    bad = CommitQuarantine(path=b"a", base_version=1, tiers=OTHER, stamp=stamp(), reason="bad")
    done = plan(two_sets(), [bad])
    assert segments(done.registry) == {TIERS: [1], OTHER: []}
    assert done.dropped == (2,)
    assert done.registry.traces[b"a"].quarantined == "bad"
    assert done.registry.tally == Tally(quarantined=1)
    elsewhere = [one for sets in done.registry.sets.values() for one in sets]
    assert Registry.of(3, 2, elsewhere, TIERS).tally == Tally(growing=1, events=1, valid_lines=1)


def test_a_reopened_store_has_both_sets_and_counts_for_whoever_opens_it(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    writer = open_writer(path)
    first, second = writer.new_segment_id(), writer.new_segment_id()
    writer.write(rows_of(first), [parsed_commit(b"a", 0, first)])
    writer.write(rows_of(second), [parsed_commit(b"a", 0, second, tiers=OTHER)])
    registry = writer.registry
    for tiers in (TIERS, OTHER):
        assert writer.rocks.get(AGGREGATION, completion_marker(1, tiers.digest())) == b""
    writer.close()
    writer = StoreWriter(path, root="/traces", owner="the test", wanted=OTHER)
    assert writer.registry.sets == registry.sets
    assert writer.registry.traces[b"a"].tiers == OTHER
    assert segments_with_rows(writer) == {first, second}
    writer.write([], [CommitRemoval(path=b"a", base_version=1, tiers=TIERS)])
    assert writer.vacuum(writer.registry.generation) == 1
    assert segments_with_rows(writer) == {second}
    assert writer.rocks.get(AGGREGATION, completion_marker(1, TIERS.digest())) is None
    writer.close()
    writer = open_writer(path)
    assert segments(writer.registry) == {OTHER: [second]}
    writer.close()


STEPS = st.tuples(
    st.sampled_from([b"a", b"b"]),
    st.sampled_from([TIERS, OTHER, BOTH]),
    st.sampled_from(["parse", "extend", "settle", "quarantine", "remove"]),
)


@given(st.lists(STEPS, max_size=30), st.sampled_from([TIERS, OTHER, BOTH]))
def test_the_incremental_registry_equals_one_made_of_its_records(
    steps: list[tuple[bytes, TierConfig, str]], wanted: TierConfig
) -> None:
    registry = Registry.of(0, 1, (), wanted)
    for serial, (path, tiers, kind) in enumerate(steps):
        held = {one.tiers: one.version for one in registry.sets.get(path, ())}
        base = held.get(tiers, 0)
        commit: Commit
        match kind:
            case "parse" | "extend":
                resumed = kind == "extend"
                commit = parsed_commit(path, base, serial + 1, resumed=resumed, tiers=tiers)
            case "settle":
                commit = CommitSettled(path=path, base_version=base, tiers=tiers)
            case "quarantine":
                commit = CommitQuarantine(
                    path=path, base_version=base, tiers=tiers, stamp=stamp(), reason="bad"
                )
            case _:
                commit = CommitRemoval(path=path, base_version=base, tiers=tiers)
        registry = plan(registry, [commit]).registry
        records = [one for sets in registry.sets.values() for one in sets]
        assert not registry.gone.keys() & registry.sets.keys()
        again = Registry.of(
            registry.generation,
            registry.next_file_id,
            records,
            wanted,
            gone=registry.gone.items(),
        )
        assert registry == again
