"""Whether a trace holds as many events as its ``end`` event says."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dftindexd.index.endings import miscount
from dftindexd.index.model import FileStamp, TierConfig, TraceFacts, TraceRecord
from tests.index.store.commits import segment

ENDED = TraceRecord(
    file_id=1,
    path=b"a",
    version=1,
    generation=1,
    stamp=FileStamp(1, 100, 0, 0),
    tiers=TierConfig(),
    segments=(replace(segment(1), complete_events=40, metadata=7, records=47),),
    ending="end",
    tail="complete",
)


@pytest.mark.parametrize(
    ("generation", "announced", "told"),
    [
        ("v2", 39, ""),
        ("v1", 39, ""),
        ("v2", 40, "its end event announces 41 events, it holds 40"),
        ("v1", 30, "its end event announces 31 events, it holds 40"),
        ("v1.0", 46, ""),
        ("v1.0", 39, "its end event announces 40 records, it holds 47"),
        ("v2", None, ""),
    ],
)
def test_what_is_announced_is_one_less_than_what_is_held(
    generation: str, announced: int | None, told: str
) -> None:
    facts = TraceFacts(generation=generation, end_seen=True, announced=announced)  # type: ignore[arg-type]
    assert miscount(replace(ENDED, final_facts=facts)) == told


def test_a_trace_that_has_not_ended_may_still_get_what_it_announces() -> None:
    facts = TraceFacts(generation="v2", end_seen=True, announced=100)
    assert miscount(replace(ENDED, final_facts=facts, ending=None)) == ""
    assert miscount(replace(ENDED, final_facts=facts, quarantined="bad")) == ""
