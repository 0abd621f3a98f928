"""The daemon's life: locks, stores, socket, roots, signals, and an orderly end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from dftindexd import __version__
from dftindexd.actors.engine import Engine, EngineOptions, open_engine
from dftindexd.actors.scheduler import RootOptions
from dftindexd.daemon.notify import notify
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.server import IpcServer
from dftindexd.daemon.service import DaemonService
from dftindexd.daemon.socket_file import socket_lock
from dftindexd.index.errors import CoreError

__all__ = ("RunOptions", "default_workers", "run_daemon")

_log = structlog.get_logger(__name__)


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``dftindexd run`` was told; paths are absolute."""

    state_dir: str
    socket: str
    watch: tuple[str, ...] = ()
    workers: int = 2
    root: RootOptions = RootOptions()


def default_workers() -> int:
    """Return the number of parser processes where none is given: one a processor we may use."""
    return len(os.sched_getaffinity(0))


async def run_daemon(options: RunOptions) -> None:
    """Run until SIGTERM, SIGINT or a stop request; then end in order.

    :raises StoreLockedError: another daemon has the state directory.
    :raises BusyError: another daemon has the socket.
    :raises CoreError: a directory to watch cannot be.
    """
    engine_options = EngineOptions(
        state_dir=options.state_dir,
        owner=f"dftindexd pid {os.getpid()}, socket {options.socket}",
        workers=options.workers,
        root=options.root,
    )
    with socket_lock(options.socket) as lock:
        await _run_locked(options, engine_options, lock)
    _log.info("daemon_ended")


async def _run_locked(options: RunOptions, engine_options: EngineOptions, lock: int) -> None:
    stopping = anyio.Event()
    async with open_engine(engine_options) as engine, anyio.create_task_group() as tasks:
        await tasks.start(_stop_on_signal, stopping.set)
        service = DaemonService(engine, options.socket, stopping.set)
        server = IpcServer(service, options.socket, version=__version__, lock=lock)
        tasks.start_soon(_begin, engine, options, server, tasks)
        await stopping.wait()
        notify("STOPPING=1")
        _log.info("daemon_stopping")
        tasks.cancel_scope.cancel()
    await service.close()


async def _begin(
    engine: Engine, options: RunOptions, server: IpcServer, tasks: anyio.abc.TaskGroup
) -> None:
    """Open the roots of before and those of the command line, serve, and say that we are ready.

    The socket comes last, so that whoever can connect finds every root.
    """
    await engine.restore_roots()
    for path in options.watch:
        real = request_path(path)
        if not await anyio.to_thread.run_sync(os.path.isdir, real):
            raise CoreError(f"cannot watch {path}: it is not a directory", "make it first")
        await engine.watch(real)
    await tasks.start(server.serve)
    notify("READY=1")
    _log.info(
        "daemon_ready",
        socket=options.socket,
        state_dir=options.state_dir,
        roots=len(engine.roots),
        pid=os.getpid(),
    )


async def _stop_on_signal(
    stop: Callable[[], None], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            _log.info("signal_received", signal=number.name)
            stop()
