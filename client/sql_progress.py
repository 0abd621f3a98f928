"""A bar on the terminal for as long as the views of a statement are made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dftindexd.client.sync_client import Client
from dftindexd.protocol.errors import DftIndexError

__all__ = ("progress_bar",)

_POLL_SECONDS: Final = 0.2


@contextmanager
def progress_bar(client: Client, ticket: str) -> Iterator[None]:
    """Show how far the statement *ticket* is until the context is left; a terminal has it on
    standard error, anything else nothing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    done = threading.Event()
    columns = (TextColumn("making {task.description}"), BarColumn())
    progress = Progress(
        *columns,
        *(MofNCompleteColumn(), TextColumn("chunks"), TimeElapsedColumn()),
        console=console,
        transient=True,
    )
    follower = threading.Thread(target=_follow, args=(client, ticket, progress, done))
    with progress:
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _follow(client: Client, ticket: str, progress: Progress, done: threading.Event) -> None:
    bar = None
    while not done.wait(_POLL_SECONDS):
        try:
            made = client.sql_progress(ticket)
        except DftIndexError:
            return  # the statement itself is told why
        if not made.view:
            continue
        if bar is None:
            bar = progress.add_task(made.view, total=made.of)
        progress.update(bar, description=made.view, total=made.of, completed=made.chunks)
