"""The daemon's life: locks, stores, socket, roots, signals, and an orderly end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import structlog
from msgspec.structs import replace

from dftindexd import __version__
from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.supervisor import Health
from dftindexd.daemon.auto_publish import AutoPublisher
from dftindexd.daemon.listening import inherited_listener
from dftindexd.daemon.loop_lag import LoopLag
from dftindexd.daemon.manager import ask_for_time, feed_watchdog, tell_reloading, tell_status
from dftindexd.daemon.metrics_outlets import run_outlets
from dftindexd.daemon.notify import is_managed, notify
from dftindexd.daemon.open_files import raise_open_files
from dftindexd.daemon.reload import Configuration
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.run_options import RunOptions
from dftindexd.daemon.server import IpcServer
from dftindexd.daemon.service import DaemonService
from dftindexd.daemon.socket_file import socket_lock
from dftindexd.index.errors import CoreError

__all__ = ("WORKER_NICENESS", "run_daemon")

_log = structlog.get_logger(__name__)


#: The workers take all the processors there are, and who asks the daemon is not to wait for them.
WORKER_NICENESS: Final = 5


async def run_daemon(options: RunOptions, configuration: Configuration) -> None:
    """Run until SIGTERM, SIGINT or a stop request; then end in order. SIGHUP has *configuration*
    read again.

    :raises StoreLockedError: another daemon has the state directory.
    :raises BusyError: another daemon has the socket.
    :raises CoreError: a directory to watch cannot be.
    """
    listener = inherited_listener(os.environ, os.getpid())
    if listener is not None:
        options = replace(options, socket=listener.getsockname())
    _log.debug("open_files", most=raise_open_files())
    with socket_lock(options.socket) as lock:
        async with anyio.create_task_group() as tasks:
            await _Life(options, configuration, lock, listener, tasks).run()
            tasks.cancel_scope.cancel()
    _log.info("daemon_ended")


class _Life:
    """One daemon from its locks to its end; *manager* tasks outlive the engine's end."""

    def __init__(
        self,
        options: RunOptions,
        configuration: Configuration,
        lock: int,
        listener: socket.socket | None,
        manager: anyio.abc.TaskGroup,
    ) -> None:
        self._options = options
        self._configuration = configuration
        self._lock = lock
        self._listener = listener
        self._manager = manager
        self._stopping = anyio.Event()

    async def run(self) -> None:
        async with (
            open_engine(_engine_options(self._options)) as engine,
            anyio.create_task_group() as tasks,
        ):
            await tasks.start(_stop_on_signal, self._stopping.set)
            lag = LoopLag()
            tasks.start_soon(lag.run)
            service = DaemonService(
                engine,
                self._options.socket,
                self._stopping.set,
                lag,
                admission=self._options.admission,
                configuration=self._configuration,
                request_seconds=self._options.request_seconds,
            )
            tasks.start_soon(self._begin, engine, service, tasks)
            await self._stopping.wait()
            notify("STOPPING=1")
            _log.info("daemon_stopping")
            if is_managed():
                self._manager.start_soon(ask_for_time, lambda: None)
            tasks.cancel_scope.cancel()
        await service.close()

    async def _begin(
        self, engine: Engine, service: DaemonService, tasks: anyio.abc.TaskGroup
    ) -> None:
        """Open the roots of before, of the configuration and of the command line, serve, and say
        that we are ready.

        The socket comes last, so that whoever can connect finds every root.
        """
        async with anyio.create_task_group() as starting:
            if is_managed():
                starting.start_soon(ask_for_time, lambda: len(engine.roots))
                starting.start_soon(tell_status, lambda: _opening(engine))
            await self._open_roots(engine)
            starting.cancel_scope.cancel()
        server = IpcServer(
            service,
            self._options.socket,
            version=__version__,
            lock=self._lock,
            listener=self._listener,
            admission=self._options.admission,
        )
        service.count_clients(server.clients)
        tasks.start_soon(
            run_outlets, self._options.metrics, service.metrics.text, service.metrics.problems
        )
        await tasks.start(server.serve)
        tasks.start_soon(AutoPublisher(engine, self._options.socket).run)
        if not sys.stderr.isatty():  # there SIGHUP is the end of the terminal, and thus ours
            await tasks.start(_reload_on_signal, self._configuration, engine)
        notify("READY=1")
        _log.info(
            "daemon_ready",
            socket=self._options.socket,
            state_dir=self._options.state_dir,
            roots=len(engine.roots),
            memory_budget_mib=self._options.memory_budget >> 20,
            pid=os.getpid(),
        )
        if is_managed():
            tasks.start_soon(tell_status, service.line)
            tasks.start_soon(feed_watchdog, lambda: _healths(engine))

    async def _open_roots(self, engine: Engine) -> None:
        await engine.restore_roots()
        for path in self._options.watch:
            real = request_path(path)
            if not await anyio.to_thread.run_sync(os.path.isdir, real):
                raise CoreError(f"cannot watch {path}: it is not a directory", "make it first")
            await engine.watch(real)


def _engine_options(options: RunOptions) -> EngineOptions:
    return EngineOptions(
        state_dir=options.state_dir,
        owner=f"dftindexd pid {os.getpid()}, socket {options.socket}",
        workers=options.workers,
        niceness=WORKER_NICENESS,
        open_stores=options.open_stores,
        gone_seconds=options.gone_seconds,
        memory_budget=options.memory_budget,
        stall_seconds=options.stall_seconds,
        root=options.root,
        configured=options.configured,
    )


def _opening(engine: Engine) -> str:
    known = engine.settings.keys() | engine.configured.keys()
    return f"opening stores: {len(engine.roots)} of {max(len(known), len(engine.roots))}"


def _healths(engine: Engine) -> Iterator[Health]:
    return (supervisor.health for supervisor in engine.supervisors())


async def _stop_on_signal(
    stop: Callable[[], None], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            _log.info("signal_received", signal=number.name)
            stop()


async def _reload_on_signal(
    configuration: Configuration, engine: Engine, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            tell_reloading()
            await configuration.reload(engine)
            notify("READY=1")
