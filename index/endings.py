"""How a trace ended, and whether it holds as many events as its ``end`` event says."""

from __future__ import annotations

from dftindexd.index.model import Ending, Tail, TraceFacts, TraceRecord

__all__ = ("ending_by_marks", "ending_by_silence", "miscount")


def ending_by_marks(facts: TraceFacts, tail: Tail) -> Ending | None:
    """Return ``"end"`` where the tracer's own marks say that the trace is finished.

    The ``end`` event counts only with the last member complete, since aggregated records follow it;
    a closing ``]`` is the last line of a v0 or v1 trace (semantics, section 2).
    """
    if tail == "complete" and (facts.end_seen or facts.bracket_closed):
        return "end"
    return None


def ending_by_silence(tail: Tail) -> Ending:
    """Return how a trace ended that has not grown for long enough."""
    return "silence" if tail in ("complete", "empty") else "cut"


def miscount(record: TraceRecord) -> str:
    """Return how far a finished trace's events differ from what its ``end`` event announces, ``""``
    where they do not, or where that cannot be told.

    It counts what was logged before it: complete events, with metadata in 1.0.x (semantics,
    Decision 11). Where anything was aggregated nothing is announced.
    """
    announced = record.final_facts.announced
    if announced is None or record.ending is None or record.quarantined:
        return ""
    is_v1_0 = record.final_facts.generation == "v1.0"
    counted = record.complete_events
    if is_v1_0:
        counted += sum(segment.metadata for segment in record.segments)
    if counted == announced + 1:
        return ""
    what = "records" if is_v1_0 else "events"
    return f"its end event announces {announced + 1} {what}, it holds {counted}"
