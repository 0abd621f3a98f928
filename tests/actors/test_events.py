"""What is told of traces and stores, and what a slow listener loses."""

from __future__ import annotations

import anyio
import pytest

from dftindexd.actors.events import Backlog, EventBus, RootEvents, TraceEvent, outcome_of
from dftindexd.index.model import FileStamp, TierConfig, TraceRecord
from dftindexd.protocol.events import EventKind

pytestmark = pytest.mark.anyio

STAMP = FileStamp(1, 100, 0, 0)


def event(number: int) -> TraceEvent:
    return TraceEvent(time=0.0, kind="grew", root=b"/r", path=b"/r/a", generation=number)


def test_a_backlog_loses_the_oldest_and_tells_how_many() -> None:
    backlog = Backlog(most=3)
    for number in range(5):
        backlog.add(event(number))
    missed, events = backlog.take()
    assert (missed, [one.generation for one in events]) == (2, [2, 3, 4])
    backlog.add(event(5))
    missed, events = backlog.take()
    assert (missed, [one.generation for one in events]) == (0, [5])
    assert not backlog


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (None, "removed"),
        ({}, "grew"),
        ({"ending": "cut"}, "indexed"),
        ({"quarantined": "bad"}, "quarantined"),
    ],
)
def test_a_commit_is_told_by_what_the_trace_is_after_it(
    record: dict[str, str] | None, kind: EventKind
) -> None:
    known = {"file_id": 1, "path": b"a", "version": 1, "generation": 1, "stamp": STAMP}
    made = None if record is None else TraceRecord(**known, tiers=TierConfig(), **record)  # type: ignore[arg-type]
    assert outcome_of(made) == kind


async def test_a_listener_hears_what_is_below_its_path_and_of_the_store_that_holds_it() -> None:
    bus = EventBus()
    assert not bus.heard
    root = RootEvents(bus, b"/r")
    root.store_is("indexing", 1)
    everywhere, below, beside = (bus.listen(path) for path in (b"", b"/r/d/", b"/q"))
    root.tell("queued", [b"d/a", b"da"], 1)
    root.store_is("indexing", 1)
    root.store_is("caught-up", 2)
    with anyio.fail_after(60):
        assert [one.path for one in (await everywhere.take())[1]] == [b"/r/d/a", b"/r/da", b""]
        _, heard = await below.take()
    assert [(one.kind, one.path, one.reason) for one in heard] == [
        ("queued", b"/r/d/a", ""),
        ("store", b"", "caught-up"),
    ]
    with anyio.move_on_after(0) as nothing:
        await beside.take()
    assert nothing.cancelled_caught
    for listener in (everywhere, below, beside):
        bus.leave(listener)
    assert not bus.heard
