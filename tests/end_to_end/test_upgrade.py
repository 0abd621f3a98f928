"""A daemon that is replaced by a newer one while clients are connected to it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dftindexd.protocol.errors import DaemonUnreachableError, DftIndexError
from tests.end_to_end import newer_daemon
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, errors_in, running_daemon, until, wait_for_exit


@contextmanager
def upgraded(daemon: Daemon) -> Iterator[None]:
    """End *daemon* and run a newer one in its place for as long as the context lasts."""
    daemon.process.terminate()
    assert wait_for_exit(daemon.process) == 0
    line = [sys.executable, "-P", newer_daemon.__file__, "run", "--workers", "1"]
    line += ["--state-dir", str(daemon.state), "--socket", str(daemon.socket)]
    with daemon.log.open("ab") as log:
        process = subprocess.Popen(line, stderr=log)
    try:
        until(lambda: _answers(daemon), "an answer of the newer daemon")
        yield
        process.terminate()
        assert wait_for_exit(process) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert errors_in(daemon.log) == []


def _answers(daemon: Daemon) -> bool:
    try:
        daemon.client.ping()
    except DaemonUnreachableError:
        return False
    return True


def test_a_client_that_is_connected_goes_on_with_a_newer_daemon(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        write_trace(daemon.traces / "a.pfw.gz", 100)
        daemon.client.sync()
        before = daemon.client.ping()
        waited: list[str] = []

        def wait() -> None:
            try:
                daemon.client.wait()
            except DftIndexError as error:
                waited.append(error.code)

        # A trace that grows keeps who waits waiting.
        write_trace(daemon.traces / "b.pfw", 1)
        waiting = threading.Thread(target=wait)
        waiting.start()
        with upgraded(daemon):
            waiting.join(timeout=30.0)
            # Whoever waits is told by the daemon that ends, or by the end of its connection.
            assert not waiting.is_alive()
            assert waited in ([], ["shutting-down"], ["connection-lost"])
            after = daemon.client.ping()
            assert (after.version, after.pid != before.pid) == (newer_daemon.VERSION, True)
            write_trace(daemon.traces / "c.pfw", 50)
            daemon.client.sync()
            assert daemon.events() == 151
            assert len(daemon.listed()) == 3
            status = daemon.client.status()
            assert [root.traces for root in status.roots] == [3]
            with daemon.client.read(daemon.traces) as batches:
                assert sum(batch.num_rows for batch in batches) == 151
