"""What the single writer of a table gets wrong easily; docs/reliability.md lists every such point.

Here are those that no other test of the store, its actor or the engine is about.
"""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.actor import Shutdown
from dftindexd.actors.root import Root
from dftindexd.actors.store import StoreActor
from dftindexd.actors.supervisor import Supervisor
from dftindexd.index.store.writer import StoreWriter
from tests.actors.test_open_stores import engine, events, sync
from tests.actors.test_store import Store, running
from tests.end_to_end.made_traces import write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]


def traces_of(store: Store) -> list[bytes]:
    """Open the store anew, which nobody else may have open then, and return its traces."""
    reopened = StoreWriter(store.handle.path, root="/traces", owner="another")
    try:
        return sorted(reopened.registry.traces)
    finally:
        reopened.close()


async def test_a_store_whose_senders_are_gone_does_what_they_sent_and_is_closed(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    supervisor = Supervisor("store", lambda: StoreActor(store.handle, store.stores), store.mailbox)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            await tasks.start(supervisor.run)
            with store.mailbox.open_sender() as sender:
                await sender.tell(store.new_write(b"a"))
                await sender.tell(store.new_write(b"b"))
    assert traces_of(store) == [b"a", b"b"]


async def test_what_was_acknowledged_is_there_though_the_last_flush_failed(tmp_path: Path) -> None:
    async with running(tmp_path) as store:
        await store.mailbox.ask(store.new_write(b"a"))
        store.writer.rocks._db.cancel_all_background(True)  # then RocksDB refuses to flush
        await store.mailbox.ask(Shutdown())
    assert not store.handle.is_open
    assert traces_of(store) == [b"a"]


async def test_those_who_watch_one_tree_at_once_get_one_root(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "sub"
    folder.mkdir(parents=True)
    watched: list[tuple[Root, bool]] = []
    async with engine(tmp_path, 8) as one:

        async def watch(path: Path) -> None:
            watched.append(await one.watch(os.fsencode(path)))

        async with anyio.create_task_group() as tasks:
            for path in (folder.parent, folder, folder.parent, folder):
                tasks.start_soon(watch, path)
        (root,) = one.roots.values()
        assert [each for each, _ in watched] == [root] * 4
        assert sorted(added for _, added in watched) == [False, False, False, True]
        assert list(one.state_dir.load_roots()) == [root.path]


async def test_roots_of_one_name_have_stores_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / name / "run" for name in ("a", "b")]
    for count, folder in enumerate(folders, 1):
        folder.mkdir(parents=True)
        write_trace(folder / "x.pfw", 10 * count)
    async with engine(tmp_path, 8) as one:
        roots = [(await one.watch(os.fsencode(folder)))[0] for folder in folders]
        for root in roots:
            await sync(root)
        assert roots[0].store_path != roots[1].store_path
        assert [events(root) for root in roots] == [10, 20]
        await one.unwatch(roots[0].path, purge=True)
        assert events(roots[1]) == 20
