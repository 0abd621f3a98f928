"""The supervisor's decisions, which need no event loop: back-off, giving up, stalls."""

from __future__ import annotations

from dftindexd.actors.actor import Pulse
from dftindexd.actors.supervisor import RestartPolicy, StallDetector, restart_delay


def test_the_delay_doubles_up_to_its_cap() -> None:
    policy = RestartPolicy(max_restarts=1000, window=60.0, first_delay=0.5, longest_delay=3.0)
    delays = [restart_delay(policy, [0.0] * count, now=1.0) for count in (0, 1, 2, 3, 4, 999)]
    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_a_very_long_history_does_not_overflow() -> None:
    policy = RestartPolicy(max_restarts=10_000, first_delay=0.5, longest_delay=3.0)
    assert restart_delay(policy, [0.0] * 5_000, now=0.0) == 3.0


def test_only_restarts_within_the_window_count() -> None:
    policy = RestartPolicy(max_restarts=2, window=10.0, first_delay=1.0, longest_delay=8.0)
    assert restart_delay(policy, [0.0, 1.0], now=9.9) is None
    assert restart_delay(policy, [0.0, 1.0], now=10.0) == 2.0
    assert restart_delay(policy, [0.0, 1.0], now=11.0) == 1.0


def test_a_policy_without_restarts_gives_up_at_once() -> None:
    assert restart_delay(RestartPolicy(max_restarts=0), [], now=0.0) is None


def test_a_stall_is_patience_looks_without_a_beat() -> None:
    pulse = Pulse()
    detector = StallDetector(patience=2)
    with pulse.working():
        assert [detector.check(pulse) for _ in range(4)] == [False, False, True, True]
        pulse.beat()
        assert [detector.check(pulse) for _ in range(3)] == [False, False, True]


def test_neither_an_idle_nor_a_protected_actor_stalls() -> None:
    pulse = Pulse()
    detector = StallDetector(patience=1)
    assert [detector.check(pulse) for _ in range(3)] == [False] * 3
    with pulse.working(), pulse.protected():
        assert [detector.check(pulse) for _ in range(3)] == [False] * 3


def test_an_actor_that_takes_message_after_message_does_not_stall() -> None:
    pulse = Pulse()
    detector = StallDetector(patience=1)
    for _ in range(5):
        with pulse.working():
            assert not detector.check(pulse)


def test_a_pulse_must_beat_only_while_a_hook_works_outside_protection() -> None:
    pulse = Pulse()
    seen = [pulse.must_beat]
    with pulse.working():
        seen.append(pulse.must_beat)
        with pulse.protected():
            with pulse.protected():
                seen.append(pulse.must_beat)
            seen.append(pulse.must_beat)
        seen.append(pulse.must_beat)
    seen.append(pulse.must_beat)
    assert seen == [False, True, False, False, True, False]


def test_what_is_protected_for_longer_than_it_said_must_beat() -> None:
    times = iter([100.0, 109.9, 110.0, 110.0, 110.0, 110.0])
    pulse = Pulse(clock=lambda: next(times))
    with pulse.working(), pulse.protected(10.0):
        seen = [pulse.must_beat, pulse.must_beat]
        with pulse.protected():
            seen.append(pulse.must_beat)
        seen.append(pulse.must_beat)
    assert seen == [False, True, False, True]
