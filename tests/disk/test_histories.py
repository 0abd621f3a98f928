"""Whatever happens to a directory, and whatever was told of it: after ``sync`` the index equals a
cold one.

Real files, real inotify, real workers, real stores. In some lives of the engine the kernel drops
most of what it has to tell, in others nobody watches at all.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.index.query.aggregation import dfanalyzer_table
from tests.disk.changes import DiskChanges
from tests.disk.kernel_limits import QUEUE, limited

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]

_HISTORIES = int(os.environ.get("DFTINDEXD_TEST_HISTORIES", "3"))
_SEED = int(os.environ.get("DFTINDEXD_TEST_HISTORY_SEED", "0"))
_LIVES, _SYNCS, _MOST_STEPS = 3, 6, 12
_NEVER = 1e9


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the daemon's event loop alone."""
    return ("asyncio", {"use_uvloop": True})


def ways_to_watch() -> list[str]:
    """Return how a life of the engine may be told of changes, as far as we may choose here."""
    return ["told", "untold", *(["lossy"] if os.access(QUEUE, os.W_OK) else [])]


async def synced(root: Root) -> dict[bytes, str]:
    return await (await root.leave_ticket(root.path)).wait()


def contents(root: Root) -> dict[bytes, object]:
    """Return all that the store holds of each trace but how it came to hold it."""
    return {
        one.path: (
            msgspec.structs.replace(one.lines, fast=0),
            one.complete_events,
            one.final_facts,
            one.tail,
        )
        for one in root.records(root.path)
    }


async def begun(root: Root) -> None:
    """Wait until the root is watched: the kernel has read then how much it may remember."""
    with anyio.fail_after(60):
        while root.options.follow and not watched_directories(root):  # noqa: ASYNC110 - untold
            await anyio.sleep(0.01)


def watched_directories(root: Root) -> int:
    """Return how many directories the kernel watches for a root."""
    told: dict[str, Any] = root.supervisors[-1].observe()
    return int(told["actor"]["directories"])


async def rows(engine: Engine, root: Root) -> list[tuple[Any, ...]]:
    """Return the aggregation of a root, in an order of its own."""
    tier = root.options.tiers.aggregation
    assert tier is not None

    _, table = await engine.read(
        root,
        lambda view: dfanalyzer_table(view.rows, root.records(root.path), tier, "events"),
    )
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)


def whole_events(trace: Path) -> int:
    """Return how many lines of a plain trace are events: a plain count."""

    def is_event(line: bytes) -> bool:
        try:
            return bool(json.loads(line)["ph"] == 1)
        except ValueError:
            return False

    return sum(map(is_event, trace.read_bytes().split(b"\n")))


def engine_options(base: Path, state: str, *, told: bool) -> EngineOptions:
    return EngineOptions(
        state_dir=str(base / state),
        owner="the test",
        workers=1,
        root=RootOptions(settle_seconds=0.2, follow=told, rescan_seconds=_NEVER),
    )


def unlike_the_file(root: Root) -> list[bytes]:
    """Return the plain traces of which the store does not hold what a plain count finds."""
    unlike = []
    for record in root.records(root.path):
        path = Path(os.fsdecode(os.path.join(root.path, record.path)))
        mixed = path.suffix == ".gz" or b"\x1f\x8b" in path.read_bytes()
        if not mixed and record.complete_events != whole_events(path):
            unlike.append(record.path)
    return unlike


async def compare(engine: Engine, root: Root, cold: Engine, done: list[str]) -> None:
    """Hold a root against an index of the same directory from nothing."""
    problems = await synced(root)
    other = await cold.add_root(root.path)
    assert await synced(other) == problems, done
    assert contents(root) == contents(other), done
    assert await rows(engine, root) == await rows(cold, other), done
    assert unlike_the_file(root) == [], done
    await cold.unwatch(root.path, purge=True)


@pytest.mark.disk
@pytest.mark.parametrize("seed", range(_SEED, _SEED + _HISTORIES))
async def test_after_any_history_and_sync_the_index_equals_a_cold_one(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    traces, aside = tmp_path / "traces", tmp_path / "aside"
    traces.mkdir()
    aside.mkdir()
    changes = DiskChanges(traces, aside, seed)
    done: list[str] = []
    async with open_engine(engine_options(tmp_path, "cold", told=False)) as cold:
        for _ in range(_LIVES):
            way = chance.choice(ways_to_watch())
            done.append(f"-- a life: {way}")
            options = engine_options(tmp_path, "state", told=way != "untold")
            async with open_engine(options) as engine:
                with limited(QUEUE, 2) if way == "lossy" else nullcontext():
                    root = await engine.add_root(os.fsencode(traces))
                    await begun(root)
                for _ in range(_SYNCS):
                    for _ in range(chance.randint(1, _MOST_STEPS)):
                        done.append(changes.step())
                        await anyio.sleep(chance.choice((0, 0, 0.001, 0.03)))
                    await compare(engine, root, cold, done)
            done += [changes.step() for _ in range(chance.randint(0, 5))]
