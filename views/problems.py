"""What of a trace could not be read, as log entries have it."""

from __future__ import annotations

import msgspec

from dftindexd.index.model import TraceRecord

__all__ = ("Problem", "problems_of")


class Problem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that cannot be read: at which *line*, counted from 0, its *name* and what is said
    of it."""

    line: int
    name: str
    text: str


def problems_of(record: TraceRecord) -> tuple[Problem, ...]:
    """Return the lines of a trace that cannot be read, as far as they are kept one by one, then how
    many more there are, and where its text ends early."""
    found = [
        Problem(bad.line, "bad_line", f"cannot be read: {bad.sample.decode('utf-8', 'replace')}")
        for segment in record.segments
        for bad in segment.bad_lines
    ]
    end, more = record.lines.total, record.lines.bad - len(found)
    if more:
        found.append(Problem(end, "bad_lines", f"{more} more lines cannot be read"))
    if record.ending == "cut":
        found.append(Problem(end, "cut", f"the trace is cut off: {record.reason}"))
    elif "corrupt" in record.reason:
        found.append(Problem(end, "corrupt", record.reason))
    return tuple(found)
