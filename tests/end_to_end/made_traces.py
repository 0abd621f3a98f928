"""Traces in the tracer's own form (2.2.0) that a test makes in no time."""

from __future__ import annotations

import gzip
from pathlib import Path

__all__ = ("end_line", "event_lines", "write_trace")

_LINE = (
    '{{"id":{id},"name":"read","cat":"POSIX","pid":{pid},"tid":{pid},"ts":{ts},"dur":5,"ph":1,'
    '"type":3,"args":{{"hhash":"00000000000000aa","fhash":"00000000000000bb","ret":4096}}}}\n'
)


def event_lines(count: int, *, first: int = 1, pid: int = 77) -> bytes:
    """Return *count* complete events, numbered from *first*, one a line."""
    return "".join(
        _LINE.format(id=number, pid=pid, ts=1_700_000_000_000_000 + 10 * number)
        for number in range(first, first + count)
    ).encode()


def end_line(announced: int) -> bytes:
    """Return the event by which the tracer ends a trace, announcing so many others."""
    return (
        b'{"id":9999,"name":"end","cat":"dftracer","pid":77,"tid":77,"ts":1,"dur":0,"ph":1,'
        b'"type":1,"args":{"num_events":%d}}\n' % announced
    )


def write_trace(path: Path, count: int, *, first: int = 1, append: bool = False) -> None:
    """Write a trace of *count* events, or append them: plain, or as one gzip member."""
    lines = event_lines(count, first=first)
    data = gzip.compress(lines, 1) if path.suffix == ".gz" else lines
    with path.open("ab" if append else "wb") as file:
        file.write(data)
