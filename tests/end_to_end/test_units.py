"""The units for systemd: systemd takes them, and a daemon works under what they restrict."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dftindexd.client import connect
from dftindexd.daemon.install_service import installation, own_command
from dftindexd.index.trace import kernel_cache
from dftindexd.protocol.errors import DaemonUnreachableError
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import command, counted, errors_in, run_to_end, until, wait_for_exit
from tests.end_to_end.sandbox import read_unit, sandboxed

UNITS = Path(__file__).resolve().parents[2] / "systemd"
#: The exposure that systemd-analyze may find at most, in tenths.
EXPOSURE = 15
NOBODY = 65534

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not here: install the package systemd",
)


def _analyze(*arguments: str | Path, runtime: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)},
    )


@needs_analyze
@pytest.mark.parametrize("drop_in", [False, True], ids=["alone", "with-metrics-port"])
def test_systemd_finds_no_fault_with_the_units_of_a_node(tmp_path: Path, drop_in: bool) -> None:
    units = [tmp_path / name for name in ("dftindexd.service", "dftindexd.socket")]
    for unit in units:
        shutil.copy(UNITS / unit.name, unit)
    if drop_in:
        (tmp_path / "dftindexd.service.d").mkdir()
        shutil.copy(UNITS / "metrics-port.conf", tmp_path / "dftindexd.service.d")
    done = _analyze("verify", *units, runtime=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_systemd_finds_no_fault_with_the_unit_of_a_user(tmp_path: Path) -> None:
    shutil.copy(UNITS / "dftindexd-user.service", tmp_path / "dftindexd.service")
    done = _analyze("verify", "--user", tmp_path / "dftindexd.service", runtime=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_unit_of_a_node_exposes_little(tmp_path: Path) -> None:
    arguments = ("security", "--offline=true", "--no-pager")
    unit = UNITS / "dftindexd.service"
    done = _analyze(*arguments, f"--threshold={EXPOSURE}", unit, runtime=tmp_path)
    assert done.returncode == 0, done.stdout
    # The gate is one: a unit that restricts nothing does not pass.
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    done = _analyze(*arguments, f"--threshold={EXPOSURE}", bare, runtime=tmp_path)
    assert done.returncode != 0


def test_a_service_is_installed_with_the_command_of_this_installation(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    done = run_to_end("daemon", "install-service", "--user", environment=environment)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "systemd" / "user" / "dftindexd.service"
    assert f"{path} (written)" in done.stdout
    assert "systemctl --user enable --now dftindexd" in done.stdout
    assert path.stat().st_mode & 0o777 == 0o644
    (start,) = read_unit(path)["ExecStart"]
    assert start.endswith(" run")
    assert os.access(start.split()[0], os.X_OK)
    again = run_to_end("daemon", "install-service", "--user", environment=environment)
    assert f"{path} (there already)" in again.stdout


def test_a_dry_run_shows_every_file_of_a_node_and_writes_none() -> None:
    done = run_to_end("daemon", "install-service", "--dry-run")
    assert done.returncode == 0
    for file in installation("dftindexd", {}, user=False).files:
        assert f"# {file.path}: " in done.stdout
        assert not Path(file.path).exists()


@pytest.mark.parametrize(
    ("word", "written"), [("/opt/a b/python", '"/opt/a b/python"'), ("/opt/50%", '"/opt/50%%"')]
)
def test_a_command_is_written_as_systemd_reads_it(
    word: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", word)
    assert own_command() == f"{written} -m dftindexd.daemon.cli"


@pytest.fixture
def node() -> Iterator[Path]:
    """A folder with traces of a user, and the directories of a daemon of another, which passes
    through the folder by its capability alone."""
    if os.getuid() != 0:
        pytest.skip("only root can take on a unit's restrictions")
    for tool in ("unshare", "setpriv", "systemd-analyze"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here: install the packages util-linux and systemd")
    with tempfile.TemporaryDirectory() as folder:
        _furnish(Path(folder))
        yield Path(folder)


def _furnish(folder: Path) -> None:
    traces = folder / "traces"
    traces.mkdir(mode=0o700)
    write_trace(traces / "a.pfw.gz", 100)
    os.chmod(traces / "a.pfw.gz", 0o600)
    for path in (traces, traces / "a.pfw.gz"):
        os.chown(path, 1000, 1000)
    for name in ("state", "run"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, NOBODY, NOBODY)
    shutil.copytree(kernel_cache.cache_root(os.environ), folder / "cache")
    for place, _, files in os.walk(folder / "cache"):
        for path in (Path(place), *(Path(place) / file for file in files)):
            os.chown(path, NOBODY, NOBODY)


def test_a_daemon_indexes_under_the_restrictions_of_its_unit(node: Path) -> None:
    unit = read_unit(UNITS / "dftindexd.service")
    places = [node / name for name in ("state", "run", "cache")]
    line = sandboxed(command("daemon", "run", "--workers", "2"), unit, places, NOBODY)
    directories = {
        "STATE_DIRECTORY": str(places[0]),
        "RUNTIME_DIRECTORY": str(places[1]),
        "CACHE_DIRECTORY": str(places[2]),
    }
    socket = places[1] / "dftindexd.sock"
    with (node / "log").open("ab") as log:
        process = subprocess.Popen(line, stderr=log, env=os.environ | directories, cwd="/")
    try:
        until(lambda: _answers(socket) or process.poll() is not None, "an answer")
        assert process.poll() is None, (node / "log").read_text()
        _require_restricted(process.pid)
        with connect(socket) as client:
            client.watch(node / "traces")
            client.sync()
            assert counted(client.aggregation(node / "traces")) == 100
            write_trace(node / "traces" / "b.pfw", 50)
            os.chmod(node / "traces" / "b.pfw", 0o600)
            client.sync()
            assert counted(client.aggregation(node / "traces")) == 150
            status = client.status()
            assert (status.kernel, status.degraded) == ("ready", ())
            (root,) = status.roots
            assert (root.backend, root.fast_lines) == ("inotify", root.valid_lines)
        process.terminate()
        assert wait_for_exit(process) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert errors_in(node / "log") == []


def _answers(socket: Path) -> bool:
    try:
        connect(socket).close()
    except DaemonUnreachableError:
        return False
    return True


def _require_restricted(pid: int) -> None:
    """Hold that the process is what the unit makes of it: else the test shows nothing."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == [str(NOBODY)] * 4
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 1 << 2, name  # CAP_DAC_READ_SEARCH
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for name in ("net", "mnt", "ipc", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
    root = next(
        line for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if " / / " in line
    )
    assert root.split()[5].startswith("ro")
