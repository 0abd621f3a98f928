"""Which process a trace is of, told by its first lines: a hint by which shares are dealt.

What a trace's later lines say of other processes changes who reads it, and no answer.
"""

from __future__ import annotations

import os
import re
from typing import Final

from dftindexd.index.errors import TraceGoneError
from dftindexd.index.trace.members import inflate
from dftindexd.index.trace.trace_file import TraceFile, open_trace

__all__ = ("process_of",)

#: How much of a trace's text is looked at, at least.
_HEAD_BYTES: Final = 16 << 10
_PID: Final = re.compile(rb'"pid" ?: ?(\d{1,10})\b')


def process_of(path: str) -> int | None:
    """Return the smallest process id in the first lines of the trace at *path*, ``None`` where they
    name none or cannot be read."""
    try:
        with open_trace(os.fsencode(path)) as file:
            head = _head(file)
    except (OSError, TraceGoneError):
        return None
    return min(map(int, _PID.findall(head)), default=None)


def _head(file: TraceFile) -> bytes:
    if not file.is_gzip():
        return file.read(0, _HEAD_BYTES)
    head = bytearray()
    for piece in inflate(file, 0):
        head += piece[:_HEAD_BYTES]
        if len(head) >= _HEAD_BYTES:
            break
    return bytes(head)
