"""What the daemon and its readers of events tell each other."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from dftindexd.index.query.event_plan import Range, TraceChunks
from dftindexd.index.query.normal_form import Predicates

__all__ = ("BATCH", "END", "ERROR", "ORDER", "READ_FRAME", "ReadFailure", "ReadOrder")

#: What precedes a payload: its length and its kind.
READ_FRAME: Final = struct.Struct(">Ic")
ORDER: Final = b"O"
BATCH: Final = b"B"
END: Final = b"E"
ERROR: Final = b"X"


class ReadOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Chunks of traces below *root* to be read: the events that *query* and *predicates*
    keep, as *columns*, or where these are None the lines as they are."""

    root: bytes
    query: str = ""
    predicates: Predicates | None = None
    lines: Range | None = None
    text_range: Range | None = None
    columns: tuple[str, ...] | None = None
    traces: tuple[TraceChunks, ...] = ()


class ReadFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an order ended early: the name of an error's class, and its texts."""

    kind: str
    message: str
    hint: str = ""
