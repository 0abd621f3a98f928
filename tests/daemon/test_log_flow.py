"""What passes into the log, exactly, under a clock that the test holds."""

from __future__ import annotations

import pytest
import structlog

from dftindexd.daemon.log_flow import BURST, WINDOW_SECONDS, LogFlow


class Clock:
    """Tells what the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time, for windows and for what is remembered."""
    return Clock()


@pytest.fixture
def flow(clock: Clock) -> LogFlow:
    """A flow under that clock."""
    return LogFlow(clock, clock)


def passes(flow: LogFlow, event: str, level: str = "warning") -> dict[str, object] | None:
    """Return what of an event passes, ``None`` if it is held back."""
    try:
        return dict(flow(None, level, {"event": event, "level": level}))
    except structlog.DropEvent:
        return None


def test_a_burst_passes_and_what_repeats_is_held_back_and_counted(
    flow: LogFlow, clock: Clock
) -> None:
    assert all(passes(flow, "a") == {"event": "a", "level": "warning"} for _ in range(BURST))
    assert [passes(flow, "a") for _ in range(7)] == [None] * 7
    assert passes(flow, "b") is not None
    clock.now += WINDOW_SECONDS
    assert passes(flow, "a") == {"event": "a", "level": "warning", "held_back": 7}
    assert passes(flow, "a") == {"event": "a", "level": "warning"}


def test_what_went_wrong_is_remembered_also_where_it_was_held_back(
    flow: LogFlow, clock: Clock
) -> None:
    for _ in range(BURST + 5):
        passes(flow, "trouble", "error")
        clock.now += 0.001
    passes(flow, "well", "info")
    assert list(flow.trouble) == ["trouble"]
    assert (flow.trouble["trouble"].level, flow.trouble["trouble"].count) == ("error", BURST + 5)
    assert flow.trouble["trouble"].last == pytest.approx(100.0 + 0.001 * (BURST + 4))


def test_any_number_of_names_takes_bounded_memory(flow: LogFlow) -> None:
    for number in range(1000):
        passes(flow, f"event-{number}")
    assert len(flow.trouble) == 256
    assert "event-999" in flow.trouble
