"""Guests of a daemon that reads everything: what each gets is what they could read on disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dftindexd.client import Client, connect
from dftindexd.protocol.errors import (
    DaemonUnreachableError,
    DftIndexError,
    NotFoundError,
    PermissionDeniedError,
)
from tests.end_to_end.identities import (
    GROUP_OBJ,
    MASK,
    OTHER,
    USER,
    USER_OBJ,
    Person,
    being,
    set_acl,
)
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, counted, running_daemon, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

STAFF, GUESTS, OUTSIDE = 23001, 23002, 23003
ALICE = Person(12001, GUESTS, (STAFF,))
BOB = Person(12002, 12002, (GUESTS,))
CAROL = Person(12003, OUTSIDE)
NOBODY = 2**32 - 1

#: Each trace has a number of events of its own, so that a sum says which are in it.
TRACES = {
    "open/all.pfw.gz": 1,
    "open/alice.pfw": 2,
    "open/staff.pfw": 4,
    "open/bob-by-acl.pfw": 8,
    "open/not-bob-by-acl.pfw": 16,
    "closed/all.pfw": 32,
    "unlisted/all.pfw": 64,
    "unlisted/deeper/all.pfw": 128,
    "staff/all.pfw": 256,
}
EVERYONE = {"open/all.pfw.gz"}
SEEN = {
    ALICE: {*TRACES} - {"open/bob-by-acl.pfw"},
    BOB: EVERYONE | {"open/bob-by-acl.pfw"},
    CAROL: EVERYONE | {"open/not-bob-by-acl.pfw"},
}


def lay_out(traces: Path) -> None:
    """Make the traces, all of ALICE's but for one, and say who may read which."""
    traces.chmod(0o755)
    for name, events in TRACES.items():
        (traces / name).parent.mkdir(parents=True, exist_ok=True)
        write_trace(traces / name, events)
        os.chown(traces / name, ALICE.uid, STAFF)
        (traces / name).chmod(0o644)
    for name, mode in {"closed": 0o700, "unlisted": 0o711, "staff": 0o750, "open": 0o755}.items():
        os.chown(traces / name, ALICE.uid, STAFF)
        (traces / name).chmod(mode)
    (traces / "unlisted" / "deeper").chmod(0o755)
    (traces / "open" / "alice.pfw").chmod(0o600)
    (traces / "open" / "staff.pfw").chmod(0o640)
    by_acl = traces / "open" / "bob-by-acl.pfw"
    os.chown(by_acl, 0, 0)
    set_acl(
        by_acl,
        *((USER_OBJ, 6, NOBODY), (USER, 4, BOB.uid), (GROUP_OBJ, 0, NOBODY)),
        *((MASK, 4, NOBODY), (OTHER, 0, NOBODY)),
    )
    set_acl(
        traces / "open" / "not-bob-by-acl.pfw",
        *((USER_OBJ, 6, NOBODY), (USER, 0, BOB.uid), (GROUP_OBJ, 4, NOBODY)),
        *((MASK, 4, NOBODY), (OTHER, 4, NOBODY)),
    )


@contextmanager
def as_person(person: Person, daemon: Daemon) -> Iterator[Client]:
    """A client whose connection is *person*'s."""
    with being(person):
        client = connect(daemon.socket)
    with client:
        yield client


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    """A daemon of root's in a folder that everybody reaches; CAROL is in as a user, the others by
    their group."""
    folder = Path(tempfile.mkdtemp(prefix="dftindexd-test-"))
    folder.chmod(0o755)
    (folder / "traces").mkdir()
    lay_out(folder / "traces")
    secret = folder / "secret"
    secret.mkdir(mode=0o700)
    write_trace(secret / "hidden-root.pfw", 1)
    options = ("--allow-group", str(GUESTS), "--allow-user", str(CAROL.uid), "--watch", str(secret))
    try:
        with running_daemon(folder, *options) as daemon:
            daemon.client.sync()
            yield daemon
    finally:
        shutil.rmtree(folder)


def named(daemon: Daemon, text: str) -> set[str]:
    """Return which of the traces a text names."""
    return {name for name in TRACES if str(daemon.traces / name) in text}


