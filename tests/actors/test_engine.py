"""The engine end to end: real files, real workers, real stores."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.index.errors import CoreError, NotWatchedError, StoreLockedError
from dftindexd.index.failpoints import VARIABLE
from dftindexd.index.model import LineCounts
from tests.end_to_end.made_traces import event_lines, write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]

FOLLOWING = RootOptions(settle_seconds=0.3, rescan_seconds=0.5)
ASKED = RootOptions(settle_seconds=0.3, follow=False)


class Place:
    """A root with traces and a state directory beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "traces"
        self.root.mkdir()

    @property
    def path(self) -> bytes:
        return os.fsencode(self.root)

    @asynccontextmanager
    async def engine(
        self,
        options: RootOptions = ASKED,
        *,
        state: str = "state",
        workers: int = 1,
        memory_budget: int | None = None,
    ) -> AsyncIterator[Engine]:
        engine_options = EngineOptions(
            state_dir=str(self.base / state),
            owner="the test",
            workers=workers,
            memory_budget=memory_budget,
            root=options,
        )
        with anyio.fail_after(60):
            async with open_engine(engine_options) as engine:
                yield engine


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def sync(root: Root, below: bytes = b"", *, force: bool = False) -> dict[bytes, str]:
    ticket = await root.leave_ticket(os.path.join(root.path, below).rstrip(b"/"), force=force)
    return await ticket.wait()


async def finished(root: Root) -> dict[bytes, str]:
    return await (await root.leave_ticket(root.path, until_finished=True)).wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what nobody tells: the engine's own timeout is the limit."""
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.01)


def on_disk(path: str) -> bool:
    return os.path.isdir(path)


def make_foreign(path: str) -> Path:
    """Put something that is not ours in the place of a store."""
    shutil.rmtree(path)
    foreign = Path(path)
    foreign.mkdir()
    (foreign / "CURRENT").write_text("not ours")
    return foreign


def contents(root: Root) -> dict[bytes, tuple[int, LineCounts]]:
    """Return what the store holds of each trace, however its lines were read."""
    return {
        one.path: (one.complete_events, msgspec.structs.replace(one.lines, fast=0))
        for one in root.records(root.path)
    }


