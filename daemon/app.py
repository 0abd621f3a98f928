"""The daemon's life: locks, stores, socket, roots, signals, and an orderly end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from dftindexd import __version__
from dftindexd.actors.engine import Engine, EngineOptions, open_engine
from dftindexd.actors.gone_roots import GONE_SECONDS
from dftindexd.actors.open_stores import MOST_OPEN
from dftindexd.actors.parser_pool import STALL_SECONDS
from dftindexd.actors.root_options import RootOptions
from dftindexd.daemon.callers import Admission
from dftindexd.daemon.loop_lag import LoopLag
from dftindexd.daemon.metrics_outlets import MetricsOptions, run_outlets
from dftindexd.daemon.notify import is_managed, notify
from dftindexd.daemon.open_files import raise_open_files
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.server import IpcServer
from dftindexd.daemon.service import DaemonService
from dftindexd.daemon.socket_file import socket_lock
from dftindexd.index.errors import CoreError

__all__ = ("WORKER_NICENESS", "RunOptions", "default_workers", "run_daemon")

_STATUS_SECONDS = 1.0

_log = structlog.get_logger(__name__)


#: The workers take all the processors there are, and who asks the daemon is not to wait for them.
WORKER_NICENESS: Final = 5


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``dftindexd run`` was told; paths are absolute."""

    state_dir: str
    socket: str
    watch: tuple[str, ...] = ()
    workers: int = 2
    open_stores: int = MOST_OPEN
    gone_seconds: float = GONE_SECONDS
    memory_budget: int | None = None
    stall_seconds: float = STALL_SECONDS
    root: RootOptions = RootOptions()
    admission: Admission = msgspec.field(default_factory=Admission)
    metrics: MetricsOptions = MetricsOptions()


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
        niceness=WORKER_NICENESS,
        open_stores=options.open_stores,
        gone_seconds=options.gone_seconds,
        memory_budget=options.memory_budget,
        stall_seconds=options.stall_seconds,
        root=options.root,
    )
    _log.debug("open_files", most=raise_open_files())
    with socket_lock(options.socket) as lock:
        await _run_locked(options, engine_options, lock)
    _log.info("daemon_ended")


async def _run_locked(options: RunOptions, engine_options: EngineOptions, lock: int) -> None:
    stopping = anyio.Event()
    async with open_engine(engine_options) as engine, anyio.create_task_group() as tasks:
        await tasks.start(_stop_on_signal, stopping.set)
        lag = LoopLag()
        tasks.start_soon(lag.run)
        service = DaemonService(engine, options.socket, stopping.set, lag, options.admission)
        server = IpcServer(
            service,
            options.socket,
            version=__version__,
            lock=lock,
            admission=options.admission,
        )
        service.count_clients(server.clients)
        tasks.start_soon(run_outlets, options.metrics, service.metrics.text)
        tasks.start_soon(_begin, engine, options, server, tasks)
        if is_managed():
            tasks.start_soon(_tell_manager, service)
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


async def _tell_manager(service: DaemonService) -> None:
    """Tell the service manager what the daemon is at, whenever that is something else."""
    told = ""
    while True:
        await anyio.sleep(_STATUS_SECONDS)
        line = service.line()
        if line != told:
            notify(f"STATUS={line}")
            told = line


async def _stop_on_signal(
    stop: Callable[[], None], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            _log.info("signal_received", signal=number.name)
            stop()
