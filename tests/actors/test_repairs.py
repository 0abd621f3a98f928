"""Damage in a running engine: found by answers and by verify, rebuilt, and nothing else touched."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.commands import Condemn, Remove
from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.errors import ActorEndedError
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.store_handle import StoreView
from dftindexd.actors.supervisor import RestartPolicy
from dftindexd.actors.verification import sample_of
from dftindexd.index.errors import CoreError
from dftindexd.index.model import TierConfig
from dftindexd.index.query.source import segment_rows
from dftindexd.index.store.aside import MOST_A_DAY, kept_aside
from dftindexd.index.store.layout import HASH_TABLES, MANIFEST, SEGMENT_FAMILIES, segment_key
from dftindexd.index.store.rocks import RocksStore
from tests.end_to_end.made_traces import write_trace
from tests.index.store.test_recovery import flip

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]

LOTS = (b"one", b"two")
_EACH = 4


@asynccontextmanager
async def running(base: Path) -> AsyncIterator[tuple[Engine, Root]]:
    options = EngineOptions(
        state_dir=str(base / "state"),
        owner="the test",
        workers=1,
        root=RootOptions(settle_seconds=0.3, rescan_seconds=0.5),
    )
    with anyio.fail_after(60):
        async with open_engine(options) as engine:
            root = await engine.add_root(os.fsencode(base / "traces"))
            await sync(root)
            yield engine, root


async def sync(root: Root) -> None:
    assert await (await root.leave_ticket(root.path)).wait() == {}


async def fill(base: Path) -> Path:
    """Index two lots of traces, each into tables of its own; return the store."""
    store = Path()
    for lot in LOTS:
        folder = base / "traces" / os.fsdecode(lot)
        folder.mkdir(parents=True)
        for number in range(_EACH):
            write_trace(folder / f"{number}.pfw.gz", 10)
        async with running(base) as (_, root):
            store = Path(root.store_path)
    return store


def damage_tables(store: Path, *segments: int) -> int:
    """Flip a byte in each table that begins with a row of *segments*; return how many there are."""
    rows = RocksStore(str(store), read_only=True)
    tables = {
        one["name"].lstrip("/")
        for one in rows._db.live_files()
        if int.from_bytes(one["start_key"][:8], "big") in segments
    }
    rows.close()
    for name in tables:
        flip(store / name, 2)
    return len(tables)


def segments(root: Root) -> dict[bytes, list[int]]:
    return {
        path: [segment.segment_id for segment in record.segments]
        for path, record in root.handle.registry.traces.items()
    }


def lot_of(root: Root, lot: bytes) -> list[int]:
    return [
        segment.segment_id
        for path, record in root.handle.registry.traces.items()
        if path.startswith(lot)
        for segment in record.segments
    ]


def named_hashes(view: StoreView) -> int:
    records = list(view.registry.traces.values())
    return len(segment_rows(view.rows, HASH_TABLES, records))


async def answered(engine: Engine, root: Root) -> int:
    return (await engine.answer(root, root.path, named_hashes))[1]


async def test_an_answer_that_meets_damage_waits_for_the_rebuilt_traces_and_is_whole(
    tmp_path: Path,
) -> None:
    store = await fill(tmp_path)
    async with running(tmp_path) as (_, root):
        before, damaged = segments(root), lot_of(root, b"two")
    assert damage_tables(store, *damaged)
    async with running(tmp_path) as (engine, root):
        assert await answered(engine, root) == 2 * _EACH
        after = segments(root)
        assert {path for path in after if after[path] != before[path]} == {
            path for path in after if path.startswith(b"two/")
        }
        assert root.handle.damage.repairs == _EACH
        assert not root.handle.damage.reasons(root.handle.registry.sets)
    assert not kept_aside(str(store))


async def test_verify_names_the_traces_of_a_damaged_table_and_they_are_rebuilt(
    tmp_path: Path,
) -> None:
    store = await fill(tmp_path)
    async with running(tmp_path) as (engine, root):
        sound = await root.verify(root.path, sample=3)
        assert (sound.traces, sound.sampled, sound.problems) == (2 * _EACH, 3, ())
        # Its blocks are in memory now, so that no answer would meet the damage.
        assert await answered(engine, root) == 2 * _EACH
        assert damage_tables(store, *lot_of(root, b"one"))
        found = await root.verify(root.path, sample=0)
        assert {one.kind for one in found.problems} == {"checksum"}
        assert {one.path for one in found.problems} == {
            path for path in segments(root) if path.startswith(b"one/")
        }
        await sync(root)
        assert root.handle.damage.repairs == _EACH
        # A compaction that meets the block has the store set aside; it comes to the same.
        while (await root.verify(root.path, sample=0)).problems:
            await sync(root)
        assert await answered(engine, root) == 2 * _EACH
        assert not os.listdir(store / "copies")


async def test_verify_of_a_directory_looks_at_its_traces_alone(tmp_path: Path) -> None:
    store = await fill(tmp_path)
    async with running(tmp_path) as (_, root):
        assert damage_tables(store, *lot_of(root, b"one"))
        done = await root.verify(os.path.join(root.path, b"two"), sample=0)
        assert (done.traces, done.problems) == (_EACH, ())


async def test_a_row_that_went_missing_is_found_by_verify_and_rebuilt(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with running(tmp_path) as (_, root):
        assert root.handle.writer is not None
        rocks, damaged = root.handle.writer.rocks, lot_of(root, b"one/1")
        batch = rocks.batch()
        for segment in damaged:
            batch.delete(MANIFEST, segment_key(segment))
        rocks.write(batch)
        (problem,) = (await root.verify(root.path, sample=0)).problems
        assert (problem.kind, problem.path) == ("missing", b"one/1.pfw.gz")
        assert problem.segments == set(damaged)
        await sync(root)
        assert (await root.verify(root.path, sample=0)).problems == ()
        assert root.handle.damage.repairs == 1


async def test_a_condemned_store_is_set_aside_and_answers_wait_for_the_new_one(
    tmp_path: Path,
) -> None:
    store = await fill(tmp_path)
    async with running(tmp_path) as (engine, root):
        generation = root.handle.registry.generation
        with pytest.raises(ActorEndedError):
            await root.store.ask(Condemn(reason="by a test"))
        seen, rows = await engine.answer(root, root.path, named_hashes)
        assert rows == 2 * _EACH
        assert seen > generation
        while root.handle.rebuilding:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        assert len(kept_aside(str(store))) == 1


async def test_remove_takes_traces_out_at_whatever_version_they_are(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with running(tmp_path) as (_, root):
        (tmp_path / "traces/one/1.pfw.gz").unlink()
        await root.stop_indexing()
        kept = await root.store.ask(Remove(paths=(b"two/1.pfw.gz",), tiers=TierConfig(bloom=False)))
        assert not kept.refused
        assert len(root.handle.registry.traces) >= 2 * _EACH - 1
        done = await root.store.ask(Remove(paths=(b"one/1.pfw.gz", b"none", b"two/1.pfw.gz")))
        assert not done.refused
        assert len(root.handle.registry.traces) == 2 * _EACH - 2


async def test_damage_of_every_family_is_met_and_rebuilt(tmp_path: Path) -> None:
    store = await fill(tmp_path)
    async with running(tmp_path) as (_, root):
        every = lot_of(root, b"")
    assert damage_tables(store, *every) >= len(SEGMENT_FAMILIES) - 3
    async with running(tmp_path) as (engine, root):
        found = await root.verify(root.path, sample=0)
        assert {one.path for one in found.problems} == set(segments(root))
        assert await answered(engine, root) == 2 * _EACH
        await sync(root)
        while (await root.verify(root.path, sample=2 * _EACH)).problems:
            await sync(root)
        assert await answered(engine, root) == 2 * _EACH
        records = list(root.handle.registry.traces.values())
        assert sample_of([(one,) for one in records], 2) != []


async def test_a_sync_waits_for_the_store_that_takes_the_place_of_a_condemned_one(
    tmp_path: Path,
) -> None:
    await fill(tmp_path)
    async with running(tmp_path) as (engine, root):
        for number in range(20):
            write_trace(tmp_path / "traces" / f"late-{number}.pfw.gz", 10)
        ticket = await root.leave_ticket(root.path)
        with pytest.raises(ActorEndedError):
            await root.store.ask(Condemn(reason="by a test"))
        assert await ticket.wait() == {}
        assert await answered(engine, root) == 2 * _EACH + 20


async def test_a_store_that_cannot_be_built_anew_ends_those_who_wait_with_its_reason(
    tmp_path: Path,
) -> None:
    store = await fill(tmp_path)
    stamp = time.strftime("%Y%m%dT%H%M", time.gmtime())
    for second in range(MOST_A_DAY):
        os.mkdir(f"{store}.damaged-{stamp}{second:02}Z")
    async with running(tmp_path) as (_, root):
        for supervisor in root.supervisors:
            supervisor._policy = RestartPolicy(max_restarts=1, first_delay=0.01)
        with pytest.raises(ActorEndedError):
            await root.store.ask(Condemn(reason="by a test"))
        ticket = await root.leave_ticket(root.path)
        with pytest.raises(CoreError, match="could not be set aside: by a test"):
            await ticket.wait()
        assert root.handle.rebuilding == "by a test"
    assert store.name in os.listdir(store.parent)
