"""Traces that others read: the scheduler leaves them alone for a while, and no longer."""

from __future__ import annotations

from dftindexd.actors.holding import Hold, hold

from .world import World


def _hold(world: World, seconds: float, *paths: bytes) -> None:
    message = Hold(paths=paths, seconds=seconds)
    hold(world.state, world.registry.sets, message, now=world.now, wall_ns=0)


def test_a_held_trace_is_in_no_job_until_its_time_is_over() -> None:
    world = World()
    _hold(world, 60.0, b"a")
    for path in (b"a", b"b"):
        world.put(path)
    world.look()
    assert world.paths(world.job()) == [b"b"]
    assert world.job() is None
    assert world.state.queued == 1
    world.now += 60.0
    assert world.paths(world.job()) == [b"a"]


def test_a_hold_that_ends_has_read_what_is_still_missing() -> None:
    world = World()
    world.put(b"a")
    world.look()
    _hold(world, 60.0, b"a")
    assert world.job() is None
    _hold(world, 0.0, b"a")
    assert world.paths(world.job()) == [b"a"]


def test_the_end_of_a_hold_removes_nothing_that_no_look_has_shown_yet() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run()
    world.state.seen.clear()  # as of a scheduler that has just begun
    _hold(world, 0.0, b"a", b"b")
    assert world.state.removals(world.registry.sets) == []
