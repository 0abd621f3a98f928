"""What was last seen of a trace on disk, and for how long it has been so."""

from __future__ import annotations

from typing import Final

import msgspec

from dftindexd.index.model import FileStamp

__all__ = ("Seen",)

#: A trace never seen to change counts as quiet if its modification time is that many settle times
#: old; the writer's clock may be wrong, so that less says nothing.
_OLD_SETTLE_TIMES: Final = 4


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A trace's stamp, since when it is known (monotonic seconds), and whether it was seen to
    change before."""

    stamp: FileStamp
    since: float
    changed: bool

    def quiet_seconds(self, settle_seconds: float, now: float, wall_ns: int) -> float:
        """Return for how long the trace has not changed, as far as that can be told."""
        by_clock = (wall_ns - self.stamp.mtime_ns) / 1e9
        if not self.changed and by_clock >= _OLD_SETTLE_TIMES * settle_seconds:
            return by_clock
        return now - self.since
