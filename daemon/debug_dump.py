"""What the daemon is made of right now, to find a fault, and nothing that is a user's.

No path, query, name of a trace or text of an error is told: of what actors observe, only numbers
and whether something holds; of code, where it is.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Final

from dftindexd import __version__
from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store_state import store_state
from dftindexd.daemon.logs import LOG_FLOW
from dftindexd.protocol.operation_requests import DebugDumpResult, RecentError, TaskDump

__all__ = ("debug_dump", "without_texts")

_LIBRARIES: Final = ("anyio", "isal", "msgspec", "numba", "numpy", "pyarrow", "rocksdict", "uvloop")
_MOST_FRAMES: Final = 40


def debug_dump(engine: Engine, uptime: float, clients: Mapping[str, int]) -> DebugDumpResult:
    """Return the dump. To be called in the event loop."""
    roots = list(engine.roots.values())
    numbers = {os.fsdecode(root.path): number for number, root in enumerate(roots, 1)}
    return DebugDumpResult(
        version=__version__,
        python=platform.python_version(),
        uptime_seconds=uptime,
        process=_process(),
        tasks=tuple(sorted(_tasks(), key=lambda task: (task.stack, task.name))),
        threads=tuple(_threads()),
        actors={
            _numbered(one.name, numbers): without_texts(one.observe())
            for one in engine.supervisors()
        },
        stores=tuple(_store(number, root) for number, root in enumerate(roots, 1)),
        clients=dict(clients),
        recent=tuple(
            RecentError(event=name, level=one.level, count=one.count, last=one.last)
            for name, one in LOG_FLOW.trouble.items()
        ),
        libraries=dict(_libraries()),
    )


def without_texts(observed: Mapping[str, object]) -> dict[str, object]:
    """Return what is no text in *observed*; a text becomes whether there is one."""
    kept: dict[str, object] = {}
    for key, value in observed.items():
        if isinstance(value, Mapping):
            kept[key] = without_texts(value)
        elif value is None or isinstance(value, bool | int | float):
            kept[key] = value
        elif key == "health":
            kept[key] = str(value)
        elif isinstance(value, str):
            kept[key] = bool(value)
    return kept


def _numbered(actor: str, numbers: Mapping[str, int]) -> str:
    kind, _, whose = actor.partition(":")
    return f"{kind}:root-{numbers[whose]}" if whose in numbers else actor


def _process() -> dict[str, float]:
    user, system, *_ = os.times()
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[1])
    return {
        "cpu_user_seconds": user,
        "cpu_system_seconds": system,
        "resident_bytes": float(pages * os.sysconf("SC_PAGE_SIZE")),
        "open_descriptors": float(len(os.listdir("/proc/self/fd"))),
        "threads": float(threading.active_count()),
        "tasks": float(len(asyncio.all_tasks())),
    }


def _tasks() -> Iterator[TaskDump]:
    for task in asyncio.all_tasks():
        stack = _places(_awaited(task.get_coro()))
        # A task may be named after what it serves: it is told by the first code of ours instead.
        ours = next((place for place in stack if place.startswith("dftindexd")), "")
        yield TaskDump(name=ours.rpartition(":")[0] or "a library's", stack=stack)


def _awaited(coroutine: object) -> Iterator[FrameType]:
    """Yield the frames of *coroutine* and of what it waits for, outermost first."""
    for _ in range(_MOST_FRAMES):
        if coroutine is None:
            return
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _threads() -> Iterator[TaskDump]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        stack: list[FrameType] = []
        inner: FrameType | None = frame
        while inner is not None and len(stack) < _MOST_FRAMES:
            stack.append(inner)
            inner = inner.f_back
        yield TaskDump(name=names.get(ident, "unnamed"), stack=_places(reversed(stack)))


def _places(frames: Iterable[FrameType]) -> tuple[str, ...]:
    return tuple(
        f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}:{frame.f_lineno}"
        for frame in frames
    )


def _store(number: int, root: Root) -> dict[str, object]:
    handle, state = root.handle, root.state
    return {
        "root": number,
        "state": store_state(handle, state),
        "backend": root.watch.backend if root.options.follow else "none",
        "open": handle.is_open,
        "generation": handle.registry.generation,
        "traces": len(handle.registry.traces),
        "seen": len(state.seen),
        "queued": state.queued,
        "in_flight": len(state.in_flight),
        "waiters": len(state.waiters),
        "pending_bytes": state.pending_bytes,
        "problems": len(state.problems),
        "damaged": len(handle.damage.reasons(handle.registry.sets)),
        "repairs": handle.damage.repairs,
        "lives": handle.lives,
    }


def _libraries() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "missing"
