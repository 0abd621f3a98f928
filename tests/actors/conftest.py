"""Fixtures for everything that runs as an actor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fail when a task that the test started is still alive at its end."""
    before = asyncio.all_tasks()
    yield
    leaked = [task for task in asyncio.all_tasks() - before if not _is_of_the_test_runner(task)]
    assert not leaked, f"tasks alive at teardown: {leaked}"


def _is_of_the_test_runner(task: asyncio.Task[object]) -> bool:
    # The anyio plugin wraps each step of a test, this teardown too, in a task of its own.
    return getattr(task.get_coro(), "__name__", "") == "_call_in_runner_task"
