"""A running engine: it unwatches what was deleted, over restarts, and keeps what is not mounted."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root_options import RootOptions
from dftindexd.index.errors import CoreError
from tests.actors.test_open_stores import events, sync
from tests.end_to_end.made_traces import write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dftindexd.actors.engine._GONE_LOOK_SECONDS", 0.02)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the daemon's event loop alone."""
    return ("asyncio", {"use_uvloop": True})


@asynccontextmanager
async def engine(base: Path, gone_seconds: float) -> AsyncIterator[Engine]:
    options = EngineOptions(
        state_dir=str(base / "state"),
        owner="the test",
        workers=1,
        gone_seconds=gone_seconds,
        root=RootOptions(settle_seconds=0.2, rescan_seconds=0.2),
    )
    with anyio.fail_after(60):
        async with open_engine(options) as one:
            yield one


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the engine's own timeout is the limit
        await anyio.sleep(0.01)


async def test_a_deleted_root_is_unwatched_and_its_store_purged_when_its_time_is_over(
    tmp_path: Path,
) -> None:
    folder, other = tmp_path / "run", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
        write_trace(each / "a.pfw", 10)
    path = os.fsencode(folder)
    async with engine(tmp_path, 1e9) as one:
        await one.restore_roots()
        for each in (folder, other):
            root, _ = await one.watch(os.fsencode(each))
            await sync(root)
        await until(lambda: all(one._gone.device_of(each) is not None for each in one.roots))
        store, root = one.roots[path].store_path, one.roots[path]
        shutil.rmtree(folder)
        await until(lambda: root.gone_since is not None)
        since = root.gone_since
        assert events(root) == 10
    async with engine(tmp_path, 1e9) as again:
        await again.restore_roots()
        root = again.roots[path]
        await until(lambda: root.gone_since is not None)
        assert root.gone_since == since
        assert events(root) == 10
    async with engine(tmp_path, 0.001) as last:
        await last.restore_roots()
        await until(lambda: path not in last.roots)
        await until(lambda: not is_there(store))
        assert list(last.roots) == [os.fsencode(other)]
        assert list(last.state_dir.load_roots()) == [os.fsencode(other)]


def is_there(path: str) -> bool:
    return os.path.exists(path)


async def test_a_root_that_is_a_mount_point_keeps_its_index_while_nothing_is_mounted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if os.geteuid() != 0 or (await anyio.run_process(mount, check=False)).returncode:
        pytest.skip("only root may mount a tmpfs here")
    try:
        write_trace(folder / "a.pfw", 10)
        async with engine(tmp_path, 0.001) as one:
            await one.restore_roots()
            root, _ = await one.watch(os.fsencode(folder))
            await sync(root)
            await until(lambda: one._gone.device_of(root.path) is not None)
    finally:
        await anyio.run_process(["umount", str(folder)])
    async with engine(tmp_path, 0.001) as again:
        await again.restore_roots()
        root = again.roots[os.fsencode(folder)]
        with pytest.raises(CoreError, match="may not be mounted"):
            await sync(root)
        assert events(root) == 10
        assert root.gone_since is None
        write_trace(folder / "b.pfw", 5)  # it is used all the same: then it is what it looks like
        await sync(root)
        assert events(root) == 5
