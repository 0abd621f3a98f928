"""Which partitions an instance of a view set needs, and which of those that exist are fresh.

Blocks are put into partitions in the order in which the store took them in: by the ids of their
segments, which only ever ascend and are never used twice. Partitions of an instance never overlap
in this order; their ranges are half open and may touch. All here is values and pure functions.

Where a process may only be appended to, a partition with *more* objects than expected is as good.
Traces are removed and replaced, so that here it has to be of exactly the blocks that are expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, NamedTuple

__all__ = (
    "MOST_OBJECTS",
    "SLICE",
    "BlockRef",
    "Order",
    "Partition",
    "Spec",
    "Verdict",
    "by_event_time",
    "by_insert_order",
    "chains",
    "judge",
    "to_evict",
)

#: A partition holds no more objects, unless one block alone does, or one unbroken chain of them.
MOST_OBJECTS: Final = 1 << 20
#: Blocks of this many successive segments are cut together, so that what is added or removed
#: elsewhere does not move the cuts.
SLICE: Final = 4096

#: ``insert``: blocks are cut in the order in which they came. ``event``: by their times, so that
#: what is contiguous in time stays together.
Order = Literal["insert", "event"]


class BlockRef(NamedTuple):
    """A block as far as cutting needs it: *insert* is its segment; times are microseconds."""

    id: str
    insert: int
    objects: int
    begin: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Spec:
    """A partition that is needed. Its range is half open, in the order of insertion."""

    blocks: tuple[BlockRef, ...]

    @property
    def begin(self) -> int:
        """The first segment."""
        return min(block.insert for block in self.blocks)

    @property
    def end(self) -> int:
        """The one after the last segment."""
        return max(block.insert for block in self.blocks) + 1

    @property
    def objects(self) -> int:
        """How many objects its blocks have."""
        return sum(block.objects for block in self.blocks)

    def source(self, salt: str = "") -> str:
        """Return what differs between different lists of blocks, or values of *salt*."""
        text = "\n".join([salt, *(f"{one.insert} {one.id} {one.objects}" for one in self.blocks)])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Partition(NamedTuple):
    """A partition that exists: its range, how many objects it was made of, the digest of its
    schema, and of what it was made."""

    begin: int
    end: int
    objects: int
    schema: str
    source: str

    def overlaps(self, begin: int, end: int) -> bool:
        """Return whether the half open ranges have anything in common."""
        return self.begin < end and begin < self.end


class Verdict(NamedTuple):
    """What is to be done: partitions that answer as they are, specs that are to be built, and
    partitions that go when that is done."""

    fresh: list[Partition]
    build: list[Spec]
    retire: list[Partition]


def by_insert_order(
    blocks: Iterable[BlockRef], most: int = MOST_OBJECTS, slice_size: int = SLICE
) -> list[Spec]:
    """Cut *blocks* in the order in which they came, whole blocks only; a block that is too large
    goes alone, blocks without objects are dropped. All blocks of a segment go together."""
    specs: list[Spec] = []
    part: list[BlockRef] = []
    objects = 0
    for together in _segments(block for block in blocks if block.objects):
        size = sum(block.objects for block in together)
        same = part and part[0].insert // slice_size == together[0].insert // slice_size
        if part and (not same or objects + size > most):
            specs.append(Spec(tuple(part)))
            part, objects = [], 0
        part += together
        objects += size
    if part:
        specs.append(Spec(tuple(part)))
    return specs


def by_event_time(blocks: Iterable[BlockRef], most: int = MOST_OBJECTS) -> list[Spec]:
    """Cut *blocks* by their times: only between chains, and only where all before the cut came
    before all after it, so that the partitions do not overlap. Where that cannot be, they grow."""
    found = chains(block for block in blocks if block.objects)
    if not found:
        return []
    highest = list(accumulate((max(one.insert for one in chain) for chain in found), max))
    lowest = list(accumulate((min(one.insert for one in chain) for chain in found[::-1]), min))
    lowest.reverse()
    specs: list[Spec] = []
    part: list[BlockRef] = []
    safe = 0
    for at, chain in enumerate(found):
        if at and highest[at - 1] < lowest[at]:
            safe = len(part)
        part += chain
        if safe and sum(block.objects for block in part) > most:
            specs.append(Spec(tuple(part[:safe])))
            part, safe = part[safe:], 0
    specs.append(Spec(tuple(part)))
    return specs


def chains(blocks: Iterable[BlockRef]) -> list[list[BlockRef]]:
    """Group blocks by time: each touches or overlaps those before it in its chain, as they are
    ordered by begin and end; a gap begins the next chain."""
    found: list[list[BlockRef]] = []
    reached = 0
    for block in sorted(blocks, key=lambda one: (one.begin, one.end)):
        if found and block.begin <= reached:
            found[-1].append(block)
            reached = max(reached, block.end)
        else:
            found.append([block])
            reached = block.end
    return found


def judge(
    specs: Sequence[Spec],
    partitions: Sequence[Partition],
    schema: str,
    order: Order,
    salts: Sequence[str] = ("",),
) -> Verdict:
    """Tell which of *partitions* answer for which of *specs*.

    One is fresh where it is the only one that matches: by insertion, the only one that overlaps the
    spec's range; by time, the only one of exactly that range; and where schema, objects and source
    are as expected, the source with any of *salts*. Building a spec retires every partition that
    its range touches, and what will be retired does not count for any other spec. What answers for
    no spec is retired.
    """
    exact = [[one for one in partitions if _is_made_of(one, spec, schema, salts)] for spec in specs]
    stale = {at for at, found in enumerate(exact) if not found}
    alive = [
        one
        for one in partitions
        if not any(one.overlaps(specs[at].begin, specs[at].end) for at in stale)
    ]
    for at, spec in enumerate(specs):
        if at not in stale and len(_matches(spec, alive, order)) != 1:
            stale.add(at)
    fresh = [exact[at][0] for at in range(len(specs)) if at not in stale]
    build = [specs[at] for at in sorted(stale)]
    return Verdict(fresh, build, [one for one in partitions if one not in fresh])


def _is_made_of(partition: Partition, spec: Spec, schema: str, salts: Sequence[str]) -> bool:
    return partition[:4] == (spec.begin, spec.end, spec.objects, schema) and any(
        partition.source == spec.source(salt) for salt in salts
    )


def _matches(spec: Spec, alive: Sequence[Partition], order: Order) -> list[Partition]:
    if order == "insert":
        return [one for one in alive if one.overlaps(spec.begin, spec.end)]
    return [one for one in alive if (one.begin, one.end) == (spec.begin, spec.end)]


def to_evict(
    files: Iterable[tuple[str, int, float]], now: float, most_bytes: int, longest: float
) -> list[str]:
    """Return which of *files* (name, bytes, last use) go: those not used for *longest* seconds, and
    of the others those used longest ago, until the rest has at most *most_bytes*."""
    gone: list[str] = []
    taken = 0
    for name, size, used in sorted(files, key=lambda file: -file[2]):
        taken += size
        if now - used > longest or taken > most_bytes:
            gone.append(name)
            taken -= size
    return gone


def _segments(blocks: Iterable[BlockRef]) -> list[list[BlockRef]]:
    """Group blocks by their segment, in the order of segments and then of ids."""
    found: dict[int, list[BlockRef]] = {}
    for block in sorted(blocks, key=lambda one: (one.insert, one.id)):
        found.setdefault(block.insert, []).append(block)
    return list(found.values())
