"""Which sets of a trace give what is wanted, what is missing, and who may answer."""

from __future__ import annotations

from functools import reduce
from operator import or_

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dftindexd.index.model import AggregationTier, FileStamp, TierConfig, TraceRecord
from dftindexd.index.tier_sets import Sets, best, cover, find_set, giving, only, parts, shown

OLD = FileStamp(ino=1, size=10, mtime_ns=5, ctime_ns=5)
NEW = FileStamp(ino=1, size=11, mtime_ns=6, ctime_ns=6)

FIVE, ONE = AggregationTier(), AggregationTier(interval_us=1_000_000)
GROUPED = AggregationTier(group_keys=("rank",))
ALL = TierConfig()
CHUNKS = TierConfig(aggregation=None)
NOTHING = TierConfig(checkpoints=False, bloom=False, manifest=False, aggregation=None)
ALONE = replace(NOTHING, checkpoints=True)
BLOOM = replace(NOTHING, checkpoints=True, bloom=True)
MANIFEST = replace(NOTHING, checkpoints=True, manifest=True)


def aggregated(tier: AggregationTier) -> TierConfig:
    return replace(NOTHING, aggregation=tier)


def record(
    tiers: TierConfig, generation: int = 1, stamp: FileStamp = OLD, quarantined: str = ""
) -> TraceRecord:
    return TraceRecord(
        file_id=1,
        path=b"a",
        version=1,
        generation=generation,
        stamp=stamp,
        tiers=tiers,
        quarantined=quarantined,
        ending="end",
    )


def sets_of(*tiers: TierConfig) -> Sets:
    return tuple(record(one) for one in tiers)


@pytest.mark.parametrize(
    ("held", "wanted", "used", "missing"),
    [
        ([], ALL, [], ALL),
        ([ALL], ALL, [ALL], None),
        ([ALL], CHUNKS, [ALL], None),
        ([ALL], replace(ALL, aggregation=ONE), [ALL], aggregated(ONE)),
        ([ALL], replace(ALL, aggregation=GROUPED), [ALL], aggregated(GROUPED)),
        ([ALL, aggregated(ONE)], replace(ALL, aggregation=ONE), [ALL, aggregated(ONE)], None),
        ([ALL, aggregated(ONE)], ALL, [ALL], None),
        ([CHUNKS], ALL, [CHUNKS], aggregated(FIVE)),
        ([aggregated(FIVE)], ALL, [aggregated(FIVE)], CHUNKS),
        ([BLOOM], CHUNKS, [BLOOM], MANIFEST),
        ([MANIFEST], CHUNKS, [MANIFEST], BLOOM),
        ([ALONE], CHUNKS, [ALONE], CHUNKS),
        ([BLOOM, MANIFEST], MANIFEST, [MANIFEST], None),
        ([BLOOM], replace(BLOOM, bloom_rate=0.1), [BLOOM], replace(BLOOM, bloom_rate=0.1)),
        ([BLOOM], replace(BLOOM, arguments=("x",)), [BLOOM], replace(BLOOM, arguments=("x",))),
        ([CHUNKS], replace(CHUNKS, chunk_bytes=1), [], replace(CHUNKS, chunk_bytes=1)),
        ([ALL], replace(ALL, chunk_bytes=1), [ALL], replace(CHUNKS, chunk_bytes=1)),
        ([aggregated(ONE)], NOTHING, [aggregated(ONE)], None),
        ([], NOTHING, [], NOTHING),
    ],
)
def test_what_is_there_is_used_and_only_the_rest_is_missing(
    held: list[TierConfig], wanted: TierConfig, used: list[TierConfig], missing: TierConfig | None
) -> None:
    found = cover(sets_of(*held), wanted)
    assert [one.tiers for one in found.used] == used
    assert found.missing == missing


CONFIGS = st.builds(
    lambda checkpoints, bloom, manifest, aggregation, chunk_bytes: TierConfig(
        checkpoints=checkpoints,
        bloom=bloom,
        manifest=manifest,
        aggregation=aggregation,
        chunk_bytes=chunk_bytes,
    ).normal(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, FIVE, ONE]),
    st.sampled_from([1 << 20, 32 << 20]),
)


