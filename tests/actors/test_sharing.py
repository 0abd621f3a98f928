"""Roots that share the workers of one engine."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.engine import open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.index.failpoints import VARIABLE
from tests.end_to_end.made_traces import write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left", "no_leaked_tasks")]

MANY = 600


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the daemon's event loop alone."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A directory of many traces, each of which takes its time, and one of a few."""
    monkeypatch.setenv(VARIABLE, "worker:parse:before=sleep:0.01@many")
    many, few = tmp_path / "many", tmp_path / "few"
    for directory, count in ((many, MANY), (few, 3)):
        directory.mkdir()
        for number in range(count):
            write_trace(directory / f"{number:03}.pfw", 5)
    return many, few


def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(
        state_dir=str(tmp_path / "state"), owner="the test", workers=1, root=RootOptions()
    )


def indexed(root: Root) -> int:
    return len(root.handle.registry.traces)


async def until_indexed(root: Root, count: int) -> None:
    while indexed(root) < count:  # noqa: ASYNC110 - nobody tells
        await anyio.sleep(0.005)


async def test_a_root_of_many_traces_does_not_keep_another_waiting(
    tmp_path: Path, directories: tuple[Path, Path]
) -> None:
    with anyio.fail_after(60):
        async with open_engine(options(tmp_path)) as engine:
            many = await engine.add_root(os.fsencode(directories[0]))
            await until_indexed(many, 1)
            few = await engine.add_root(os.fsencode(directories[1]))
            await until_indexed(few, 3)
            assert indexed(many) < MANY
            assert many.state.queued > 0


async def test_what_is_asked_for_goes_before_what_is_queued_in_the_same_root(
    tmp_path: Path, directories: tuple[Path, Path]
) -> None:
    last = directories[0] / "zzz.pfw"
    write_trace(last, 1)  # the smallest, so that it would come last
    with anyio.fail_after(60):
        async with open_engine(options(tmp_path)) as engine:
            root = await engine.add_root(os.fsencode(directories[0]))
            await until_indexed(root, 1)
            ticket = await root.leave_ticket(os.fsencode(last))
            assert await ticket.wait() == {}
            assert b"zzz.pfw" in root.handle.registry.traces
            assert indexed(root) < MANY
