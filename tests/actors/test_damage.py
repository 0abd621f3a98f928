"""What is damaged, what is due because of it, and when it is given up: decided without a store."""

from __future__ import annotations

import pytest

from dftindexd.actors.damage import MOST_REPAIRS, Damage, Due
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.store.registry import Registry, plan
from tests.index.store.commits import TIERS, parsed_commit

#: A set that gives nothing of what is wanted.
OTHER = TierConfig(aggregation=None, chunk_bytes=1 << 20)
SEEN = {b"a": None, b"b": None}


def committed(
    registry: Registry, path: bytes, *segments: int, tiers: TierConfig = TIERS
) -> Registry:
    old = next((one for one in registry.sets.get(path, ()) if one.tiers == tiers), None)
    base = old.version if old is not None else 0
    done = plan(registry, [parsed_commit(path, base, *segments, tiers=tiers)])
    assert not done.refused
    return done.registry


@pytest.fixture
def registry() -> Registry:
    """Two traces: ``a`` of the segments 1 and 2, ``b`` of the segment 3."""
    return committed(committed(Registry.of(0, 1, (), TIERS), b"a", 1, 2), b"b", 3)


def record(registry: Registry, path: bytes) -> TraceRecord:
    return registry.traces[path]


def test_a_trace_is_damaged_while_its_record_names_a_damaged_segment(registry: Registry) -> None:
    damage = Damage()
    assert damage.note([2], "checksum", registry.sets) == [b"a"]
    assert damage.reasons(registry.sets) == {b"a": "checksum"}
    assert damage.of([record(registry, b"b")]) is None
    error = damage.of([record(registry, b"b"), record(registry, b"a")])
    assert error is not None
    assert (error.message, error.segments) == ("checksum", frozenset({2}))
    rebuilt = committed(registry, b"a", 4)
    assert damage.reasons(rebuilt.sets) == {}
    assert damage.of([record(rebuilt, b"a")]) is None


def test_damage_of_segments_that_nobody_names_any_more_is_no_damage(registry: Registry) -> None:
    damage = Damage()
    assert damage.note([77], "checksum", registry.sets) == []
    assert damage.due(registry.sets, SEEN, TIERS) == Due()


def test_each_damage_is_due_once_however_often_it_is_noted_and_asked_for(
    registry: Registry,
) -> None:
    damage = Damage()
    damage.note([2], "checksum", registry.sets)
    assert damage.due(registry.sets, SEEN, TIERS) == Due(parse=(b"a",))
    damage.note([2], "checksum", registry.sets)
    damage.note([1], "checksum", registry.sets)  # which the parse on its way heals, too
    assert damage.due(registry.sets, SEEN, TIERS) == Due()
    assert damage.repairs == 1


def test_a_trace_that_is_not_known_to_be_on_disk_waits_for_a_look(registry: Registry) -> None:
    damage = Damage()
    damage.note([2], "checksum", registry.sets)
    assert damage.due(registry.sets, {}, TIERS) == Due()
    assert damage.due(registry.sets, SEEN, TIERS) == Due(parse=(b"a",))


def test_a_trace_that_is_damaged_again_and_again_condemns_the_store(registry: Registry) -> None:
    damage = Damage()
    for number in range(MOST_REPAIRS):
        segment = 10 + number
        registry = committed(registry, b"a", segment)
        damage.note([segment], "checksum", registry.sets)
        assert damage.due(registry.sets, SEEN, TIERS) == Due(parse=(b"a",))
    registry = committed(registry, b"a", 20)
    damage.note([20], "checksum", registry.sets)
    assert "3 times in vain: checksum" in damage.due(registry.sets, SEEN, TIERS).condemn
    assert damage.due(registry.sets, SEEN, TIERS) == Due()


def test_a_damaged_set_that_nobody_asks_for_is_dropped_and_not_parsed(registry: Registry) -> None:
    registry = committed(registry, b"a", 5, tiers=OTHER)
    damage = Damage()
    damage.note([5], "checksum", registry.sets)
    due = damage.due(registry.sets, SEEN, TIERS)
    assert (due.parse, [one.tiers for one in due.drop]) == ((), [OTHER])


def test_nothing_is_known_of_another_store(registry: Registry) -> None:
    damage = Damage()
    damage.note([2], "checksum", registry.sets)
    damage.forget()
    assert damage.of([record(registry, b"a")]) is None
    assert damage.reasons(registry.sets) == {}
    assert damage.due(registry.sets, SEEN, TIERS) == Due()
