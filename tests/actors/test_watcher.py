"""The watcher: real files, real inotify, hints in a mailbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from watchfiles import Change

from dftindexd.actors.actor import Quit
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.supervisor import Supervisor
from dftindexd.actors.watcher import Hint, Watcher, hinted_paths

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]


class Watch:
    """A running watcher and what it told."""

    def __init__(self, root: bytes, tasks: anyio.abc.TaskGroup) -> None:
        self.hints = Mailbox("hints", 1000)
        self.mailbox = Mailbox("watcher", 1)
        self.supervisor = Supervisor(
            "watcher", lambda: Watcher(root, self.hints, tasks), self.mailbox
        )

    async def until(self, wanted: Callable[[Hint], bool]) -> Hint:
        with anyio.fail_after(20):
            while True:
                hint = (await self.hints.receive()).message
                assert isinstance(hint, Hint)
                if wanted(hint):
                    return hint

    async def in_place(self) -> None:
        """Wait until the kernel watches: then, and at the start, everything is to be looked at."""
        for _ in range(2):
            await self.until(lambda hint: hint.paths is None)


@asynccontextmanager
async def watching(root: bytes) -> AsyncIterator[Watch]:
    async with anyio.create_task_group() as tasks:
        watch = Watch(root, tasks)
        await tasks.start(watch.supervisor.run)
        yield watch
        await watch.mailbox.ask_control(Quit())


def test_hints_name_traces_and_whatever_came_or_went() -> None:
    changes = {
        (Change.modified, "/r/a.pfw"),
        (Change.modified, "/r/a.txt"),
        (Change.modified, "/r/d"),
        (Change.added, "/r/new"),
        (Change.deleted, "/r/old"),
        (Change.added, "/other/a.pfw"),
        (Change.deleted, "/r"),
        (Change.added, "/r/\udcff.pfw.gz"),
    }
    paths = {b"a.pfw", b"new", b"old", b"\xff.pfw.gz"}
    assert hinted_paths(b"/r", changes) == paths
    assert hinted_paths(b"/r/", changes) == paths
    assert hinted_paths(b"/", {(Change.added, "/a.pfw")}) == {b"a.pfw"}


async def test_a_new_a_changed_and_a_deleted_trace_are_hinted_at(tmp_path: Path) -> None:
    trace = tmp_path / "a.pfw"
    async with watching(os.fsencode(tmp_path)) as watch:
        await watch.in_place()
        for change in (trace.touch, lambda: trace.write_text("x"), trace.unlink):
            change()
            await watch.until(lambda hint: b"a.pfw" in (hint.paths or ()))


async def test_a_directory_moved_in_is_hinted_at(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.pfw").touch()
    async with watching(os.fsencode(root)) as watch:
        await watch.in_place()
        (tmp_path / "run").rename(root / "run")
        await watch.until(lambda hint: b"run" in (hint.paths or ()))


async def test_a_name_that_is_not_text_does_not_end_the_watch(tmp_path: Path) -> None:
    async with watching(os.fsencode(tmp_path)) as watch:
        await watch.in_place()
        (tmp_path / os.fsdecode(b"\xff.pfw")).touch()
        await watch.until(lambda hint: hint.paths is None)
        (tmp_path / "b.pfw").touch()
        await watch.until(lambda hint: b"b.pfw" in (hint.paths or ()))
        assert watch.supervisor.restarts == 0


async def test_a_root_made_anew_is_watched_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    async with watching(os.fsencode(root)) as watch:
        await watch.in_place()
        shutil.rmtree(root)
        root.mkdir()
        await watch.in_place()
        (root / "a.pfw").touch()
        await watch.until(lambda hint: b"a.pfw" in (hint.paths or ()))


async def test_a_watcher_whose_scheduler_has_ended_harms_nobody(tmp_path: Path) -> None:
    async with watching(os.fsencode(tmp_path)) as watch:
        await watch.in_place()
        watch.hints.close()
        (tmp_path / "a.pfw").touch()
        await anyio.sleep(0.3)
        assert not watch.mailbox.closed
