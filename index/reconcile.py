"""What to do so that the index equals the disk: a pure function of a record and a stamp.

Events of the file system only decide when this runs. What it returns depends on nothing but what
the store holds, what the disk shows, and how long the trace has been quiet.
"""

from __future__ import annotations

import enum

from dftindexd.index.model import FileStamp, TraceRecord

__all__ = ("Action", "reconcile")


class Action(enum.Enum):
    """What one trace needs."""

    NOTHING = "nothing"
    #: read it from its beginning; the store holds nothing of it
    INDEX = "index"
    #: it grew: read what was added
    EXTEND = "extend"
    #: it is another file, or was changed in place: read it from its beginning
    REPLACE = "replace"
    #: it is gone from disk
    REMOVE = "remove"
    #: it is unfinished and may still grow
    WAIT = "wait"
    #: it is unfinished and has been quiet for long enough
    SETTLE = "settle"

    @property
    def parses(self) -> bool:
        """Whether a worker has to read the trace."""
        return self in (Action.INDEX, Action.EXTEND, Action.REPLACE)


def reconcile(
    record: TraceRecord | None,
    stamp: FileStamp | None,
    *,
    tiers: bytes,
    quiet_seconds: float = 0.0,
    settle_seconds: float = float("inf"),
) -> Action:
    """Return what the trace needs whose commit record and stamp on disk these are.

    :param record: what the store holds of it, ``None`` for nothing.
    :param stamp: what the disk shows, ``None`` where the trace is gone.
    :param tiers: the digest of the tier configuration that the store is to have.
    :param quiet_seconds: how long its stamp has been the same.
    :param settle_seconds: after how much silence an unfinished trace counts as finished.
    """
    if stamp is None:
        return Action.NOTHING if record is None else Action.REMOVE
    if record is None:
        return Action.INDEX
    if record.tiers != tiers:
        return Action.REPLACE
    if record.stamp == stamp:
        if record.quarantined or record.ending is not None:
            return Action.NOTHING
        return Action.SETTLE if quiet_seconds >= settle_seconds else Action.WAIT
    grew = stamp.ino == record.stamp.ino and stamp.size > record.stamp.size
    if grew and not record.quarantined:
        return Action.EXTEND
    return Action.REPLACE
