"""Which root may have its next job read: a plain object without I/O or clock.

All roots share the workers. A root says what it would have read next; whoever somebody waits for
goes first, and among equals the root that had the least read so far, so that one of many traces
holds up no other. A root that had nothing to do gets no credit for that. A job that does not fit
into the memory budget waits for others to end, and so does whatever is behind it: otherwise small
jobs could keep a large one out for ever. A job that would be alone is always let in.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ("BATCH_BYTES", "Admission", "Demand", "job_memory")

#: How much of small traces is read in one job.
BATCH_BYTES: Final = 8 << 20

#: What a trace costs beside its bytes.
_TRACE_BYTES: Final = 64 << 10

_LEAST_MEMORY: Final = 64 << 20
_MOST_MEMORY: Final = 144 << 20
_MEMORY_PER_BYTE: Final = 16


class Demand(msgspec.Struct, frozen=True):
    """What a root would have read next: whether somebody waits for it, how many bytes of files it
    has, and of how many traces."""

    urgent: bool
    bytes: int
    traces: int = 1


class _Slot(msgspec.Struct, frozen=True):
    root: bytes
    memory: int


def job_memory(size: int) -> int:
    """Return how much memory a worker is expected to take for *size* bytes of files:

        64 MiB, and 16 bytes for each of them, at most 144 MiB.

    Measured by ``benchmarks.job_memory``: a worker has loaded some 60 MB before it reads anything.
    It holds a chunk of the text, eleven times what that takes packed, and what it makes of it; from
    some size on it takes no more. For a plain trace it is too much. A hostile trace may take
    several times as much (``tests/stress``), which nobody can tell before it is read.
    """
    return min(_LEAST_MEMORY + _MEMORY_PER_BYTE * size, _MOST_MEMORY)


class Admission:
    """The slots of *workers* and who is next. One more than there are workers is given to a job
    that is small or urgent, so that a worker that ends has its next one at hand."""

    def __init__(self, workers: int, memory_budget: int | None = None) -> None:
        self._workers = workers
        self._budget = memory_budget
        self._demands: dict[bytes, Demand] = {}
        self._slots: dict[int, _Slot] = {}
        self._served: dict[bytes, int] = {}
        self._last_slot = 0

    @property
    def memory(self) -> int:
        """How much memory the jobs that are let in are expected to take."""
        return sum(slot.memory for slot in self._slots.values())

    def want(self, root: bytes, demand: Demand | None) -> None:
        """Take in what *root* would have read next, ``None`` for nothing."""
        if demand is None:
            self._demands.pop(root, None)
            return
        active = self._active()
        if root not in active:
            least = min((self._served[one] for one in active), default=0)
            self._served[root] = max(self._served.get(root, 0), least)
        self._demands[root] = demand

    def _active(self) -> set[bytes]:
        return {*self._demands, *(slot.root for slot in self._slots.values())}

    def next(self) -> tuple[bytes, int] | None:
        """Return who may have its next job read, and the slot of it, until :meth:`release`; it has
        to say anew what it wants after that."""
        if not self._demands:
            return None
        root = min(
            self._demands, key=lambda one: (not self._demands[one].urgent, self._served[one])
        )
        demand = self._demands[root]
        ahead = demand.urgent or demand.bytes <= BATCH_BYTES
        if len(self._slots) >= self._workers + ahead or not self._fits(demand.bytes):
            return None
        del self._demands[root]
        self._last_slot += 1
        self._slots[self._last_slot] = _Slot(root, job_memory(demand.bytes))
        return root, self._last_slot

    def _fits(self, size: int) -> bool:
        if self._budget is None or not self._slots:
            return True
        return self.memory + job_memory(size) <= self._budget

    def begin(self, slot: int, job: Demand) -> None:
        """Take in which job it is that has *slot*: it counts for its root."""
        root = self._slots[slot].root
        self._slots[slot] = _Slot(root, job_memory(job.bytes))
        self._served[root] += job.bytes + _TRACE_BYTES * job.traces

    def holds(self, slot: int) -> bool:
        """Return whether *slot* is given."""
        return slot in self._slots

    def release(self, slot: int) -> None:
        """Take a slot back, if it is given."""
        self._slots.pop(slot, None)

    def forget(self, root: bytes) -> None:
        """Take back all that *root* has and wants."""
        self._demands.pop(root, None)
        self._slots = {number: slot for number, slot in self._slots.items() if slot.root != root}
        self._served.pop(root, None)
