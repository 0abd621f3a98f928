"""The traces of one root that wait for a worker, in the order in which they are taken.

First those that somebody waits for, then those that grow, of which only what was added is to be
read, then all others, the biggest first, so that a big one is not left to the end. Bigger is
counted in powers of two; among equals the one that came first is first. In every fourth job the
others come before those that grow: traces that grow without end do not keep them waiting for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

__all__ = ("GROWING_TURNS", "Group", "TraceQueue")

#: In one job of so many the traces that do not grow come before those that do.
GROWING_TURNS: Final = 4

_URGENT: Final = -2
_GROWING: Final = -1


class _Place(NamedTuple):
    rank: int
    cost: int


class Group(NamedTuple):
    """Some of the queue: whether somebody waits for them, how many there are, and the paths."""

    urgent: bool
    size: int
    paths: Iterable[bytes]


class TraceQueue:
    """Paths and how many bytes each has to have read."""

    def __init__(self) -> None:
        self.bytes = 0
        """How many bytes all of it has to have read."""
        self._places: dict[bytes, _Place] = {}
        self._ranks: dict[int, dict[bytes, None]] = {}
        self._fresh: list[bytes] = []

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, path: object) -> bool:
        return path in self._places

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._places)

    def cost(self, path: bytes) -> int:
        """Return how many bytes of *path* are to be read, 0 where it is not in the queue."""
        place = self._places.get(path)
        return place.cost if place is not None else 0

    def put(self, path: bytes, cost: int, *, growing: bool = False, urgent: bool = False) -> None:
        """Put *path* in, or in its right place with another *cost*; one that is urgent stays so."""
        known = self._places.get(path)
        if known is None:
            self._fresh.append(path)
        if urgent or (known is not None and known.rank == _URGENT):
            rank = _URGENT
        else:
            rank = _GROWING if growing else cost.bit_length()
        if known is not None and known.rank != rank:
            self._leave(path, known.rank)
        self.bytes += cost - (known.cost if known is not None else 0)
        self._places[path] = _Place(rank, cost)
        self._ranks.setdefault(rank, {})[path] = None

    def hurry(self, path: bytes) -> None:
        """Put *path*, if it is there, behind the other urgent ones."""
        known = self._places.get(path)
        if known is not None and known.rank != _URGENT:
            self.put(path, known.cost, urgent=True)

    def discard(self, path: bytes) -> None:
        """Take *path* out, if it is there."""
        known = self._places.pop(path, None)
        if known is not None:
            self._leave(path, known.rank)
            self.bytes -= known.cost

    def _leave(self, path: bytes, rank: int) -> None:
        paths = self._ranks[rank]
        del paths[path]
        if not paths:
            del self._ranks[rank]

    def groups(self, turn: int) -> Iterator[Group]:
        """Give the queue in the order of the job numbered *turn*; a job is made of one group."""
        urgent, growing = (self._ranks.get(rank, {}) for rank in (_URGENT, _GROWING))
        ranks = sorted((rank for rank in self._ranks if rank >= 0), reverse=True)
        rest = len(self._places) - len(urgent) - len(growing)
        others = Group(False, rest, chain.from_iterable(self._ranks[rank] for rank in ranks))
        grow = Group(False, len(growing), growing)
        yield Group(True, len(urgent), urgent)
        yield from (others, grow) if turn % GROWING_TURNS == 0 else (grow, others)

    def take_fresh(self) -> list[bytes]:
        """Return the paths that came in since this was called last."""
        fresh, self._fresh = self._fresh, []
        return fresh
