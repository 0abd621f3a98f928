"""A disk that is full or fails: reads go on, writing resumes alone, nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dftindexd.actors.write_trouble import WriteTrouble, probe_disk
from dftindexd.index.errors import StoreReadOnlyError
from dftindexd.protocol.errors import DftIndexError
from tests.disk.small_disk import small_disk
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, run_to_end, running_daemon, until

_MIB = 1 << 20


def _fill(disk: Path) -> None:
    """Leave no room at all; the daemon may be writing, too."""
    room = os.statvfs(disk)
    with pytest.raises(OSError, match="No space left"):
        (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_bsize + _MIB))


def _state(daemon: Daemon) -> str:
    (root,) = daemon.client.status().roots
    return root.state


def _read_only_reason(daemon: Daemon) -> str:
    (root,) = daemon.client.status().roots
    return root.reason if root.state == "read-only" else ""


@pytest.mark.slow
def test_a_full_disk_makes_the_store_read_only_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "state", 48 * _MIB) as disk, running_daemon(tmp_path) as daemon:
        write_trace(daemon.traces / "before.pfw.gz", 1_000)
        daemon.client.sync()
        _fill(disk)
        for number in range(50):
            write_trace(daemon.traces / f"within-{number}.pfw.gz", 10)
        until(lambda: "read-only" in _state(daemon), "the state read-only")
        with pytest.raises(DftIndexError, match="space"):
            daemon.client.sync()
        assert daemon.events() == 1_000
        assert daemon.client.ping().degraded
        grow = ["mount", "-o", f"remount,size={96 * _MIB},mode=700", str(disk)]
        subprocess.run(grow, check=True)
        until(lambda: _state(daemon) == "caught-up", "the end of read-only")
        daemon.client.sync()
        assert daemon.events() == 1_500
        assert daemon.client.status().roots[0].reason == ""
        assert not daemon.client.ping().degraded


@pytest.mark.slow
def test_an_io_error_of_the_log_makes_the_store_read_only_and_it_is_opened_anew(
    tmp_path: Path,
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace here")
    with running_daemon(tmp_path) as daemon:
        write_trace(daemon.traces / "before.pfw.gz", 1_000)
        daemon.client.sync()
        assert _opened(daemon) == 1
        failing = subprocess.Popen(
            [
                *(strace, "-f", "-p", str(daemon.process.pid), "-o", str(tmp_path / "trace")),
                *("-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO"),
            ],
            stderr=subprocess.PIPE,
        )
        try:
            assert failing.stderr is not None
            if b"attached" not in failing.stderr.readline():
                pytest.skip("strace may not attach here")
            write_trace(daemon.traces / "within.pfw.gz", 500)
            until(lambda: "Input/output error" in _read_only_reason(daemon), "the error by name")
            assert daemon.events() == 1_000
        finally:
            failing.terminate()
            failing.communicate()
        until(lambda: _state(daemon) == "caught-up", "the end of read-only")
        daemon.client.sync()
        assert daemon.events() == 1_500
        assert _opened(daemon) == 2
        daemon.process.kill()
        daemon.process.wait()
    with running_daemon(tmp_path) as again:
        again.client.sync()
        assert again.events() == 1_500


def test_a_store_over_its_limit_is_read_only_until_traces_go(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--store-limit", "5", "--settle", "1") as daemon:
        write_trace(daemon.traces / "before.pfw.gz", 1_000)
        daemon.client.sync()
        (store,) = (daemon.state / "stores").iterdir()
        (store / "ballast").write_bytes(bytes(6 * _MIB))
        until(lambda: "--store-limit" in _read_only_reason(daemon), "the limit by name")
        write_trace(daemon.traces / "within.pfw.gz", 500)
        with pytest.raises(DftIndexError, match="--store-limit"):
            daemon.client.sync()
        (daemon.traces / "before.pfw.gz").unlink()
        until(lambda: daemon.events() == 0, "the removal")
        assert _state(daemon) == "read-only"
        (store / "ballast").unlink()
        until(lambda: _state(daemon) == "caught-up", "the end of read-only")
        daemon.client.sync()
        assert daemon.events() == 500


def test_stores_over_the_limit_of_all_are_read_only_and_say_which_limit_it_is(
    tmp_path: Path,
) -> None:
    with running_daemon(tmp_path, "--state-limit", "5", "--settle", "1") as daemon:
        write_trace(daemon.traces / "before.pfw.gz", 1_000)
        daemon.client.sync()
        ballast = (
            daemon.state / "stores" / "another"
        )  # whatever takes the room, one limit is of all
        ballast.write_bytes(bytes(6 * _MIB))
        until(lambda: "--state-limit" in _read_only_reason(daemon), "the limit by name")
        reason = _read_only_reason(daemon)
        assert str(daemon.state / "stores") in reason
        assert f"of {5 * _MIB:,}; raise --state-limit, or unwatch roots with --purge" in reason
        assert any(reason in one for one in daemon.client.ping().degraded)
        write_trace(daemon.traces / "within.pfw.gz", 500)
        with pytest.raises(DftIndexError, match="--state-limit"):
            daemon.client.sync()
        assert daemon.events() == 1_000
        ballast.unlink()
        until(lambda: _state(daemon) == "caught-up", "the end of read-only")
        daemon.client.sync()
        assert daemon.events() == 1_500


@contextmanager
def _failing_disk(
    folder: Path, image: Path
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Mount an ext4 at *folder*; yield what makes it read-only by an error, and what mends it.

    A file system is not remounted read-only by hand while files of it are open for writing; after
    an error the kernel does it all the same, and writable it is only when it was mounted anew.
    """
    folder.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 64 * _MIB)
    make = ["mkfs.ext4", "-q", str(image)]
    mount = ["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)]
    if os.geteuid() != 0 or shutil.which(make[0]) is None or _status(make) or _status(mount):
        pytest.skip("only root may mount an ext4 from a file here")
    device = Path(
        f"/sys/dev/block/{os.major(folder.stat().st_dev)}:{os.minor(folder.stat().st_dev)}"
    )
    trigger = Path("/sys/fs/ext4", device.resolve().name, "trigger_fs_error")
    try:
        folder.chmod(0o700)
        if not trigger.exists():
            pytest.skip("this kernel has no trigger_fs_error")

        def fail() -> None:
            trigger.write_text("a test")

        def mend() -> None:
            subprocess.run(["umount", str(folder)], check=True)
            assert _status(["e2fsck", "-fy", str(image)]) in (0, 1)
            subprocess.run(mount, check=True)

        yield fail, mend
    finally:
        _status(["umount", "--lazy", str(folder)])


def _status(command: list[str]) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.slow
def test_a_file_system_that_becomes_read_only_answers_on_and_loses_nothing(
    tmp_path: Path,
) -> None:
    with _failing_disk(tmp_path / "state", tmp_path / "image") as (fail, mend):
        with running_daemon(tmp_path) as daemon:
            write_trace(daemon.traces / "before.pfw.gz", 1_000)
            daemon.client.sync()
            fail()
            write_trace(daemon.traces / "within.pfw.gz", 500)
            until(lambda: "Read-only file system" in _read_only_reason(daemon), "the reason")
            with pytest.raises(DftIndexError, match="Read-only file system"):
                daemon.client.sync()
            assert daemon.events() == 1_000
            assert daemon.client.ping().degraded
        refused = run_to_end(
            "daemon", "run", "--state-dir", daemon.state, "--socket", daemon.socket
        )
        assert refused.returncode == 1
        assert "state: Read-only file system; name another with --state-dir" in refused.stderr
        mend()
        with running_daemon(tmp_path) as again:
            again.client.sync()
            assert again.events() == 1_500


def _opened(daemon: Daemon) -> int:
    """Return how often the store was opened, by the log that RocksDB begins each time."""
    (store,) = (daemon.state / "stores").iterdir()
    return len(list(store.glob("LOG*")))


def test_the_waits_between_two_tries_double_until_something_is_committed() -> None:
    now = 0.0
    trouble = WriteTrouble(clock=lambda: now)
    waits = []
    for _ in range(9):
        trouble.failed("no space left")
        began = now
        while not trouble.retry_is_due:
            now += 0.25
        waits.append(now - began)
        trouble.looks_over()
        assert not trouble.retry_is_due
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    trouble.is_over()
    trouble.failed("once more")
    assert trouble.reason == "once more"
    now += 0.5
    assert trouble.retry_is_due


def test_a_disk_that_takes_nothing_is_told_by_a_probe_that_leaves_nothing(tmp_path: Path) -> None:
    probe_disk(str(tmp_path))
    assert os.listdir(tmp_path) == []
    with pytest.raises(StoreReadOnlyError, match="none: No such file"):
        probe_disk(str(tmp_path / "none"))
