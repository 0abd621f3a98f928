"""Who gets which work: pure functions of sizes, the same wherever they run."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeAlias, TypeVar

__all__ = (
    "Entry",
    "Member",
    "WorkUnit",
    "assign_files_by_pid",
    "plan_by_process",
    "plan_lpt_partition",
    "plan_round_robin",
    "plan_work_units",
)

T = TypeVar("T")

#: The path and the size of a file.
Entry: TypeAlias = tuple[str, int]

#: Where a gzip member begins in its file, and its size there.
Member: TypeAlias = tuple[int, int]


class WorkUnit(NamedTuple):
    """The members ``member_begin .. member_end`` of the file with this index, of *c_size* bytes."""

    file_idx: int
    member_begin: int
    member_end: int
    c_size: int


def plan_lpt_partition(entries: Iterable[Entry], num_workers: int) -> list[list[Entry]]:
    """Deal *entries* to workers: the largest first, each to whoever has least so far.

    Of equal sizes the earlier one comes first, of equal workers the first one is taken. Fewer than
    one worker counts as one.
    """
    ordered = sorted(entries, key=lambda entry: -entry[1])
    return _dealt(ordered, [size for _, size in ordered], num_workers)


def plan_work_units(
    member_map: Sequence[Sequence[Member]], num_workers: int, target_c_size: int = 0
) -> list[list[WorkUnit]]:
    """Cut files between their gzip members and deal the units to workers.

    *member_map* has the members of each file, none for one that cannot be cut. A unit ends with the
    member by which it has *target_c_size* bytes, by default a worker's even share of all.
    """
    units = _all_units(member_map, num_workers, target_c_size)
    units.sort(key=lambda unit: (-unit.c_size, unit.file_idx, unit.member_begin))
    dealt = _dealt(units, [max(unit.c_size, 1) for unit in units], num_workers)
    return [sorted(share) for share in dealt]


def plan_by_process(
    member_map: Sequence[Sequence[Member]], processes: Sequence[int | None], num_workers: int
) -> list[list[WorkUnit]]:
    """Deal units to workers as :func:`plan_work_units` does, but all files of one of *processes* to
    one worker, except those that are cut."""
    units = _all_units(member_map, num_workers, 0)
    counts = Counter(unit.file_idx for unit in units)
    groups: dict[object, list[WorkUnit]] = {}
    for unit in units:
        process = processes[unit.file_idx] if counts[unit.file_idx] == 1 else None
        # A key that no other unit has, where nothing keeps it with others.
        key = (process,) if process is not None else unit
        groups.setdefault(key, []).append(unit)
    ordered = sorted(groups.values(), key=lambda group: (-_weight(group), group[0]))
    dealt = _dealt(ordered, [_weight(group) for group in ordered], num_workers)
    return [sorted(unit for group in share for unit in group) for share in dealt]


def _weight(units: Iterable[WorkUnit]) -> int:
    return sum(max(unit.c_size, 1) for unit in units)


def _all_units(
    member_map: Sequence[Sequence[Member]], num_workers: int, target_c_size: int
) -> list[WorkUnit]:
    cut = [list(members) or [(0, 0)] for members in member_map]
    total = sum(size for members in cut for _, size in members)
    target = target_c_size or -(-total // max(num_workers, 1))
    return [unit for index, members in enumerate(cut) for unit in _units(index, members, target)]


def plan_round_robin(sizes: Sequence[int], num_workers: int) -> list[list[WorkUnit]]:
    """Deal whole files of these *sizes* to workers in turn."""
    workers = max(num_workers, 1)
    units = [WorkUnit(index, 0, 1, size) for index, size in enumerate(sizes)]
    return [units[worker::workers] for worker in range(workers)]


def assign_files_by_pid(
    file_pids: Mapping[int, AbstractSet[int]], n_workers: int
) -> dict[int, list[int]]:
    """Deal files to workers so that those with one smallest pid in common are together.

    *file_pids* are the processes of each file, by its id. Workers without a file are not named.
    """
    workers = max(n_workers, 1)
    dealt: dict[int, list[int]] = {}
    for file_id, pids in file_pids.items():
        worker = (min(pids) if pids else file_id) % workers
        dealt.setdefault(worker, []).append(file_id)
    return dealt


def _units(index: int, members: Sequence[Member], target: int) -> Iterable[WorkUnit]:
    begin = size = 0
    for number, (_, c_size) in enumerate(members, 1):
        size += c_size
        if size >= target or number == len(members):
            yield WorkUnit(index, begin, number, size)
            begin, size = number, 0


def _dealt(ordered: Sequence[T], weights: Sequence[int], workers: int) -> list[list[T]]:
    """Give each of *ordered* to the worker whose weights sum to least, the first of equals."""
    shares: list[list[T]] = [[] for _ in range(max(workers, 1))]
    loads = [(0, worker) for worker in range(len(shares))]
    for one, weight in zip(ordered, weights, strict=True):
        load, worker = loads[0]
        shares[worker].append(one)
        heapq.heapreplace(loads, (load + weight, worker))
    return shares
