"""The store's actor: every command has a reply, a failed one changes nothing, readers are safe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.actor import Shutdown
from dftindexd.actors.commands import Compact, Ingest, Write
from dftindexd.actors.errors import MailboxClosedError
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.open_stores import OpenStores
from dftindexd.actors.store import StoreActor
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.actors.supervisor import Supervisor
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.store.layout import MANIFEST
from dftindexd.index.store.rocks import Batch
from dftindexd.index.store.sst import write_ssts
from dftindexd.index.store.writer import StoreWriter
from tests.index.store.commits import parsed_commit, rows_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]


class Store:
    """A running store actor."""

    def __init__(self, path: Path, stores: OpenStores | None = None) -> None:
        self.stores = stores or OpenStores()
        self.handle = StoreHandle(str(path / "store"), "/traces", "the test")
        self.mailbox = Mailbox("store", 16)
        self.supervisor = Supervisor(
            "store", lambda: StoreActor(self.handle, self.stores), self.mailbox
        )

    @property
    def writer(self) -> StoreWriter:
        assert self.handle.writer is not None
        return self.handle.writer

    def new_write(self, name: bytes, base: int = 0) -> Write:
        number = self.handle.new_segment_id()
        rows = tuple(rows_of(number))
        return Write(commits=(parsed_commit(name, base, number),), rows=rows)

    def rows(self) -> int:
        return len(list(self.writer.rocks.scan(MANIFEST)))


def no_table(folder: str) -> str:
    path = Path(folder, "bad.sst")
    path.write_bytes(b"no table at all")
    return str(path)


@asynccontextmanager
async def running(path: Path, stores: OpenStores | None = None) -> AsyncIterator[Store]:
    store = Store(path, stores)
    async with anyio.create_task_group() as tasks:
        await tasks.start(store.supervisor.run)
        yield store
        if not store.mailbox.closed:
            await store.mailbox.ask(Shutdown())


async def test_every_command_is_answered_with_what_it_did(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        written = await store.mailbox.ask(store.new_write(b"a"))
        assert (written.generation, written.refused) == (1, ())
        number = store.handle.new_segment_id()
        paths = write_ssts(rows_of(number), store.handle.staging, "s")
        ingested = await store.mailbox.ask(
            Ingest(
                commits=(parsed_commit(b"b", 0, number),),
                artifacts={family: (path,) for family, path in paths.items()},
            )
        )
        assert ingested.generation == 2
        late = await store.mailbox.ask(store.new_write(b"a"))
        assert [name for name, _ in late.refused] == [b"a"]
        compacted = await store.mailbox.ask(Compact(now=True))
        assert (compacted.segments_deleted, compacted.segments_kept) == (1, 0)
        assert sorted(store.handle.registry.traces) == [b"a", b"b"]


async def test_a_full_disk_leaves_the_store_as_it_was_and_later_writes_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        registry = store.handle.registry

        def full(batch: Batch) -> None:
            raise StoreReadOnlyError("no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(store.writer.rocks, "write", full)
            with pytest.raises(StoreReadOnlyError):
                await store.mailbox.ask(store.new_write(b"b"))
        assert store.handle.registry == registry
        assert "no space" in store.handle.read_only
        assert store.supervisor.restarts == 0
        await store.mailbox.ask(store.new_write(b"c"))
        assert sorted(store.handle.registry.traces) == [b"a", b"c"]
        assert store.handle.read_only == ""


async def test_a_command_that_the_store_cannot_take_costs_only_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        bad = no_table(store.handle.staging)
        number = store.handle.new_segment_id()
        with pytest.raises(CoreError):
            await store.mailbox.ask(
                Ingest(commits=(parsed_commit(b"a", 0, number),), artifacts={MANIFEST: (bad,)})
            )
        await store.mailbox.ask(store.new_write(b"b"))
        assert list(store.handle.registry.traces) == [b"b"]
        assert store.supervisor.restarts == 0


async def test_what_is_queued_before_a_shutdown_is_done_and_what_is_behind_it_refused(
    tmp_path: Path,
) -> None:
    outcomes: dict[str, object] = {}
    async with running(tmp_path) as store:

        async def ask(name: str, message: Write | Shutdown) -> None:
            try:
                outcomes[name] = await store.mailbox.ask(message)
            except MailboxClosedError as error:
                outcomes[name] = error

        before, behind = store.new_write(b"a"), store.new_write(b"b")
        async with anyio.create_task_group() as tasks:
            for name, message in (("before", before), ("end", Shutdown()), ("behind", behind)):
                tasks.start_soon(ask, name, message)
                await anyio.lowlevel.checkpoint()
    assert getattr(outcomes["before"], "generation", None) == 1
    assert outcomes["end"] is None
    assert isinstance(outcomes["behind"], MailboxClosedError)
    reopened = StoreWriter(store.handle.path, root="/traces", owner="the test")
    assert list(reopened.registry.traces) == [b"a"]
    reopened.close()


async def test_a_view_keeps_what_it_shows_from_being_vacuumed(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        with store.handle.view() as view:
            await store.mailbox.ask(store.new_write(b"a", 1))
            with store.handle.view() as newer:
                kept = await store.mailbox.ask(Compact(now=True))
                assert (kept.segments_deleted, kept.segments_kept) == (0, 1)
                assert view.registry.generation == 1
                assert newer.registry.generation == 2
                assert len(list(view.rows.scan(MANIFEST))) == 4
        gone = await store.mailbox.ask(Compact(now=True))
        assert (gone.segments_deleted, gone.segments_kept) == (1, 0)
        assert store.rows() == 2


async def test_closing_waits_for_those_who_read(tmp_path: Path) -> None:
    order: list[str] = []
    async with running(tmp_path) as store:
        await store.mailbox.ask(store.new_write(b"a"))

        async def shut_down() -> None:
            await store.mailbox.ask(Shutdown())
            order.append("closed")

        async with anyio.create_task_group() as tasks:
            with store.handle.view() as view:
                tasks.start_soon(shut_down)
                while store.handle.writer is not None:
                    await anyio.lowlevel.checkpoint()
                with pytest.raises(CoreError, match="not open"), store.handle.view():
                    pass
                assert len(list(view.rows.scan(MANIFEST))) == 2
                order.append("read")
    assert order == ["read", "closed"]
    assert list(store.handle.registry.traces) == [b"a"]


async def test_a_store_that_is_open_elsewhere_is_not_started(tmp_path: Path) -> None:
    other = StoreWriter(str(tmp_path / "store"), root="/traces", owner="pid 7, the other")
    store = Store(tmp_path)
    async with anyio.create_task_group() as tasks:
        with pytest.raises(CoreError, match="pid 7, the other"):
            await tasks.start(store.supervisor.run)
    other.close()
