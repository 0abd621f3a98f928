"""The rows of a store of dftracer-utils 0.0.12 that describe all its traces together."""

from __future__ import annotations

from typing import Final

from dftindexd.index.publish import families as to
from dftindexd.index.publish.encoding import blob, u32, u64, varint
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.summaries import Summary, encoded_counts
from dftindexd.index.publish.totals import times_blob

__all__ = ("RootSummary", "pids_row")

_ROOT: Final = b"_root"


def pids_row(file: bytes, pids: set[int]) -> PublishedRow:
    """Return the processes of the trace whose number is *file*."""
    return to.MANIFEST, b"P|" + file, varint(len(pids)) + b"".join(map(varint, sorted(pids)))


class RootSummary:
    """The summaries of all traces together, in their order, in whichever order they come."""

    def __init__(self) -> None:
        self._all = Summary()
        self._pids: list[set[int]] = []  # of each trace
        self._early: dict[int, Summary] = {}

    def add(self, place: int, one: Summary) -> None:
        """Take the trace at *place*."""
        self._early[place] = one
        while len(self._pids) in self._early:
            next_one = self._early.pop(len(self._pids))
            self._all.add(next_one)
            self._pids.append(next_one.pids)

    @property
    def events(self) -> int:
        """How many events there are."""
        return self._all.totals.events

    def rows(self) -> list[PublishedRow]:
        """Return the rows that describe the whole store."""
        every = self._all
        sizes = (u64(len(self._pids)), u64(every.newlines), u64(every.text_bytes))
        times = blob(times_blob(every.totals.times))
        scalars = b"".join((every.totals.head(), u64(every.chunks), times, *sizes))
        return [
            (to.ROOT_SCALAR_STATS, _ROOT, scalars),
            (to.ROOT_CAT_COUNTS, _ROOT, encoded_counts(every.cats)),
            (to.ROOT_NAME_COUNTS, _ROOT, encoded_counts(every.names)),
            (to.ROOT_PID_TID_COUNTS, _ROOT, encoded_counts(every.threads)),
        ]

    def rows_for_one_worker(self) -> list[PublishedRow]:
        """Return rows of the processes of each trace that have the smallest of all besides, to be
        written over those of the traces.

        dfanalyzer gives a trace to that worker of its cluster which the smallest process names, and
        asks there for the processes of its traces. So all go to one, which asks for all.
        """
        if not self._all.pids:
            return []
        least = {min(self._all.pids)}
        return [pids_row(u32(place + 1), pids | least) for place, pids in enumerate(self._pids)]