@given(st.lists(CONFIGS, max_size=5, unique=True), CONFIGS)
def test_the_sets_used_and_what_is_missing_together_are_all_that_is_wanted(
    held: list[TierConfig], wanted: TierConfig
) -> None:
    used, missing = cover(sets_of(*held), wanted)
    given_parts: frozenset[TierConfig] = reduce(
        or_, (parts(one.tiers) for one in used), frozenset()
    )
    built = parts(missing) if missing is not None else frozenset()
    assert parts(wanted) <= given_parts | built
    assert missing is None or missing == missing.normal()
    assert missing is None or missing not in [one.tiers for one in used]
    assert built - {only(wanted, checkpoints=True)} <= parts(wanted) - given_parts
    assert used or missing is not None
    assert all(parts(one.tiers) & parts(wanted) for one in used) or not parts(wanted)


@given(st.lists(CONFIGS, min_size=1, max_size=6))
def test_after_each_was_asked_for_no_part_is_built_twice_and_each_is_still_given(
    asked: list[TierConfig],
) -> None:
    held: list[TierConfig] = []
    for wanted in asked:
        missing = cover(sets_of(*held), wanted).missing
        if missing is not None:
            assert missing not in held
            held.append(missing)
    for wanted in asked:
        assert cover(sets_of(*held), wanted).missing is None
    exact = [part for tiers in held for part in parts(tiers) if part.bloom or part.manifest]
    exact += [part for tiers in held for part in parts(tiers) if part.aggregation]
    assert len(exact) == len(set(exact))


def test_configurations_that_build_the_same_are_equal() -> None:
    assert TierConfig(checkpoints=False).normal() == TierConfig().normal()
    assert replace(aggregated(ONE), chunk_bytes=1).normal() == aggregated(ONE)
    assert replace(MANIFEST, bloom_rate=0.2, arguments=("x",)).normal() == MANIFEST
    assert replace(BLOOM, bloom_rate=0.2).normal() != BLOOM
    twice, once = replace(BLOOM, arguments=("b", "a", "b")), replace(BLOOM, arguments=("a", "b"))
    assert twice.normal() == once == once.normal()
    assert parts(NOTHING) == frozenset()


def test_of_sets_that_give_the_same_the_sound_and_then_the_newest_is_used() -> None:
    old, new = record(BLOOM, 1), record(MANIFEST, 2)
    assert cover((old, new), ALONE).used == (new,)
    assert cover((old, replace(new, quarantined="bad")), ALONE).used == (old,)


def test_a_set_that_another_has_overtaken_does_not_answer() -> None:
    stale, fresh = record(ALL, 1, OLD), record(aggregated(ONE), 2, NEW)
    assert giving((stale, fresh), aggregated(FIVE)) is None
    assert giving((stale, fresh), aggregated(ONE)) is fresh
    assert best((stale, fresh), lambda tiers: tiers.manifest) is None
    assert giving((stale,), aggregated(FIVE)) is stale


def test_sets_of_one_commit_or_of_one_state_of_the_file_both_answer() -> None:
    together = (record(ALL, 2, OLD), record(aggregated(ONE), 2, NEW))
    assert giving(together, aggregated(FIVE)) is together[0]
    later = (record(ALL, 1, NEW), record(aggregated(ONE), 2, NEW))
    assert giving(later, aggregated(FIVE)) is later[0]


def test_a_quarantine_says_nothing_about_what_the_file_holds() -> None:
    sound, bad = record(ALL, 1, OLD), record(aggregated(ONE), 2, NEW, "kills workers")
    assert giving((sound, bad), aggregated(FIVE)) is sound
    assert giving((sound, bad), aggregated(ONE)) is bad


def test_a_trace_is_shown_by_what_is_wrong_with_what_is_wanted() -> None:
    sound, bad = record(ALL, 2), record(aggregated(ONE), 1, quarantined="kills workers")
    assert shown((sound, bad), replace(ALL, aggregation=ONE)) is bad
    assert shown((sound, bad), ALL) is sound
    growing = replace(record(aggregated(ONE), 1), ending=None)
    assert shown((sound, growing), replace(ALL, aggregation=ONE)) is growing
    assert shown((sound, growing), ALL) is sound
    assert shown((growing, sound), replace(NOTHING, aggregation=GROUPED)) is growing


def test_a_set_is_found_by_exactly_its_tiers() -> None:
    sets = sets_of(ALL, aggregated(ONE))
    assert find_set(sets, aggregated(ONE)) is sets[1]
    assert find_set(sets, aggregated(FIVE)) is None
