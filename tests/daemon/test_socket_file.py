"""The socket in the file system: locks, modes, stale files, and who may connect."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dftindexd.daemon.callers import Admission
from dftindexd.daemon.peer import Peer, peer_of
from dftindexd.daemon.socket_file import (
    adopt_socket,
    bind_socket,
    release_socket,
    socket_lock,
)
from dftindexd.protocol.codec import decode_error, encode_request
from dftindexd.protocol.errors import BusyError, InvalidArgumentError, PermissionDeniedError
from dftindexd.protocol.framing import FROM_DAEMON, Decoder, Kind, encode_frame
from dftindexd.protocol.requests import Hello
from tests.end_to_end.identities import Person
from tests.end_to_end.others import as_user, require_other_users

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    """Where the socket of this test is bound."""
    return os.fspath(tmp_path / "d.sock")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_socket_is_for_its_owner_alone_whatever_the_umask(socket_path: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        bound = bind_socket(socket_path)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    with bound.listener:
        assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(f"{socket_path}.lock").st_mode) == 0o600
    release_socket(bound)
    assert not os.path.exists(socket_path)


@contextmanager
def daemon_process(path: str) -> Iterator[subprocess.Popen[str]]:
    """A daemon as a process of its own."""
    command = [sys.executable, "-m", "tests.client.echo_daemon", path]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ready\n" in process.stdout
        yield process
        process.kill()


def test_the_socket_of_a_killed_daemon_is_taken_over(socket_path: str) -> None:
    with daemon_process(socket_path) as process:
        with pytest.raises(BusyError, match=rf"another daemon \(pid {process.pid}\) serves"):
            bind_socket(socket_path)
        process.kill()
        process.wait()
        assert os.path.exists(socket_path)
    bound = bind_socket(socket_path)
    assert Path(f"{socket_path}.lock").read_text() == f"{os.getpid()}\n"
    bound.listener.close()
    release_socket(bound)
    assert not os.path.exists(socket_path)


def greeting(path: str) -> socket.socket:
    """Connect and ask to be greeted; the reply is not waited for."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(path)
    hello = Hello(protocols=(1,), client="raw")
    client.sendall(encode_frame(Kind.REQUEST, 1, encode_request(hello)))
    return client


def test_clients_wait_while_the_daemon_is_out_of_descriptors(socket_path: str) -> None:
    with daemon_process(socket_path) as process:
        in_use = len(os.listdir(f"/proc/{process.pid}/fd"))
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (in_use + 2, hard))
        clients = [greeting(socket_path) for _ in range(6)]
        for client in clients:
            # Each takes its turn when one before it has left.
            with client:
                assert client.recv(4096)[4] == Kind.REPLY
        assert process.poll() is None


def test_a_socket_that_is_no_longer_its_own_is_left_alone(socket_path: str) -> None:
    bound = bind_socket(socket_path)
    os.unlink(socket_path)
    with socket.socket(socket.AF_UNIX) as thief:
        thief.bind(socket_path)
        bound.listener.close()
        release_socket(bound)
        assert os.path.exists(socket_path)


def test_what_is_not_a_socket_is_never_unlinked(tmp_path: Path) -> None:
    precious = tmp_path / "d.sock"
    precious.write_text("data")
    with pytest.raises(InvalidArgumentError, match="exists and is not a socket"):
        bind_socket(os.fspath(precious))
    assert precious.read_text() == "data"
    precious.unlink()
    precious.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidArgumentError, match="exists and is not a socket"):
        bind_socket(os.fspath(precious))


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionDeniedError, match="everybody can write the socket directory"):
        bind_socket(os.fspath(tmp_path / "d.sock"))
    tmp_path.chmod(0o770)
    with pytest.raises(PermissionDeniedError, match="can write the socket directory"):
        bind_socket(os.fspath(tmp_path / "d.sock"))
    tmp_path.chmod(0o1777)
    bound = bind_socket(os.fspath(tmp_path / "d.sock"))
    bound.listener.close()
    release_socket(bound)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with pytest.raises(PermissionDeniedError, match="belongs to user 12345"):
        bind_socket(os.fspath(theirs / "d.sock"))


