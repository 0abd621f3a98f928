"""How far indexing is: bytes done, the rate, the time left."""

from __future__ import annotations

from dftindexd.actors.progress import RATE_SECONDS, Progress


def test_nothing_is_left_where_there_was_never_anything_to_do() -> None:
    progress = Progress()
    assert (progress.done, progress.rate, progress.seconds_left) == (0, 0.0, 0.0)
    progress.sample(0, 0, now=1.0)
    assert (progress.done, progress.rate, progress.seconds_left) == (0, 0.0, 0.0)


def test_the_rate_is_that_of_the_work_in_hand_and_gives_the_time_left() -> None:
    progress = Progress()
    progress.sample(1000, 0, now=0.0)
    progress.sample(1000, 500, now=10.0)
    unknown = progress.seconds_left
    assert unknown is None
    progress.sample(1100, 400, now=12.0)
    assert (progress.done, progress.pending) == (100, 400)
    assert progress.rate == 100 / 12
    progress.sample(1300, 200, now=14.0)
    assert progress.seconds_left == 200 / (300 / 14)
    progress.sample(1500, 0, now=16.0)
    assert (progress.done, progress.seconds_left) == (0, 0.0)


def test_the_rate_forgets_what_was_long_ago() -> None:
    progress = Progress()
    for second in range(100):
        progress.sample(second * 10, 10_000, now=float(second))
    for second in range(100, 200):
        progress.sample(1000 + (second - 100) * 50, 10_000, now=float(second))
    assert progress.rate == 50
    assert RATE_SECONDS < 100


def test_a_count_that_falls_for_a_moment_is_no_step_back() -> None:
    progress = Progress()
    for finished, pending, now in ((0, 100, 0.0), (90, 10, 1.0), (0, 100, 1.5), (100, 50, 2.0)):
        progress.sample(finished, pending, now)
        assert progress.rate >= 0
    assert progress.done == 100