def events(root: Root) -> dict[bytes, int]:
    return {one.path: one.complete_events for one in root.records(root.path)}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the daemon's event loop alone; the actors' own tests run on both."""
    return ("asyncio", {"use_uvloop": True})


async def cold(other: Engine, place: Place) -> dict[bytes, tuple[int, LineCounts]]:
    """Return what an empty store of *other* makes of the root."""
    root = await other.add_root(place.path)
    assert root.handle.registry.generation == 0
    assert await sync(root) == {}
    found = contents(root)
    await other.unwatch(place.path, purge=True)
    return found


async def test_after_each_change_on_disk_the_index_equals_a_fresh_one(place: Place) -> None:
    plain, packed = place.root / "a.pfw", place.root / "run" / "b.pfw.gz"
    packed.parent.mkdir()
    write_trace(plain, 10)
    write_trace(packed, 20)
    write_trace(packed, 20, first=21, append=True)
    async with place.engine() as engine, place.engine(state="cold") as other:
        root = await engine.add_root(place.path)
        assert await sync(root) == {}
        assert events(root) == {b"a.pfw": 10, b"run/b.pfw.gz": 40}

        write_trace(plain, 5, first=11, append=True)
        write_trace(packed, 5, first=41, append=True)
        before = {one.path: one for one in root.records(root.path)}
        assert await sync(root) == {}
        for record in root.records(root.path):
            old = before[record.path]
            assert record.version == old.version + 1
            assert record.segments[: len(old.segments)] == old.segments
            assert len(record.segments) == len(old.segments) + 1
        assert events(root) == {b"a.pfw": 15, b"run/b.pfw.gz": 45}
        assert contents(root) == await cold(other, place)

        replacement = place.root / "new"
        replacement.write_bytes(event_lines(7))
        replacement.rename(plain)
        assert await sync(root) == {}
        assert events(root)[b"a.pfw"] == 7
        assert contents(root) == await cold(other, place)

        packed.rename(place.root / "c.pfw.gz")
        assert await sync(root) == {}
        assert events(root) == {b"a.pfw": 7, b"c.pfw.gz": 45}
        assert contents(root) == await cold(other, place)

        with plain.open("r+b") as file:
            file.truncate(len(event_lines(3)))
        assert await sync(root) == {}
        assert events(root)[b"a.pfw"] == 3
        assert contents(root) == await cold(other, place)

        (place.root / "c.pfw.gz").unlink()
        assert await sync(root, b"c.pfw.gz") == {}
        assert events(root) == {b"a.pfw": 3}
        assert contents(root) == await cold(other, place)


async def test_a_followed_root_needs_no_asking_and_settles(place: Place) -> None:
    async with place.engine(FOLLOWING) as engine:
        root = await engine.add_root(place.path)
        await sync(root)
        write_trace(place.root / "a.pfw", 10)
        (place.root / "deep" / "er").mkdir(parents=True)
        write_trace(place.root / "deep" / "er" / "b.pfw.gz", 20)
        await until(lambda: events(root) == {b"a.pfw": 10, b"deep/er/b.pfw.gz": 20})
        assert await finished(root) == {}
        assert {one.ending for one in root.records(root.path)} == {"silence"}
        write_trace(place.root / "a.pfw", 1, first=11, append=True)
        await until(lambda: events(root)[b"a.pfw"] == 11)
        shutil.rmtree(place.root / "deep")
        await until(lambda: len(events(root)) == 1)


async def test_a_trace_that_kills_workers_is_quarantined_and_the_others_are_indexed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "worker:parse:before=kill@poison")
    for number in range(5):
        write_trace(place.root / f"{number}.pfw", 10)
    write_trace(place.root / "poison.pfw", 10)
    async with place.engine(workers=2) as engine:
        root = await engine.add_root(place.path)
        problems = await sync(root)
        assert list(problems) == [b"poison.pfw"]
        assert "signal 9" in problems[b"poison.pfw"]
        assert events(root) == {b"poison.pfw": 0} | {b"%d.pfw" % one: 10 for one in range(5)}
        assert await finished(root) == problems
    monkeypatch.delenv(VARIABLE)
    async with place.engine() as engine:
        root = await engine.add_root(place.path)
        assert await sync(root) == problems
        assert await sync(root, b"poison.pfw", force=True) == {}
        assert events(root)[b"poison.pfw"] == 10


async def test_a_trace_that_cannot_be_read_is_quarantined_with_its_reason(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "worker:parse:before=raise:the disk@bad")
    write_trace(place.root / "bad.pfw", 10)
    async with place.engine() as engine:
        root = await engine.add_root(place.path)
        problems = await sync(root)
        assert "the disk" in problems[b"bad.pfw"]
        assert engine.pool.restarts == 0


async def test_many_small_traces_share_jobs_and_all_arrive(place: Place) -> None:
    for number in range(150):
        write_trace(place.root / f"{number}.pfw", 2)
    async with place.engine(workers=2) as engine:
        root = await engine.add_root(place.path)
        assert await sync(root) == {}
        assert len(events(root)) == 150
        assert set(events(root).values()) == {2}
        assert root.handle.registry.generation < 50
        assert root.state.idle


async def test_jobs_over_the_memory_budget_are_read_one_after_the_other(place: Place) -> None:
    for number in range(3):
        write_trace(place.root / f"{number}.pfw", 30_000)
    async with place.engine(workers=2, memory_budget=1) as engine:
        root = await engine.add_root(place.path)
        assert await sync(root) == {}
        assert events(root) == {b"%d.pfw" % one: 30_000 for one in range(3)}


async def test_large_segments_come_by_files_and_nothing_stays_in_staging(place: Place) -> None:
    write_trace(place.root / "a.pfw", 30_000)
    names = b"".join(
        line.replace(b'"read"', b'"f%d"' % number)
        for number, line in enumerate(event_lines(3000).splitlines(keepends=True))
    )
    (place.root / "many.pfw").write_bytes(names)
    async with place.engine() as engine:
        root = await engine.add_root(place.path)
        assert await sync(root) == {}
        assert events(root) == {b"a.pfw": 30_000, b"many.pfw": 3000}
        assert os.listdir(root.handle.staging) == []


async def test_a_root_that_is_missing_fails_a_sync_and_keeps_its_index(place: Place) -> None:
    write_trace(place.root / "a.pfw", 10)
    async with place.engine() as engine:
        root = await engine.add_root(place.path)
        await sync(root)
        place.root.rename(place.base / "away")
        with pytest.raises(CoreError, match="cannot be read"):
            await sync(root)
        assert events(root) == {b"a.pfw": 10}
        (place.base / "away").rename(place.root)
        assert await sync(root) == {}


async def test_roots_are_remembered_and_found_again(place: Place) -> None:
    write_trace(place.root / "a.pfw", 10)
    async with place.engine() as engine:
        root, added = await engine.watch(place.path)
        assert added
        same, again = await engine.watch(place.path + b"/sub")
        assert (same, again) == (root, False)
        await sync(root)
        generation = root.handle.registry.generation
    async with place.engine() as engine:
        await engine.restore_roots()
        root = engine.root_of(place.path + b"/a.pfw")
        assert events(root) == {b"a.pfw": 10}
        assert root.handle.registry.generation == generation
        assert await sync(root) == {}
        assert root.records(root.path)[0].version == 1


async def test_unwatching_forgets_a_root_and_purging_deletes_its_store(place: Place) -> None:
    write_trace(place.root / "a.pfw", 10)
    async with place.engine() as engine:
        root, _ = await engine.watch(place.path)
        await sync(root)
        await engine.unwatch(place.path, purge=False)
        assert on_disk(root.store_path)
        with pytest.raises(NotWatchedError):
            engine.root_of(place.path)
        with pytest.raises(NotWatchedError):
            await engine.unwatch(place.path, purge=False)
        root, added = await engine.watch(place.path)
        assert added
        assert events(root) == {b"a.pfw": 10}
        await engine.unwatch(place.path, purge=True)
        assert not on_disk(root.store_path)
        assert (place.root / "a.pfw").exists()
    async with place.engine() as engine:
        await engine.restore_roots()
        assert engine.roots == {}


async def test_unwatching_in_the_middle_of_work_tells_those_who_wait(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "worker:parse:before=sleep:0.3")
    write_trace(place.root / "a.pfw", 10)
    async with place.engine() as engine:
        root, _ = await engine.watch(place.path)
        ticket = await root.leave_ticket(place.path)
        await engine.unwatch(place.path, purge=True)
        with pytest.raises(CoreError, match="interrupted"):
            await ticket.wait()
        assert not on_disk(root.store_path)


async def test_a_second_engine_on_the_state_directory_is_refused_by_name(place: Place) -> None:
    async with place.engine():
        with pytest.raises(StoreLockedError, match="the test"):
            async with place.engine():
                pass


async def test_a_root_with_a_foreign_store_stops_no_other_and_is_not_forgotten(
    place: Place,
) -> None:
    write_trace(place.root / "a.pfw", 10)
    other = os.fsencode(place.base / "other")
    third = os.fsencode(place.base / "third")
    os.mkdir(other)
    os.mkdir(third)
    async with place.engine() as engine:
        await engine.watch(other)
        await engine.watch(place.path)
        store_path = engine.roots[other].store_path
    foreign = make_foreign(store_path)
    async with place.engine() as engine:
        await engine.restore_roots()
        assert list(engine.roots) == [place.path]
        assert "CURRENT" in engine.failed_roots[other]
        assert await sync(engine.roots[place.path]) == {}
        with pytest.raises(CoreError, match="CURRENT"):
            await engine.watch(other)
        await engine.watch(third)
    assert os.listdir(foreign) == ["CURRENT"]
    async with place.engine() as engine:
        await engine.restore_roots()
        assert list(engine.failed_roots) == [other]
        with pytest.raises(CoreError, match="not deleted"):
            await engine.unwatch(other, purge=True)
        await engine.unwatch(other, purge=False)
        assert engine.failed_roots == {}
    assert os.listdir(foreign) == ["CURRENT"]
    async with place.engine() as engine:
        await engine.restore_roots()
        assert sorted(engine.roots) == sorted([place.path, third])


async def test_a_root_that_could_not_be_opened_is_opened_when_it_can(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dftindexd.actors.engine._FIRST_RETRY_SECONDS", 0.05)
    write_trace(place.root / "a.pfw", 10)
    async with place.engine() as engine:
        await engine.watch(place.path)
    monkeypatch.setenv(VARIABLE, "store:open:opened=raise:the disk is away")
    async with place.engine() as engine:
        await engine.restore_roots()
        assert list(engine.failed_roots) == [place.path]
        monkeypatch.delenv(VARIABLE)
        await until(lambda: place.path in engine.roots)
        assert engine.failed_roots == {}
        assert await sync(engine.roots[place.path]) == {}


async def test_an_error_inside_an_engine_comes_out_as_it_is(place: Place) -> None:
    async def fail() -> None:
        async with place.engine() as engine:
            await engine.add_root(place.path)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_a_cancelled_engine_ends_in_order(place: Place) -> None:
    write_trace(place.root / "a.pfw", 10)
    with anyio.CancelScope() as scope:
        async with place.engine(FOLLOWING) as engine:
            root = await engine.add_root(place.path)
            await sync(root)
            scope.cancel()
            await anyio.sleep_forever()
    async with place.engine() as engine:
        root = await engine.add_root(place.path)
        assert events(root) == {b"a.pfw": 10}


async def test_a_reader_sees_one_generation_whatever_happens_meanwhile(place: Place) -> None:
    write_trace(place.root / "a.pfw", 10)
    async with place.engine() as engine:
        root = await engine.add_root(place.path)
        await sync(root)
        generation, seen = await engine.read(root, lambda view: len(view.registry.traces))
        assert (generation, seen) == (root.handle.registry.generation, 1)
        write_trace(place.root / "a.pfw", 20)
        await sync(root)
        assert (await engine.compact(root)).segments_kept == 0


@pytest.fixture(autouse=True)
def _no_failpoints_left() -> Iterator[None]:
    yield
    assert VARIABLE not in os.environ