def test_a_missing_directory_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    bound = bind_socket(os.fspath(tmp_path / "new" / "d.sock"))
    bound.listener.close()
    release_socket(bound)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    with pytest.raises(InvalidArgumentError, match="cannot be made: No such file"):
        bind_socket(os.fspath(tmp_path / "a" / "b" / "d.sock"))


def test_a_path_over_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="the limit is 107"):
        bind_socket(os.fspath(tmp_path / ("x" * 120)))


def test_the_kernel_vouches_for_the_peer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(ours)[:3] == (os.getpid(), os.getuid(), os.getgid())


def test_only_the_owner_and_root_may_ask() -> None:
    Admission(owner=1000).require(Peer(1, 1000, 1000))
    Admission(owner=1000).require(Peer(1, 0, 0))
    with pytest.raises(
        PermissionDeniedError, match="user 1001 may not use the daemon of user 1000"
    ):
        Admission(owner=1000).require(Peer(1, 1001, 1000))


def greeting_of_user(uid: int, path: str) -> int:
    """Connect as another user; exit code 7 says that the daemon refused that user by name."""
    os.setgid(uid)
    os.setuid(uid)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(20)
        stranger.connect(path)
        decoder = Decoder(FROM_DAEMON)
        while (frame := decoder.next_frame()) is None:
            decoder.feed(stranger.recv(4096))
    error = decode_error(frame.payload)
    named = f"user {uid} may not use the daemon of user 0"
    return 7 if isinstance(error, PermissionDeniedError) and error.message == named else 8


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_refused_even_where_the_mode_would_let_them_in() -> None:
    # Not in tmp_path, since the directories of pytest are closed to others.
    directory = Path(tempfile.mkdtemp(prefix="dftindexd-test-"))
    directory.chmod(0o755)
    try:
        with daemon_process(os.fspath(directory / "d.sock")):
            (directory / "d.sock").chmod(0o666)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                try:
                    os._exit(greeting_of_user(12345, os.fspath(directory / "d.sock")))
                finally:
                    os._exit(99)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        shutil.rmtree(directory)
    assert code == 7


GUESTS = 23002


def handed_over(path: Path, mode: int) -> socket.socket:
    """Return a socket such as a service manager binds."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    path.chmod(mode)
    listener.listen()
    return listener


@pytest.mark.parametrize(
    ("mode", "admission", "then"),
    [
        (0o600, Admission(), 0o600),
        (0o600, Admission(users=frozenset({12001})), 0o666),
        (0o600, Admission(groups=frozenset({os.getgid()})), 0o660),
        # What lets some connect is the administrator's choice.
        (0o660, Admission(users=frozenset({12001})), 0o660),
        (0o666, Admission(groups=frozenset({os.getgid()})), 0o666),
    ],
)
def test_a_socket_that_is_handed_over_lets_guests_connect(
    tmp_path: Path, mode: int, admission: Admission, then: int
) -> None:
    path = tmp_path / "s"
    with handed_over(path, mode) as listener, socket_lock(os.fspath(path)) as lock:
        bound = adopt_socket(listener, lock, admission)
        assert stat.S_IMODE(path.stat().st_mode) == then
        release_socket(bound)
    assert path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("groups", "mode"), [((GUESTS,), "660"), ((), "666")])
def test_a_socket_goes_to_a_group_only_where_the_daemon_s_user_is_of_it(
    groups: tuple[int, ...], mode: str
) -> None:
    require_other_users()
    person = Person(12001, 12001, groups)
    program = f"""
import os, sys
from dftindexd.daemon.callers import Admission
from dftindexd.daemon.socket_file import bind_socket
bind_socket(sys.argv[1], admission=Admission(groups=frozenset({{{GUESTS}}})))
print(oct(os.stat(sys.argv[1]).st_mode)[-3:])
"""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, person.uid, person.gid)
        line = [sys.executable, "-P", "-c", program, f"{folder}/s"]
        done = subprocess.run(as_user(person, line), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == mode