@pytest.mark.parametrize("person", SEEN, ids=["alice", "bob", "carol"])
def test_each_guest_gets_of_every_answer_what_they_may_read(shared: Daemon, person: Person) -> None:
    seen = SEEN[person]
    events = sum(TRACES[name] for name in seen)
    with as_person(person, shared) as client:
        client.sync()
        listed = client.list().to_pylist()
        assert {os.path.relpath(row["path"], shared.traces) for row in listed} == seen
        assert client.list(shared.traces).to_pylist() == listed
        assert counted(client.aggregation(shared.traces)) == events
        with client.read(shared.traces, columns=["trace"]) as batches:
            assert sum(batch.num_rows for batch in batches) == events
        assert client.explain(shared.traces).traces == len(seen)
        files = {row["file"] for row in client.indices(shared.traces, "file").to_pylist()}
        assert files == seen
        (pid,) = client.indices(column="pid").to_pylist()
        labels = {f"{shared.traces / name}#0" for name in seen}
        assert set(pid["partition"]) == labels
        parts = client.partitions(shared.traces, predicates=[[("pid", "==", 77)]]).to_pylist()
        assert {row["trace"] for row in parts} == seen
        (status,) = client.status().roots
        assert (status.root, status.traces, status.indexed + status.growing, status.events) == (
            *(str(shared.traces), len(seen), len(seen)),
            events,
        )
        told = f"{client.status()}{client.ping()}{listed}{client.index(shared.traces, wait=True)}"
        assert named(shared, told) <= seen
        assert "hidden-root" not in told
        assert "secret" not in told


def test_the_owner_sees_everything_beside_guests(shared: Daemon) -> None:
    assert shared.events() == sum(TRACES.values())
    assert len(shared.client.status().roots) == 2
    assert len(shared.listed()) == len(TRACES)


def test_a_path_that_one_may_not_list_answers_whoever_knows_what_is_in_it(shared: Daemon) -> None:
    """As on disk: passing through a directory is enough to open what one can name."""
    with as_person(BOB, shared) as client:
        assert counted(client.aggregation(shared.traces / "unlisted" / "all.pfw")) == 64
        assert counted(client.aggregation(shared.traces / "unlisted" / "deeper")) == 128
        assert counted(client.aggregation(shared.traces / "unlisted")) == 0


@pytest.mark.parametrize(
    "path", ["closed", "closed/all.pfw", "closed/absent", "staff", "staff/all.pfw", "absent"]
)
def test_what_cannot_be_reached_and_what_is_not_there_get_the_same_answer(
    shared: Daemon, path: str
) -> None:
    asked = str(shared.traces / path)
    with as_person(BOB, shared) as client:
        for ask in (client.aggregation, client.list, client.sync, client.explain, client.index):
            with pytest.raises(NotFoundError) as raised:
                ask(asked)
            assert raised.value.message == f"no watched root holds {asked}"


def test_a_root_that_one_may_not_list_is_as_one_that_nobody_watches(shared: Daemon) -> None:
    with as_person(ALICE, shared) as client, pytest.raises(NotFoundError, match="no watched root"):
        client.list(shared.traces.parent / "secret")


def test_a_link_tells_nobody_where_it_leads(shared: Daemon) -> None:
    link = shared.traces.parent / "link"
    link.symlink_to(shared.traces / "closed" / "all.pfw")
    with as_person(BOB, shared) as client, pytest.raises(NotFoundError) as raised:
        client.aggregation(link)
    assert "closed" not in str(raised.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _: client.stop(),
        lambda client, _: client.metrics(),
        lambda client, _: client.debug_dump(),
        lambda client, traces: client.compact(traces),
        lambda client, traces: client.verify(traces),
        lambda client, traces: client.rebuild(traces),
        lambda client, traces: client.unwatch(traces),
        lambda client, traces: client.index(traces, force=True),
        lambda client, traces: client.watch(traces, exclude=["open"]),
        lambda client, traces: client.watch(traces, follow_links=True),
    ],
)
def test_what_is_the_owner_s_is_refused_and_logged(
    shared: Daemon, ask: Callable[[Client, Path], object]
) -> None:
    with as_person(BOB, shared) as client, pytest.raises(PermissionDeniedError):
        ask(client, shared.traces)
    refusals = [line for line in shared.log.read_text().splitlines() if "request_refused" in line]
    assert f'"uid": {BOB.uid}' in refusals[-1]
    assert "permission-denied" in refusals[-1]


