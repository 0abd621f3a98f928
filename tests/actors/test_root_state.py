"""What the scheduler of one root decides, driven by a small disk and a small store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.actors.jobs import (
    MAX_ATTEMPTS,
    Job,
    Task,
    quarantine_delay,
    retry_delay,
    segments_of,
)
from dftindexd.index.model import FileStamp
from dftindexd.index.reconcile import Action, Step
from dftindexd.index.scan import Scan
from dftindexd.index.store.registry import CommitQuarantine

from .world import TIERS, World


def test_small_traces_share_a_job_and_workers_share_the_queue() -> None:
    world = World(workers=2)
    for number in range(40):
        world.put(b"%02d" % number)
    world.look()
    assert len(world.paths(world.job())) == 10
    assert len(world.paths(world.job())) == 8
    world = World(workers=1)
    for number in range(1000):
        world.put(b"%04d" % number)
    world.look()
    assert len(world.paths(world.job())) == 64


def test_a_large_trace_has_a_job_of_its_own_and_comes_in_its_turn() -> None:
    world = World()
    sizes = {b"a": 1 << 30, b"b": 5 << 20, b"c": 5 << 20, b"d": 1, b"e": 1, b"f": 1}
    for path, size in sizes.items():
        world.put(path, size)
    world.look()
    jobs = [world.paths(world.job()) for _ in range(4)]
    assert jobs[:2] == [[b"a"], [b"b"]]
    assert [path for job in jobs for path in job][:4] == [b"a", b"b", b"c", b"d"]


def test_a_trace_in_hand_is_in_no_other_job() -> None:
    world = World()
    world.put(b"a")
    world.look()
    job = world.job()
    world.put(b"a", 200)
    world.look()
    assert world.job() is None
    assert job is not None
    world.finish(job)


def test_a_failed_trace_rests_and_is_then_alone_until_it_is_quarantined() -> None:
    world = World()
    for path in (b"a", b"b", b"c", b"d"):
        world.put(path)
    world.look()
    bad = frozenset({b"a"})
    jobs = world.run(failing=bad)
    with_bad = [world.paths(job) for job in jobs if b"a" in world.paths(job)]
    assert len(with_bad) == MAX_ATTEMPTS
    assert with_bad[1:] == [[b"a"]] * (MAX_ATTEMPTS - 1)
    assert world.registry.traces[b"a"].quarantined == "bad"
    assert all(world.registry.traces[path].complete_events == 1 for path in (b"b", b"c", b"d"))
    assert world.run() == []


def test_a_trace_rests_after_a_failure_for_longer_each_time() -> None:
    delays = [retry_delay(attempt) for attempt in range(1, 10)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.1, 30.0)
    world = World()
    world.put(b"a")
    world.look()
    job = world.job()
    assert job is not None
    world.finish(job, failing=frozenset({b"a"}))
    assert world.job() is None
    world.now += retry_delay(1)
    assert world.paths(world.job()) == [b"a"]


def test_a_quarantined_trace_is_tried_again_only_when_it_changes_and_once() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run(failing=frozenset({b"a"}))
    world.look()
    assert world.state.idle
    world.put(b"a", 200)
    world.look()
    assert len(world.run(failing=frozenset({b"a"}))) == 1
    world.put(b"a", 300)
    world.look()
    world.run()
    assert world.registry.traces[b"a"].quarantined == ""


def test_a_quarantined_trace_is_tried_again_by_itself_after_an_hour_and_then_after_two() -> None:
    world = World()
    for path in (b"a", b"fine"):
        world.put(path)
    world.look()
    bad = frozenset({b"a"})
    world.run(failing=bad)
    for hours in (1, 2, 4):
        last = world.now
        world.now += hours * 3600.0 - 60.0
        world.try_quarantined()
        assert world.state.idle
        world.now = last + hours * 3600.0
        world.try_quarantined()
        assert [world.paths(job) for job in world.run(failing=bad)] == [[b"a"]]
    world.now += 8 * 3600.0
    world.try_quarantined()
    world.run()
    assert world.registry.traces[b"a"].quarantined == ""
    assert world.registry.traces[b"fine"].version == 1
    world.now += 48 * 3600.0
    world.try_quarantined()
    assert world.state.idle


def test_a_trace_that_was_quarantined_before_the_start_is_tried_an_hour_after_it() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run(failing=frozenset({b"a"}))
    world.want(TIERS)
    assert world.state.idle
    world.now += 3600.0
    world.try_quarantined()
    world.run()
    assert world.registry.traces[b"a"].quarantined == ""


def test_the_time_between_two_tries_in_quarantine_doubles_up_to_a_day() -> None:
    hours = [quarantine_delay(tries) / 3600 for tries in (0, 1, 2, 3, 4, 5, 1000)]
    assert hours == [1, 2, 4, 8, 16, 24, 24]


def test_another_file_at_the_path_of_a_quarantined_trace_starts_afresh() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run(failing=frozenset({b"a"}))
    world.put(b"a", 100, ino=999)
    world.look()
    assert len(world.run(failing=frozenset({b"a"}))) == MAX_ATTEMPTS


def test_a_trace_that_grew_between_look_and_parse_is_looked_at_and_not_replaced() -> None:
    world = World()
    world.put(b"a", 100)
    world.look()
    job = world.job()
    assert job is not None
    world.put(b"a", 200)
    world.finish(job, end=False)
    assert list(world.state.doubtful) == [b"a"]
    assert not world.state.idle
    assert world.run(end=False) == []
    assert world.registry.traces[b"a"].version == 1


def test_a_look_that_began_before_a_job_ended_cannot_undo_what_the_job_saw() -> None:
    world = World()
    world.put(b"a", 100)
    world.look()
    job = world.job()
    assert job is not None
    world.state.begin_look()
    stale = world.scan()
    world.put(b"a", 200)
    world.finish(job, end=False)
    world.apply(stale)
    assert world.run(end=False) == []
    assert world.registry.traces[b"a"].version == 1


def test_a_growing_trace_is_extended_and_costs_only_what_was_added() -> None:
    world = World()
    world.put(b"a", 1000)
    world.look()
    world.run(end=False)
    world.put(b"a", 1010)
    world.look()
    assert world.state.pending_bytes == 10
    (job,) = world.run(end=False)
    assert [step.action for task in job.tasks for step in task.steps] == [Action.EXTEND]
    assert len(world.registry.traces[b"a"].segments) == 2


def test_what_is_gone_is_removed_but_not_below_what_cannot_be_read() -> None:
    world = World()
    for path in (b"d/a", b"d/s/b", b"c"):
        world.put(path)
    world.look()
    world.run()
    world.disk = {}
    world.look(problems={b"d/s": "Permission denied"})
    world.run()
    assert list(world.registry.traces) == [b"d/s/b"]
    waiter = world.wait_for(b"d/s/b")
    assert world.satisfied() == [waiter]
    assert waiter.problems == {b"d/s": "Permission denied"}


def test_a_part_of_the_disk_says_nothing_of_the_rest() -> None:
    world = World()
    for path in (b"d/a", b"da", b"c"):
        world.put(path)
    world.look()
    world.run()
    world.disk = {}
    world.look(b"d")
    world.run()
    assert sorted(world.registry.traces) == [b"c", b"da"]
    world.look(b"da")
    world.run()
    assert list(world.registry.traces) == [b"c"]


def test_a_directory_that_a_trace_took_the_place_of_holds_nothing_any_more() -> None:
    world = World()
    world.put(b"x.pfw/a.pfw")
    world.look()
    world.run()
    world.disk = {}
    world.put(b"x.pfw")
    world.look(b"x.pfw")
    world.run()
    assert list(world.registry.traces) == [b"x.pfw"]


def test_a_root_that_is_missing_keeps_its_index() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run()
    world.disk = {}
    world.look(root_error="No such file or directory")
    assert world.state.idle
    assert world.state.root_error
    assert list(world.registry.traces) == [b"a"]
    world.put(b"a")
    world.look()
    assert world.state.root_error == ""


def test_an_unfinished_trace_settles_after_watched_silence() -> None:
    world = World(settle=5.0)
    world.put(b"a")
    world.look()
    world.run(end=False)
    world.now += 4.9
    assert world.settle() == []
    world.put(b"a", 200)
    world.look()
    world.run(end=False)
    world.now += 4.9
    assert world.settle() == []
    world.now += 0.2
    assert world.settle() == [b"a"]
    assert world.registry.traces[b"a"].ending == "silence"
    assert world.settle() == []


def test_a_trace_with_an_old_clock_settles_at_once_unless_it_was_seen_to_change() -> None:
    world = World(settle=5.0)
    world.now = 1000.0
    world.put(b"old", mtime=0)
    world.put(b"rather", mtime=int(985e9))
    world.look()
    world.run(end=False)
    assert world.settle() == [b"old"]
    world.put(b"old", 200, mtime=0)
    world.look()
    world.run(end=False)
    assert world.settle() == []


def test_a_forced_trace_is_parsed_anew_also_after_a_failure() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run()
    world.state.force([b"a", b"unknown"])
    job = world.job()
    assert job is not None
    assert [step.action for task in job.tasks for step in task.steps] == [Action.REPLACE]
    world.finish(job, failing=frozenset({b"a"}))
    assert world.registry.traces[b"a"].version == 1
    world.run()
    assert world.registry.traces[b"a"].version == 2
    assert world.state.idle


def test_hurried_traces_come_first() -> None:
    world = World(workers=2)
    for path in (b"a", b"b", b"c", b"d"):
        world.put(path)
    world.look()
    world.state.hurry([b"d", b"unknown"])
    assert world.paths(world.job()) == [b"d"]


def test_a_job_in_hand_when_somebody_begins_to_wait_does_not_count_for_a_changed_trace() -> None:
    world = World()
    world.put(b"a", 100)
    world.look()
    early = world.job()
    assert early is not None
    world.put(b"a", 200)
    world.look()
    waiter = world.wait_for()
    stale = world.disk[b"a"]
    world.disk[b"a"] = FileStamp(stale.ino, 100, 0, 0)
    world.finish(early, end=False)  # it read the disk before the waiter came
    world.disk[b"a"] = stale
    assert world.satisfied() == []
    world.run(end=False)
    assert world.satisfied() == [waiter]


def test_a_trace_that_grows_on_and_on_does_not_starve_who_waits_for_it() -> None:
    world = World()
    world.put(b"a", 100)
    world.look()
    waiter = world.wait_for()
    for size in range(200, 1000, 100):
        job = world.job()
        assert job is not None
        world.finish(job, end=False)
        world.put(b"a", size)
        world.look()
        if world.satisfied() == [waiter]:
            break
    else:
        raise AssertionError("starved")
    assert not world.state.idle
    assert size == 200


def test_a_removed_trace_satisfies_who_waits_for_it() -> None:
    world = World()
    world.put(b"a")
    world.look()
    waiter = world.wait_for(b"a")
    assert world.satisfied() == []
    world.disk = {}
    world.look()
    assert world.satisfied() == [waiter]


def test_who_waits_for_the_end_waits_until_every_trace_settled_or_was_quarantined() -> None:
    world = World(settle=5.0)
    for path in (b"d/a", b"d/bad", b"other"):
        world.put(path)
    world.look()
    waiter = world.wait_for(b"d", until_finished=True)
    world.run(end=False, failing=frozenset({b"d/bad"}))
    assert world.satisfied() == []
    world.now += 6.0
    world.settle()
    assert world.satisfied() == [waiter]
    assert waiter.problems == {b"d/bad": "bad"}


def test_who_gave_up_waiting_is_forgotten() -> None:
    world = World()
    world.put(b"a")
    world.look()
    waiter = world.wait_for()
    waiter.abandoned = True
    assert world.satisfied() == [waiter]
    assert world.state.waiters == []


PATHS = st.sampled_from([b"a", b"d/b", b"d/e/c"])
STEPS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.integers(1, 3)),
    st.tuples(st.just("grow"), PATHS, st.integers(1, 3)),
    st.tuples(st.just("delete"), PATHS, st.just(0)),
    st.tuples(st.just("rename"), PATHS, st.just(0)),
    st.tuples(st.just("look"), st.sampled_from([b"", b"a", b"d", b"d/b"]), st.just(0)),
    st.tuples(st.just("begin"), st.just(b""), st.just(0)),
    st.tuples(st.just("apply"), st.just(b""), st.just(0)),
    st.tuples(st.just("take"), st.just(b""), st.just(0)),
    st.tuples(st.just("finish"), st.just(b""), st.integers(0, 3)),
    st.tuples(st.just("remove"), st.just(b""), st.just(0)),
    st.tuples(st.just("sync"), st.just(b""), st.just(0)),
)


@given(st.lists(STEPS, max_size=40))
def test_after_any_changes_and_jobs_the_index_equals_a_fresh_one(  # noqa: C901 - one case a step
    steps: list[tuple[str, bytes, int]],
) -> None:
    world = World()
    jobs: list[Job] = []
    begun: tuple[Scan, list[bytes]] | None = None
    for kind, path, number in steps:
        match kind:
            case "write":
                world.disk.pop(path, None)
                world.put(path, 100 * number)
            case "grow" if path in world.disk:
                world.put(path, world.disk[path].size + number)
            case "delete":
                world.disk.pop(path, None)
            case "rename" if path in world.disk:
                world.disk[b"d/new"] = world.disk.pop(path)
            case "look" if begun is None:
                world.look(path)
            case "begin" if begun is None:
                world.state.begin_look()
                begun = world.scan()
            case "apply" if begun is not None:
                world.apply(begun)
                begun = None
            case "take" if (job := world.job()) is not None:
                jobs.append(job)
            case "finish" if jobs:
                failing = frozenset({jobs[0].tasks[0].path}) if number == 3 else frozenset()
                world.finish(jobs.pop(0), end=number > 0, failing=failing)
            case "remove":
                world.remove()
            case "sync" if begun is None:
                world.look()
                world.wait_for()
            case _:
                continue
    if begun is not None:
        world.apply(begun)
    for job in jobs:
        world.finish(job)
    world.look()
    world.run()
    assert world.state.in_flight == {}
    assert {path: record.stamp for path, record in world.registry.traces.items()} == world.disk
    assert {path: one.stamp for path, one in world.state.seen.items()} == world.disk
    world.satisfied()
    assert world.state.waiters == []


def test_quarantine_commits_are_planned_on_the_version_that_the_task_had() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run(end=False)
    record = world.registry.traces[b"a"]
    step = Step(Action.EXTEND, TIERS, record)
    task = Task(b"a", (step,), record.stamp, MAX_ATTEMPTS - 1)
    (commit,) = world.state.failed(task, [step], "bad", now=0.0)
    assert isinstance(commit, CommitQuarantine)
    assert commit.base_version == 1


def test_a_large_trace_may_take_many_segments_and_a_small_one_takes_one() -> None:
    assert [segments_of(size) for size in (-5, 0, 200_000, 300_000)] == [1, 1, 1, 2]
    assert segments_of(10 << 30) > 10_000
