"""What the scheduler decides where a trace has several tier sets, or the wanted tiers change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.actors.jobs import MAX_ATTEMPTS, Job
from dftindexd.index.model import AggregationTier, TierConfig
from dftindexd.index.reconcile import Action
from dftindexd.index.tier_sets import cover, giving, parts

from .world import World

ALL = TierConfig()
FINE = TierConfig(aggregation=AggregationTier(interval_us=1_000_000))
CHUNKS = TierConfig(aggregation=None)
EXTRA = TierConfig(
    checkpoints=False,
    bloom=False,
    manifest=False,
    aggregation=AggregationTier(interval_us=1_000_000),
)


def steps_of(jobs: list[Job]) -> list[tuple[bytes, Action, TierConfig]]:
    return [
        (task.path, step.action, step.tiers)
        for job in jobs
        for task in job.tasks
        for step in task.steps
    ]


def held(world: World, path: bytes = b"a") -> set[TierConfig]:
    return {one.tiers for one in world.registry.sets.get(path, ())}


def two_sets() -> World:
    """Return a world in which trace ``a`` has all tiers and beside them a finer aggregation."""
    world = World(tiers=ALL)
    world.put(b"a")
    world.look()
    world.run()
    world.want(FINE)
    world.run()
    return world


def test_another_configuration_is_built_beside_and_the_first_needs_nothing_afterwards() -> None:
    world = World(tiers=ALL)
    world.put(b"a")
    world.look()
    world.run()
    first = world.registry.sets[b"a"]
    world.want(FINE)
    assert steps_of(world.run()) == [(b"a", Action.INDEX, EXTRA)]
    assert held(world) == {ALL, EXTRA}
    assert first[0] in world.registry.sets[b"a"]
    assert len({one.file_id for one in world.registry.sets[b"a"]}) == 1
    for tiers in (ALL, FINE, EXTRA, CHUNKS):
        world.want(tiers)
        assert world.state.idle


def test_both_sets_in_use_follow_a_growing_trace_in_one_job() -> None:
    world = two_sets()
    world.put(b"a", 150)
    world.look()
    assert world.state.pending_bytes == 100
    (job,) = world.run()
    assert steps_of([job]) == [(b"a", Action.EXTEND, ALL), (b"a", Action.EXTEND, EXTRA)]
    assert all(one.stamp == world.disk[b"a"] for one in world.registry.sets[b"a"])


def test_a_set_nobody_asks_for_is_brought_up_to_date_when_somebody_does() -> None:
    world = two_sets()
    world.want(ALL)
    world.put(b"a", 150)
    world.look()
    assert steps_of(world.run()) == [(b"a", Action.EXTEND, ALL)]
    assert giving(world.registry.sets[b"a"], EXTRA) is None
    world.want(FINE)
    assert steps_of(world.run()) == [(b"a", Action.EXTEND, EXTRA)]
    assert giving(world.registry.sets[b"a"], EXTRA) is not None


def test_a_replaced_trace_gets_one_set_of_what_is_wanted_and_loses_the_others() -> None:
    world = two_sets()
    file_id = world.registry.traces[b"a"].file_id
    world.put(b"a", 100, ino=99)
    world.look()
    assert steps_of(world.run()) == [(b"a", Action.INDEX, FINE)]
    assert held(world) == {FINE}
    assert world.registry.traces[b"a"].file_id == file_id


def test_a_removed_trace_loses_all_its_sets() -> None:
    world = two_sets()
    world.disk = {}
    world.look()
    world.run()
    assert not world.registry.sets
    assert not world.registry.traces


def test_a_set_that_cannot_be_built_is_quarantined_alone() -> None:
    world = World(tiers=ALL)
    world.put(b"a")
    world.look()
    world.run()
    world.put(b"a", 150)
    world.want(FINE)
    jobs = world.run(bad=EXTRA)
    tried = [tiers for _, _, tiers in steps_of(jobs)]
    assert (tried.count(ALL), tried.count(EXTRA)) == (1, MAX_ATTEMPTS)
    states = {one.tiers: one.quarantined for one in world.registry.sets[b"a"]}
    assert states == {ALL: "", EXTRA: "bad"}
    waiter = world.wait_for(b"a")
    assert world.state.satisfied(world.registry.traces) == [waiter]
    assert waiter.problems == {b"a": "bad"}


def test_a_worker_that_one_set_kills_costs_the_other_only_time() -> None:
    world = World(tiers=ALL)
    world.put(b"a")
    world.look()
    world.run()
    world.put(b"a", 150)
    world.want(FINE)
    job = world.job()
    assert job is not None
    waiter = world.wait_for(b"a")
    world.finish(job, failing=frozenset({b"a"}))
    world.run(bad=EXTRA)
    states = {one.tiers: (one.quarantined, one.stamp) for one in world.registry.sets[b"a"]}
    assert states == {ALL: ("", world.disk[b"a"]), EXTRA: ("bad", world.disk[b"a"])}
    assert world.satisfied() == [waiter]


def test_who_waits_does_so_until_every_set_was_brought_up_to_date() -> None:
    world = two_sets()
    world.put(b"a", 150)
    world.look()
    waiter = world.wait_for(b"a")
    failed = world.job()
    assert failed is not None
    world.finish(failed, failing=frozenset({b"a"}))
    world.now += 1.0
    partial = world.job()
    assert partial is not None
    assert [(len(task.steps), task.whole) for task in partial.tasks] == [(1, False)]
    world.finish(partial)
    assert world.satisfied() == []
    world.run()
    assert world.satisfied() == [waiter]


def test_a_scan_that_shows_nothing_new_does_not_look_at_the_sets_again() -> None:
    world = two_sets()
    before = world.state.seen[b"a"]
    world.look()
    assert world.state.seen[b"a"] is before
    assert world.state.seen_bytes == 100
    world.put(b"b", 7)
    world.look()
    world.run()
    del world.disk[b"a"]
    world.look()
    assert world.state.seen_bytes == 7


PATHS = st.sampled_from([b"a", b"d/b"])
STEPS = st.one_of(
    st.tuples(st.just("want"), st.sampled_from([ALL, FINE, CHUNKS, EXTRA]), st.just(b"")),
    st.tuples(st.just("write"), st.just(ALL), PATHS),
    st.tuples(st.just("grow"), st.just(ALL), PATHS),
    st.tuples(st.just("delete"), st.just(ALL), PATHS),
    st.tuples(st.just("fail"), st.sampled_from([ALL, FINE, CHUNKS, EXTRA]), st.just(b"")),
    st.tuples(st.just("run"), st.just(ALL), st.just(b"")),
)


@given(st.lists(STEPS, max_size=25))
def test_after_any_changes_all_that_is_wanted_is_given_as_it_is_on_disk(
    steps: list[tuple[str, TierConfig, bytes]],
) -> None:
    world = World(tiers=ALL)
    wanted = ALL
    for kind, tiers, path in steps:
        match kind:
            case "want":
                wanted = tiers
                world.want(tiers)
            case "write":
                world.disk.pop(path, None)
                world.put(path)
            case "grow" if path in world.disk:
                world.put(path, world.disk[path].size + 1)
            case "delete":
                world.disk.pop(path, None)
            case "fail":
                world.look()
                world.run(bad=tiers)
            case _:
                world.look()
                world.run()
    # What was quarantined is tried again when it grows.
    for path, stamp in list(world.disk.items()):
        world.put(path, stamp.size + 1)
    world.look()
    world.run()
    assert world.registry.sets.keys() == world.disk.keys() == world.registry.traces.keys()
    tally = world.registry.tally
    assert tally.indexed == len(world.disk) == tally.indexed + tally.growing + tally.quarantined
    assert tally.events == sum(one.complete_events for one in world.registry.traces.values())
    for path, sets in world.registry.sets.items():
        assert len({one.file_id for one in sets}) == 1
        used, missing = cover(sets, wanted)
        assert missing is None
        assert all(one.stamp == world.disk[path] and not one.quarantined for one in used)
        for part in parts(wanted):
            answering = giving(sets, part)
            assert answering is not None
            assert answering.stamp == world.disk[path]
    world.look()
    assert world.run() == []
