"""No more stores are open than may be: idle ones are parked, and open again when somebody asks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.commands import Compact, Open
from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.open_stores import OpenStores, in_use
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.index.errors import CoreError, StoreLockedError, StoreReadOnlyError
from dftindexd.index.failpoints import VARIABLE
from dftindexd.index.store.aside import kept_aside
from dftindexd.index.store.identity import LOCK_FILE, acquire_lock
from dftindexd.index.store.layout import MANIFEST
from dftindexd.index.store.rocks import RocksStore
from tests.actors.test_store import Store, running
from tests.end_to_end.made_traces import write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]

_ROOTS = 4


async def test_a_parked_store_keeps_its_registry_and_opens_for_any_command(tmp_path: Path) -> None:
    async with running(tmp_path, OpenStores(1)) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        registry, lives = store.handle.registry, store.handle.lives
        await parked(store)
        assert store.handle.registry is registry
        assert (await store.mailbox.ask(Compact(now=True))).segments_deleted == 0
        assert store.handle.is_open
        assert store.handle.registry is registry
        assert store.handle.lives == lives
        await parked(store)
        async with in_use(store.handle, store.mailbox):
            with store.handle.view() as view:
                assert len(list(view.rows.scan(MANIFEST))) == 2
            await store.mailbox.ask(store.new_write(b"b"))
        assert store.handle.registry.generation == 2


async def parked(store: Store) -> None:
    """Have *store* parked, as if another had been used later than it."""
    store.stores.most = 0
    await until(lambda: store.handle.is_parked and not locked(store.handle.path))
    store.stores.most = 1


def spoil(current: Path) -> None:
    current.write_bytes(b"MANIFEST-x\n")


def locked(path: str) -> bool:
    try:
        os.close(acquire_lock(os.path.join(path, LOCK_FILE), "the test"))
    except StoreLockedError:
        return True
    return False


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await anyio.sleep(0.01)


async def test_a_store_that_is_used_or_read_is_not_parked(tmp_path: Path) -> None:
    async with running(tmp_path, OpenStores(1)) as store:
        store.stores.most = 0
        with store.handle.view():
            assert not store.stores.is_surplus(store.handle)
        async with in_use(store.handle, store.mailbox):
            assert not store.stores.is_surplus(store.handle)
        store.handle.trouble.failed("the disk")
        assert not store.stores.is_surplus(store.handle)
        store.handle.trouble.is_over()
        assert store.stores.is_surplus(store.handle)


async def test_many_who_ask_at_once_open_a_parked_store_once(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, OpenStores(1)) as store:
        await parked(store)
        epoch = store.handle.last_epoch
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(store.mailbox.ask_control, Open())
        assert store.writer.epoch == epoch + 1


async def test_a_parked_store_that_cannot_be_opened_is_read_only_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, OpenStores(1)) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        await parked(store)
        with monkeypatch.context() as patch:
            patch.setenv(VARIABLE, "store:open:locked=raise:the disk is away")
            with pytest.raises(StoreReadOnlyError, match="the disk is away"):
                await store.mailbox.ask(Compact())
            assert "the disk is away" in store.handle.read_only
            assert list(store.handle.registry.traces) == [b"a"]
        await until(lambda: not store.handle.read_only)
        assert store.rows() == 2
        assert store.supervisor.restarts == 0


async def test_a_store_damaged_while_it_was_parked_is_another_one(tmp_path: Path) -> None:
    async with running(tmp_path, OpenStores(1)) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        lives = store.handle.lives
        await parked(store)
        spoil(Path(store.handle.path, "CURRENT"))
        async with in_use(store.handle, store.mailbox):
            assert store.handle.lives == lives + 1
            assert store.handle.rebuilding
            assert list(store.handle.registry.traces) == []
        assert len(kept_aside(store.handle.path)) == 1


async def test_a_parked_store_that_somebody_else_took_is_told_and_tried_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, OpenStores(1)) as store:
        await parked(store)
        lock = acquire_lock(os.path.join(store.handle.path, LOCK_FILE), "pid 7, the other")
        with pytest.raises(CoreError, match="cannot be opened"):
            async with in_use(store.handle, store.mailbox):
                pass
        os.close(lock)
        await store.mailbox.ask(Compact())
        assert store.supervisor.restarts > 0


async def test_what_a_parked_store_dropped_is_deleted_when_its_retention_is_over(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, OpenStores(1)) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        await store.mailbox.ask(store.new_write(b"a", 1))
        store.handle.retention = 1.0
        store.stores.most = 0
        await until(lambda: not store.handle.is_open)
        await until(lambda: store.handle.vacuumed == 1)


@asynccontextmanager
async def engine(base: Path, most: int) -> AsyncIterator[Engine]:
    options = EngineOptions(
        state_dir=str(base / "state"),
        owner="the test",
        workers=1,
        open_stores=most,
        root=RootOptions(settle_seconds=0.2, rescan_seconds=0.5),
    )
    with anyio.fail_after(60):
        async with open_engine(options) as running_engine:
            yield running_engine


def events(root: Root) -> int:
    return sum(record.complete_events for record in root.records(root.path))


async def sync(root: Root) -> None:
    assert await (await root.leave_ticket(root.path)).wait() == {}


async def test_more_roots_than_open_stores_are_all_watched_listed_and_answered(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / f"run{number}" for number in range(_ROOTS)]
    for folder in folders:
        folder.mkdir()
        write_trace(folder / "a.pfw", 10)
    async with engine(tmp_path, 1) as one:
        roots = [(await one.watch(os.fsencode(folder)))[0] for folder in folders]
        for root in roots:
            await (await root.leave_ticket(root.path, until_finished=True)).wait()
        await until(lambda: len(one.stores) == 1)
        generations = [root.handle.registry.generation for root in roots]
        for root in roots:
            assert events(root) == 10
            await sync(root)  # nothing changed, so that no store has to be opened for it
        assert [root.handle.registry.generation for root in roots] == generations
        for folder, root in zip(folders, roots, strict=True):
            write_trace(folder / "b.pfw", 5)
            await sync(root)
            assert events(root) == 15
            generation, traces = await one.answer(
                root, root.path, lambda view: len(view.registry.traces)
            )
            assert (generation, traces) == (root.handle.registry.generation, 2)
        await until(lambda: len(one.stores) == 1)
        (open_one,) = [root for root in roots if root.handle.is_open]
        await one.compact(next(root for root in roots if root is not open_one), now=True)
        await one.unwatch(roots[0].path, purge=True)
        assert not (tmp_path / "state" / "stores" / os.path.basename(roots[0].store_path)).exists()
    async with engine(tmp_path, 2) as again:
        await again.restore_roots()
        assert sorted(map(events, again.roots.values())) == [15] * (_ROOTS - 1)
        await until(lambda: len(again.stores) == 2)


async def test_readers_and_writers_of_many_parked_stores_never_see_half_a_trace(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / f"run{number}" for number in range(_ROOTS)]
    for folder in folders:
        folder.mkdir()
    async with engine(tmp_path, 1) as one:
        roots = [(await one.watch(os.fsencode(folder)))[0] for folder in folders]

        async def write(folder: Path, root: Root) -> None:
            for number in range(4):
                write_trace(folder / f"{number}.pfw", 10)
                await sync(root)

        async def read(root: Root) -> None:
            seen = -1
            while events(root) < 40:
                generation, rows = await one.read(
                    root, lambda view: (len(view.registry.traces), _segments(view.rows))
                )
                assert generation >= seen
                assert rows[0] <= rows[1]
                seen = generation
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for folder, root in zip(folders, roots, strict=True):
                tasks.start_soon(write, folder, root)
                tasks.start_soon(read, root)
        assert [events(root) for root in roots] == [40] * _ROOTS


def _segments(rows: RocksStore) -> int:
    return len(list(rows.scan(MANIFEST)))