def test_whoever_is_not_allowed_in_is_refused(shared: Daemon) -> None:
    with pytest.raises(PermissionDeniedError), as_person(Person(12009, OUTSIDE), shared):
        pass


def test_guests_watch_what_they_may_list_and_unwatch_what_is_theirs(shared: Daemon) -> None:
    theirs, others = shared.traces.parent / "bobs", shared.traces.parent / "alices"
    for folder, person in ((theirs, BOB), (others, ALICE)):
        folder.mkdir()
        write_trace(folder / "t.pfw", 3)
        os.chown(folder, person.uid, person.gid)
        folder.chmod(0o700)
    with as_person(BOB, shared) as client:
        assert client.watch(theirs).added
        client.sync(theirs)
        assert counted(client.aggregation(theirs)) == 3
        with pytest.raises(DftIndexError) as raised:
            client.watch(others)
        assert isinstance(raised.value, NotFoundError)
        with as_person(ALICE, shared) as alice, pytest.raises(NotFoundError):
            alice.aggregation(theirs)
        assert client.unwatch(theirs, purge=True).purged


def test_what_comes_to_be_allowed_or_forbidden_is_so_in_the_next_answer(shared: Daemon) -> None:
    trace = shared.traces / "open" / "alice.pfw"
    with as_person(BOB, shared) as client:
        before = counted(client.aggregation(shared.traces))
        trace.chmod(0o644)
        assert counted(client.aggregation(shared.traces)) == before + 2
        (shared.traces / "open").chmod(0o700)
        assert counted(client.aggregation(shared.traces)) == 0
        (shared.traces / "open").chmod(0o755)
        trace.chmod(0o600)
        shared.client.sync()
        assert counted(client.aggregation(shared.traces)) == before


def test_a_file_in_the_place_of_an_indexed_one_shows_nothing_of_that(shared: Daemon) -> None:
    """Whoever may write a directory could put a readable file where a private one was indexed."""
    place = shared.traces / "open" / "alice.pfw"
    aside = shared.traces.parent / "aside.pfw"
    with as_person(BOB, shared) as client:
        before = counted(client.aggregation(shared.traces))
        place.rename(aside)
        place.symlink_to(shared.traces / "open" / "all.pfw.gz")
        assert counted(client.aggregation(shared.traces)) == before
        place.unlink()
        aside.rename(place)
    shared.client.sync()


def test_guests_are_told_of_events_of_what_they_may_read(shared: Daemon) -> None:
    with as_person(BOB, shared) as client, client.events(shared.traces) as events:
        for name, mode in (("tail-secret.pfw", 0o600), ("tail-open.pfw", 0o644)):
            new = shared.traces / "open" / f".{name}"
            write_trace(new, 1)
            new.chmod(mode)
            new.rename(shared.traces / "open" / name)
        told = []
        for event in events:
            told.append(event)
            if event.path.endswith("tail-open.pfw") and event.kind in ("indexed", "grew"):
                break
    assert not any("secret" in event.path for event in told)
    for name in ("tail-secret.pfw", "tail-open.pfw"):
        (shared.traces / "open" / name).unlink()
    shared.client.sync()


def test_one_group_alone_gets_the_socket_and_others_cannot_connect(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="dftindexd-test-"))
    folder.chmod(0o755)
    try:
        with running_daemon(folder, "--allow-group", str(GUESTS)) as daemon:
            found = daemon.socket.stat()
            assert (found.st_mode & 0o777, found.st_gid) == (0o660, GUESTS)
            with as_person(BOB, daemon) as client:
                assert client.ping().ready
            with pytest.raises(DaemonUnreachableError), as_person(CAROL, daemon):
                pass
    finally:
        shutil.rmtree(folder)


def test_one_guest_cannot_take_all_connections(shared: Daemon) -> None:
    with being(BOB):
        clients = [connect(shared.socket) for _ in range(64)]
        try:
            with pytest.raises(DftIndexError, match="the limit of one user"):
                connect(shared.socket)
            assert shared.client.ping().ready
        finally:
            for client in clients:
                client.close()

    def is_let_in() -> bool:
        try:
            with as_person(BOB, shared):
                return True
        except DftIndexError:
            return False

    until(is_let_in, "room for another connection")
