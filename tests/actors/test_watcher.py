"""The watcher: real files, real inotify, hints in a mailbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.actor import Quit
from dftindexd.actors.file_systems import WantedBackend
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.supervisor import Supervisor
from dftindexd.actors.watch_state import WatchState
from dftindexd.actors.watcher import Hint, Watcher
from dftindexd.index.trace_rules import TraceRules
from tests.disk.kernel_limits import INSTANCES, QUEUE, WATCHES, limited

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]


class Watch:
    """A running watcher and what it told."""

    def __init__(
        self, root: bytes, tasks: anyio.abc.TaskGroup, rules: TraceRules, backend: WantedBackend
    ) -> None:
        self.hints = Mailbox("hints", 1000)
        self.mailbox = Mailbox("watcher", 1)
        self.state = WatchState("inotify", 30.0, 5.0)
        self.supervisor = Supervisor(
            "watcher",
            lambda: Watcher(root, self.hints, tasks, self.state, backend=backend, rules=rules),
            self.mailbox,
        )

    @property
    def backend(self) -> str:
        return self.state.backend

    async def until(self, wanted: Callable[[Hint], bool]) -> Hint:
        with anyio.fail_after(60):
            while True:
                hint = (await self.hints.receive()).message
                assert isinstance(hint, Hint)
                if wanted(hint):
                    return hint

    async def until_told(self, path: bytes) -> Hint:
        return await self.until(lambda hint: path in (hint.paths or ()))

    async def in_place(self) -> None:
        """Wait until the kernel watches: then everything is to be looked at."""
        await self.until(lambda hint: hint.paths is None)


@asynccontextmanager
async def watching(
    root: bytes,
    rules: TraceRules = TraceRules(),  # noqa: B008 - frozen
    backend: WantedBackend = "auto",
) -> AsyncIterator[Watch]:
    async with anyio.create_task_group() as tasks:
        watch = Watch(root, tasks, rules, backend)
        await tasks.start(watch.supervisor.run)
        yield watch
        await watch.mailbox.ask_control(Quit())


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
        await watch.until(lambda hint: b"\xff.pfw" in (hint.paths or ()))
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


async def test_whatever_moves_is_watched_where_it_is(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "run" / "deep").mkdir(parents=True)
    async with watching(os.fsencode(root)) as watch:
        await watch.in_place()
        (root / "run").rename(root / "moved")
        hint = await watch.until(lambda hint: b"moved" in (hint.paths or ()))
        assert b"run" in (hint.paths or ())
        (root / "moved" / "deep" / "a.pfw").touch()
        await watch.until(lambda hint: b"moved/deep/a.pfw" in (hint.paths or ()))
        (root / "moved").rename(tmp_path / "out")
        await watch.until(lambda hint: b"moved" in (hint.paths or ()))
        (tmp_path / "out" / "deep" / "b.pfw").touch()
        (root / "c.pfw").touch()
        hint = await watch.until(lambda hint: hint.paths is not None)
        assert hint == Hint(frozenset({b"c.pfw"}))


async def test_of_a_burst_of_nested_directories_each_is_watched(tmp_path: Path) -> None:
    async with watching(os.fsencode(tmp_path)) as watch:
        await watch.in_place()
        deepest = [tmp_path / f"d{one}" / "e" / "f" for one in range(200)]
        for folder in deepest:
            folder.mkdir(parents=True)
        await watch.until(lambda hint: b"d199" in (hint.paths or ()))
        for folder in (deepest[0], deepest[77], deepest[199]):
            (folder / "a.pfw").touch()
            path = os.fsencode(folder.relative_to(tmp_path) / "a.pfw")
            await watch.until_told(path)


@pytest.mark.skipif(not os.access(QUEUE, os.W_OK), reason="only root may shorten the queue")
async def test_after_lost_events_everything_is_looked_at_and_watched(tmp_path: Path) -> None:
    with ExitStack() as lowered:
        lowered.enter_context(limited(QUEUE, 4))
        async with watching(os.fsencode(tmp_path)) as watch:
            await watch.in_place()
            lowered.close()
            for number in range(50):
                (tmp_path / f"d{number}" / "e").mkdir(parents=True)
            await watch.in_place()
            is_told = False
            while not is_told:  # what happens while the queue is still full is lost as well
                (tmp_path / "d49" / "e" / "a.pfw").touch()
                with anyio.move_on_after(0.5):
                    await watch.until_told(b"d49/e/a.pfw")
                    is_told = True


@pytest.mark.skipif(not os.access(INSTANCES, os.W_OK), reason="only root may set limits")
@pytest.mark.parametrize(("limit", "name"), [(INSTANCES, "instances"), (WATCHES, "watches")])
async def test_without_room_for_watches_the_root_is_polled_until_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Path, name: str
) -> None:
    monkeypatch.setattr("dftindexd.actors.watcher.RETRY_SECONDS", 0.2)
    with limited(limit, 0):
        async with watching(os.fsencode(tmp_path)) as watch:
            await watch.in_place()
            assert watch.backend == "poll"
            assert watch.state.interval == 5.0
            assert f"fs.inotify.max_user_{name}" in watch.state.reason
            with limited(limit, 100_000):
                while watch.state.reason:
                    await watch.in_place()
                assert watch.backend == "inotify"
                (tmp_path / "a.pfw").touch()
                await watch.until(lambda hint: b"a.pfw" in (hint.paths or ()))
            assert watch.supervisor.restarts == 0


async def test_a_root_that_is_polled_takes_no_watch(tmp_path: Path) -> None:
    async with watching(os.fsencode(tmp_path), backend="poll") as watch:
        (tmp_path / "a.pfw").touch()
        await anyio.sleep(0.1)
        assert watch.state == WatchState("poll", 30.0, 5.0)
        assert len(watch.hints) == 0


async def test_what_the_rules_leave_out_is_not_hinted_at(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    rules = TraceRules(exclude=("out", "new*"))
    async with watching(os.fsencode(tmp_path), rules) as watch:
        await watch.in_place()
        (tmp_path / "out" / "a.pfw").touch()
        (tmp_path / "newer").mkdir()
        (tmp_path / "in" / "notes.txt").touch()
        (tmp_path / "in" / "b.pfw").touch()
        hint = await watch.until(lambda hint: hint.paths is not None)
        assert hint == Hint(frozenset({b"in/b.pfw"}))


async def test_a_directory_that_may_be_read_now_is_hinted_at(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)
    async with watching(os.fsencode(tmp_path)) as watch:
        await watch.in_place()
        shut.chmod(0o755)
        await watch.until(lambda hint: b"shut" in (hint.paths or ()))
