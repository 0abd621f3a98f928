"""Looking after a store: vacuum and compaction, and coming back after a disk that failed.

With ``test_actor.py`` and ``test_engine.py`` these hold the weak points of the actor that ours is
modelled on: there a vacuum that failed was told to nobody, and left the table without its provider.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from dftindexd.actors.actor import Shutdown
from dftindexd.actors.commands import Compact
from dftindexd.actors.write_trouble import probe_disk
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.store.rocks import Batch, RocksStore
from tests.actors.test_store import Store, running

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]


async def test_a_vacuum_that_fails_is_told_to_its_asker_and_the_next_one_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        await store.mailbox.ask(store.new_write(b"a", 1))
        with monkeypatch.context() as patch:
            patch.setattr(store.writer.rocks, "write", _full)
            with pytest.raises(StoreReadOnlyError, match="no space"):
                await store.mailbox.ask(Compact(now=True))
        assert list(store.handle.registry.traces) == [b"a"]
        done = await store.mailbox.ask(Compact(now=True))
        assert (done.segments_deleted, done.segments_kept) == (1, 0)
        assert store.rows() == 2
        assert store.supervisor.restarts == 0


async def test_what_was_dropped_lately_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        await store.mailbox.ask(store.new_write(b"a", 1))
        kept = await store.mailbox.ask(Compact())
        assert (kept.segments_deleted, kept.segments_kept) == (0, 1)
        store.handle.retention = 0.0
        gone = await store.mailbox.ask(Compact())
        assert (gone.segments_deleted, gone.segments_kept) == (1, 0)


async def test_commits_and_reads_go_on_while_room_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = anyio.Event(), threading.Event()
    async with running(tmp_path) as store:
        _hold(store, monkeypatch, begun, may_end)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.handle.reclaim)
            await begun.wait()
            await store.mailbox.ask(store.new_write(b"a"))
            assert store.rows() == 2
            may_end.set()


async def test_closing_a_store_ends_its_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = anyio.Event(), threading.Event()
    async with running(tmp_path) as store:
        _hold(store, monkeypatch, begun, may_end)
        interrupt = store.writer.rocks.interrupt

        def interrupted() -> None:
            interrupt()
            may_end.set()

        monkeypatch.setattr(store.writer.rocks, "interrupt", interrupted)

        async def reclaim() -> None:
            with pytest.raises(CoreError, match="interrupted"):
                await store.handle.reclaim()

        await store.mailbox.ask(store.new_write(b"a"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reclaim)
            await begun.wait()
            await store.mailbox.ask(Shutdown())
    async with running(tmp_path) as again:
        assert list(again.handle.registry.traces) == [b"a"]
        assert again.rows() == 2


async def test_a_store_that_takes_no_writes_any_more_is_opened_anew_when_the_disk_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        broken, disk_is_well = store.writer.rocks, threading.Event()

        def probing(path: str) -> None:
            if not disk_is_well.is_set():
                raise StoreReadOnlyError("input/output error")
            probe_disk(path)

        monkeypatch.setattr(broken, "write", _full)
        monkeypatch.setattr("dftindexd.actors.store.probe_disk", probing)
        with pytest.raises(StoreReadOnlyError):
            await store.mailbox.ask(store.new_write(b"b"))
        await _until(lambda: "input/output" in store.handle.read_only)
        with store.handle.view() as view:
            assert list(view.registry.traces) == [b"a"]
        disk_is_well.set()
        await _until(lambda: not store.handle.read_only)
        assert store.writer.rocks is not broken
        await store.mailbox.ask(store.new_write(b"b"))
        assert sorted(store.handle.registry.traces) == [b"a", b"b"]
        assert store.supervisor.restarts == 0


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await anyio.sleep(0.01)
    raise AssertionError("it never came")


def _full(batch: Batch) -> None:
    raise StoreReadOnlyError("no space left on device")


def _hold(
    store: Store, monkeypatch: pytest.MonkeyPatch, begun: anyio.Event, may_end: threading.Event
) -> None:
    """Have the next compaction tell that it has *begun* and go on when it *may_end*."""
    rocks: RocksStore = store.writer.rocks
    compact = rocks.compact

    def held(*arguments: object) -> None:
        anyio.from_thread.run_sync(begun.set)
        assert may_end.wait(20)
        compact(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rocks, "compact", held)
