"""Tier sets end to end: real traces, real workers, one store asked for one thing after another."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pyarrow as pa
import pytest
from msgspec.structs import replace

from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.store_handle import StoreView
from dftindexd.index.model import AggregationTier, TierConfig
from dftindexd.index.query.aggregation import read_aggregation
from dftindexd.index.tier_sets import giving, only
from tests.end_to_end.made_traces import write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]

COARSE = TierConfig()
FINE = TierConfig(aggregation=AggregationTier(interval_us=1_000))
CHUNKS = TierConfig(aggregation=None)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the daemon's event loop alone."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A root with a plain and a packed trace."""
    folder = tmp_path / "traces"
    folder.mkdir()
    write_trace(folder / "a.pfw", 30)
    write_trace(folder / "b.pfw.gz", 20)
    return folder


@asynccontextmanager
async def indexed(
    traces: Path, tiers: TierConfig, state: str = "state"
) -> AsyncIterator[tuple[Engine, Root]]:
    """Index the root with *tiers* and leave its engine open."""
    options = EngineOptions(
        state_dir=str(traces.parent / state),
        owner="the test",
        workers=1,
        root=RootOptions(tiers=tiers, follow=False),
    )
    with anyio.fail_after(60):
        async with open_engine(options) as engine:
            root = await engine.add_root(os.fsencode(traces))
            await sync(root)
            yield engine, root


async def sync(root: Root) -> None:
    assert await (await root.leave_ticket(root.path)).wait() == {}


def segments(root: Root) -> dict[int, TierConfig]:
    return {
        segment.segment_id: one.tiers
        for sets in root.handle.registry.sets.values()
        for one in sets
        for segment in one.segments
    }


async def rows(engine: Engine, root: Root, tiers: TierConfig) -> pa.Table:
    """Return the stored aggregation of *tiers*, from the sets that may answer."""
    tier = tiers.aggregation
    assert tier is not None

    def read(view: StoreView) -> pa.Table:
        wanted = only(tiers, aggregation=True)
        found = [giving(sets, wanted) for _, sets in sorted(view.registry.sets.items())]
        records = [one for one in found if one is not None]
        assert len(records) == len(found)
        return read_aggregation(view.rows, records, tier, "events")

    return (await engine.read(root, read))[1]


async def test_each_configuration_answers_as_one_that_was_built_alone(traces: Path) -> None:
    for tiers in (COARSE, FINE):
        async with indexed(traces, tiers):
            pass
    for append in (False, True):
        if append:
            write_trace(traces / "a.pfw", 15, first=31, append=True)
        for number, tiers in enumerate((COARSE, FINE)):
            async with (
                indexed(traces, tiers) as (engine, root),
                indexed(traces, tiers, f"alone{number}{append}") as (other, alone),
            ):
                assert await rows(engine, root, tiers) == await rows(other, alone, tiers)
                assert len(root.records(root.path)) == 2
                assert root.handle.registry.tally == alone.handle.registry.tally


async def test_what_is_asked_for_later_is_built_beside_and_coming_back_costs_nothing(
    traces: Path,
) -> None:
    async with indexed(traces, CHUNKS) as (_, root):
        first = segments(root)
    assert set(first.values()) == {CHUNKS}
    async with indexed(traces, COARSE) as (_, root):
        second = segments(root)
    assert first.items() <= second.items()
    assert {second[one] for one in second.keys() - first.keys()} == {only(COARSE, aggregation=True)}
    async with indexed(traces, FINE) as (_, root):
        third = segments(root)
        generation = root.handle.registry.generation
    assert second.items() <= third.items()
    for tiers in (CHUNKS, COARSE, FINE, COARSE):
        async with indexed(traces, tiers) as (_, root):
            assert (segments(root), root.handle.registry.generation) == (third, generation)


async def test_sets_in_use_grow_together_and_go_together(traces: Path) -> None:
    async with indexed(traces, CHUNKS):
        pass
    async with indexed(traces, COARSE) as (_, root):
        before = segments(root)
        write_trace(traces / "a.pfw", 5, first=31, append=True)
        await sync(root)
        assert before.items() <= segments(root).items()
        assert len(segments(root)) == len(before) + 2
        sets = root.handle.registry.sets[b"a.pfw"]
        assert len({one.stamp for one in sets}) == 1
        assert {one.complete_events for one in sets} == {35}
        assert root.handle.registry.tally.events == 55
        (traces / "b.pfw.gz").unlink()
        await sync(root)
        assert list(root.handle.registry.sets) == [b"a.pfw"]
        (traces / "a.pfw").unlink()
        write_trace(traces / "a.pfw", 3)
        await sync(root)
        (one,) = root.handle.registry.sets[b"a.pfw"]
        assert (one.tiers, one.complete_events) == (COARSE, 3)
        assert len(segments(root)) == 1


async def test_the_same_tiers_written_otherwise_are_the_same_set(traces: Path) -> None:
    async with indexed(traces, replace(CHUNKS, checkpoints=False)) as (_, root):
        first = segments(root)
    async with indexed(traces, CHUNKS) as (_, root):
        assert segments(root) == first
