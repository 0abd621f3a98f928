"""Guests of a daemon that reads everything: what each gets is what they could read on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dftindexd.protocol.errors import (
    BusyError,
    DaemonUnreachableError,
    DftIndexError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    QueryError,
    RequestTimeoutError,
)
from tests.end_to_end.identities import (
    GROUP,
    GROUP_OBJ,
    MASK,
    OTHER,
    USER,
    USER_OBJ,
    Person,
    set_acl,
)
from tests.end_to_end.made_traces import event_lines, write_trace
from tests.end_to_end.others import Asker, as_user, require_other_users
from tests.end_to_end.running import Daemon, command, running_daemon, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

STAFF, GUESTS, OUTSIDE = 23001, 23002, 23003
ALICE = Person(12001, GUESTS, (STAFF,))
BOB = Person(12002, 12002, (GUESTS,))
CAROL = Person(12003, OUTSIDE)
NOT_LET_IN = Person(12009, OUTSIDE)
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
    "open/staff-by-acl.pfw": 512,
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
    by_group = traces / "open" / "staff-by-acl.pfw"
    os.chown(by_group, 0, 0)
    set_acl(
        by_group,
        *((USER_OBJ, 6, NOBODY), (GROUP_OBJ, 0, NOBODY), (GROUP, 4, STAFF)),
        *((MASK, 4, NOBODY), (OTHER, 0, NOBODY)),
    )
    set_acl(
        traces / "open" / "not-bob-by-acl.pfw",
        *((USER_OBJ, 6, NOBODY), (USER, 0, BOB.uid), (GROUP_OBJ, 4, NOBODY)),
        *((MASK, 4, NOBODY), (OTHER, 4, NOBODY)),
    )


class People:
    """Everybody's process that asks one daemon, each started when it is first needed."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._processes: dict[Person, Asker] = {}

    def __getitem__(self, person: Person) -> Asker:
        if person not in self._processes:
            self._processes[person] = Asker(person, self._socket)
        return self._processes[person]

    def end(self) -> None:
        for process in self._processes.values():
            process.__exit__(None, None, None)


def count(rows: list[dict[str, Any]]) -> int:
    return sum(row["count"] for row in rows)


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    """A daemon of root's in a folder that everybody reaches; CAROL is in as a user, the others by
    their group. It takes no silence for an end, so that two answers differ by who asks alone."""
    folder = Path(tempfile.mkdtemp(prefix="dftindexd-test-"))
    folder.chmod(0o755)
    (folder / "traces").mkdir()
    lay_out(folder / "traces")
    secret = folder / "secret"
    secret.mkdir(mode=0o700)
    write_trace(secret / "hidden-root.pfw", 1)
    options = ["--allow-group", str(GUESTS), "--allow-user", str(CAROL.uid), "--watch", str(secret)]
    options += ["--settle", "600"]
    try:
        with running_daemon(folder, *options) as daemon:
            daemon.client.sync()
            yield daemon
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def people(shared: Daemon) -> Iterator[People]:
    require_other_users()
    everybody = People(shared.socket)
    yield everybody
    everybody.end()


def named(daemon: Daemon, text: str) -> set[str]:
    """Return which of the traces a text names."""
    return {name for name in TRACES if str(daemon.traces / name) in text}


#: How many events each may know of at a path; None: as where nothing is.
CASES: dict[str, dict[Person, int | None]] = {
    ".": {ALICE: 1015, BOB: 9, CAROL: 17},
    "open": {ALICE: 535, BOB: 9, CAROL: 17},
    "open/all.pfw.gz": {ALICE: 1, BOB: 1, CAROL: 1},
    "open/alice.pfw": {ALICE: 2, BOB: 0, CAROL: 0},
    "open/staff.pfw": {ALICE: 4, BOB: 0, CAROL: 0},
    "open/bob-by-acl.pfw": {ALICE: 0, BOB: 8, CAROL: 0},
    "open/not-bob-by-acl.pfw": {ALICE: 16, BOB: 0, CAROL: 16},
    "open/staff-by-acl.pfw": {ALICE: 512, BOB: 0, CAROL: 0},
    "open/absent.pfw": {ALICE: None, BOB: None, CAROL: None},
    "closed": {ALICE: 32, BOB: None, CAROL: None},
    "closed/all.pfw": {ALICE: 32, BOB: None, CAROL: None},
    "unlisted": {ALICE: 192, BOB: 0, CAROL: 0},
    "unlisted/all.pfw": {ALICE: 64, BOB: 64, CAROL: 64},
    "unlisted/deeper": {ALICE: 128, BOB: 128, CAROL: 128},
    "staff": {ALICE: 256, BOB: None, CAROL: None},
    "staff/all.pfw": {ALICE: 256, BOB: None, CAROL: None},
    "../secret": {ALICE: None, BOB: None, CAROL: None},
    "../secret/hidden-root.pfw": {ALICE: None, BOB: None, CAROL: None},
}


def test_each_user_gets_at_each_path_what_a_process_of_theirs_can_read(
    shared: Daemon, people: People
) -> None:
    for path, expected in CASES.items():
        asked = os.path.normpath(shared.traces / path)
        for person, events in expected.items():
            case, process = f"{person} at {path}", people[person]
            readable = process.ask("on_disk", asked)
            names = {os.path.relpath(file, shared.traces) for file in readable}
            assert sum(TRACES[name] for name in names) == (events or 0), case
            if events:
                rows = process.ask("list", asked)
                assert {row["path"] for row in rows} == set(readable), case
                assert count(process.ask("aggregation", asked)) == events, case
                assert len(process.ask("read", asked, columns=["id"])) == events, case
            else:
                _require_nothing(process, asked, is_told=events is None)
        with pytest.raises(PermissionDeniedError) as raised:
            people[NOT_LET_IN].ask("aggregation", asked)
        assert str(shared.traces) not in str(raised.value)


def _require_nothing(process: Asker, asked: str, *, is_told: bool) -> None:
    """Hold that *process* learns nothing at a path, whichever way it asks, and is told of no path
    but the one that it gave."""
    for call in ("aggregation", "list", "read", "sync", "explain"):
        found = process.outcome(call, asked)
        if isinstance(found, NotFoundError):
            said = found.message + found.hint
            assert (asked in said, "/" in said.replace(asked, "")) == (True, False), said
        else:
            assert not is_told, (call, asked)
            assert call in ("sync", "explain") or found == [], (call, asked)


@pytest.mark.parametrize("person", SEEN, ids=["alice", "bob", "carol"])
def test_each_guest_gets_of_every_answer_what_they_may_read(
    shared: Daemon, people: People, person: Person
) -> None:
    seen, guest = SEEN[person], people[person]
    events = sum(TRACES[name] for name in seen)
    guest.ask("sync")
    listed = guest.ask("list")
    assert {os.path.relpath(row["path"], shared.traces) for row in listed} == seen
    assert guest.ask("list", shared.traces) == listed
    assert guest.ask("explain", shared.traces)["traces"] == len(seen)
    assert {row["file"] for row in guest.ask("indices", shared.traces, "file")} == seen
    (pid,) = guest.ask("indices", column="pid")
    assert set(pid["partition"]) == {f"{shared.traces / name}#0" for name in seen}
    parts = guest.ask("partitions", shared.traces, predicates=[[("pid", "==", 77)]])
    assert {row["trace"] for row in parts} == seen
    status = guest.ask("status")
    (root,) = status["roots"]
    assert (root["root"], root["traces"]) == (str(shared.traces), len(seen))
    assert (root["indexed"] + root["growing"], root["events"]) == (len(seen), events)
    told = f"{status}{guest.ask('ping')}{listed}{guest.ask('index', shared.traces, wait=True)}"
    assert named(shared, told) <= seen
    assert "hidden-root" not in told
    assert "secret" not in told
    assert str(shared.state) not in told


@pytest.mark.parametrize("person", [None, *SEEN], ids=["owner", "alice", "bob", "carol"])
def test_a_statement_is_about_the_traces_that_its_peer_may_read(
    shared: Daemon, people: People, person: Person | None
) -> None:
    """All traces hold the same thread, so that what is kept of it for one must not be others'."""
    seen = {*TRACES} if person is None else SEEN[person]
    events = sum(TRACES[name] for name in seen)
    below = str(shared.traces)

    def ask(query: str, *path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]]
        if person is None:
            rows = shared.client.sql(query, *path).to_pylist()
        else:
            rows = people[person].ask("sql", query, *path)
        told.append(str(rows))
        return rows

    told: list[str] = []
    (stream,) = ask("SELECT stream_id, nb_objects FROM streams", below)
    assert stream["nb_objects"] == events
    spans = f"view_instance('thread_spans', '{stream['stream_id']}')"
    for _ in range(2):
        assert ask(f"SELECT count(*) AS n FROM {spans}", below) == [{"n": events + 1}]
    assert ask("SELECT sum(count) AS n FROM events", below) == [{"n": events}]
    assert ask("SELECT count(*) AS n FROM log_entries", below) == [{"n": 0}]
    files = [str(row["path"]) for row in ask("SELECT path FROM files", below)]
    assert {os.path.relpath(path, below) for path in files} == seen
    named_files = ask("SELECT DISTINCT file FROM blocks", below)
    assert {row["file"] for row in named_files} == set(files)
    assert len(ask("SELECT DISTINCT root FROM blocks")) == (2 if person is None else 1)
    assert ".parquet" in str(ask(f"EXPLAIN SELECT name FROM {spans}", below))
    for wrong in (f"SELECT nothing FROM {spans}", "SELECT * FROM nothing"):
        with pytest.raises(QueryError) as raised:
            ask(wrong, below)
        told.append(str(raised.value))
    assert named(shared, "".join(told)) <= seen
    assert str(shared.state).lstrip("/") not in "".join(told)


def test_a_name_that_only_a_hidden_trace_gives_is_not_in_a_guest_s_answer(
    shared: Daemon, people: People
) -> None:
    run = shared.traces / "names"
    run.mkdir(mode=0o755)
    (run / "told.pfw").write_bytes(event_lines(2, pid=78))
    args = '{"name":"/secret/data","value":"00000000000000bb","hhash":"00000000000000aa"}'
    line = f'{{"name":"FH","cat":"dftracer","type":1,"pid":79,"tid":79,"ph":4,"args":{args}}}\n'
    (run / "named.pfw").write_text(line)
    (run / "named.pfw").chmod(0o600)
    shared.client.sync()
    query = (
        "SELECT DISTINCT filename FROM "
        "view_instance('thread_spans', '00000000000000aa:78:1700000000000010:78') WHERE id > 0"
    )
    names = "SELECT DISTINCT file_name FROM events WHERE pid = 78"
    for _ in range(2):
        assert shared.client.sql(query, run).to_pylist() == [{"filename": "/secret/data"}]
        assert shared.client.sql(names, run).to_pylist() == [{"file_name": "/secret/data"}]
        assert people[BOB].ask("sql", query, run) == [{"filename": ""}]
        assert people[BOB].ask("sql", names, run) == [{"file_name": ""}]
    shutil.rmtree(run)
    shared.client.sync()


def test_guests_leave_a_place_for_the_owner_s_statement(shared: Daemon, people: People) -> None:
    endless = "SELECT count(*) FROM generate_series(1, 1000000000000)"
    people[BOB].begin("sql", endless, seconds=2.0)
    assert shared.client.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    with pytest.raises(RequestTimeoutError):
        people[BOB].end()
    with pytest.raises(InvalidArgumentError, match="at most 60"):
        people[BOB].ask("sql", "SELECT 1", seconds=61.0)


@pytest.mark.parametrize("person", SEEN, ids=["alice", "bob", "carol"])
def test_an_export_of_a_guest_holds_what_they_may_read(
    shared: Daemon, people: People, person: Person
) -> None:
    options = ("--set", "files", "--format", "arrow")
    line = command("client", "--socket", shared.socket, "export", shared.traces, "-", *options)
    done = subprocess.run(as_user(person, line), check=True, capture_output=True, cwd="/")
    rows = pa.ipc.open_stream(done.stdout).read_all().to_pylist()
    assert {os.path.relpath(row["path"], shared.traces) for row in rows} == SEEN[person]
    assert named(shared, done.stderr.decode()) == set()


def test_the_owner_sees_everything_beside_guests(shared: Daemon) -> None:
    assert shared.events() == sum(TRACES.values())
    assert len(shared.client.status().roots) == 2
    assert len(shared.listed()) == len(TRACES)


def test_a_generation_tells_a_guest_of_no_root_that_they_cannot_see(
    shared: Daemon, people: People
) -> None:
    """One root lies in another, and one does not: both are answered alike."""
    bob, inner = people[BOB], shared.traces / "unlisted" / "deeper"
    told = set()
    for _ in range(2):
        with pytest.raises(NotFoundError) as raised:
            bob.ask("list", inner, since=1)
        told.add(str(raised.value))
        assert bob.ask("changes", inner) == []
        shared.client.watch(inner, include=["*"])
        shared.client.sync(inner)
    shared.client.unwatch(inner, purge=True)
    shared.client.sync()
    assert len(told) == 1
    assert "root" not in told.pop()


def test_a_link_tells_nobody_where_it_leads(shared: Daemon, people: People) -> None:
    link = shared.traces.parent / "link"
    link.symlink_to(shared.traces / "closed" / "all.pfw")
    with pytest.raises(NotFoundError) as raised:
        people[BOB].ask("aggregation", link)
    assert "closed" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "options"),
    [
        ("stop", {}),
        ("metrics", {}),
        ("debug_dump", {}),
        ("views", {"path": True}),
        ("drop_views", {"path": True}),
        ("compact", {"path": True}),
        ("verify", {"path": True}),
        ("rebuild", {"path": True}),
        ("unwatch", {"path": True}),
        ("index", {"path": True, "force": True}),
        ("watch", {"path": True, "exclude": ["open"]}),
        ("watch", {"path": True, "follow_links": True}),
    ],
)
def test_what_is_the_owner_s_is_refused_and_logged(
    shared: Daemon, people: People, call: str, options: dict[str, Any]
) -> None:
    given = options | ({"path": shared.traces} if "path" in options else {})
    with pytest.raises(PermissionDeniedError):
        people[BOB].ask(call, **given)
    refusals = [line for line in shared.log.read_text().splitlines() if "request_refused" in line]
    assert f'"uid": {BOB.uid}' in refusals[-1]
    assert "permission-denied" in refusals[-1]


def test_guests_watch_what_they_may_list_and_unwatch_what_is_theirs(
    shared: Daemon, people: People
) -> None:
    theirs, others = shared.traces.parent / "bobs", shared.traces.parent / "alices"
    for folder, person in ((theirs, BOB), (others, ALICE)):
        folder.mkdir()
        write_trace(folder / "t.pfw", 3)
        os.chown(folder, person.uid, person.gid)
        folder.chmod(0o700)
    bob = people[BOB]
    assert bob.ask("watch", theirs)["added"]
    bob.ask("sync", theirs)
    assert count(bob.ask("aggregation", theirs)) == 3
    with pytest.raises(NotFoundError):
        bob.ask("watch", others)
    with pytest.raises(NotFoundError):
        people[ALICE].ask("aggregation", theirs)
    assert bob.ask("unwatch", theirs, purge=True)["purged"]


def test_what_comes_to_be_allowed_or_forbidden_is_so_in_the_next_answer(
    shared: Daemon, people: People
) -> None:
    trace, bob = shared.traces / "open" / "alice.pfw", people[BOB]
    before = count(bob.ask("aggregation", shared.traces))
    trace.chmod(0o644)
    assert count(bob.ask("aggregation", shared.traces)) == before + 2
    (shared.traces / "open").chmod(0o700)
    assert count(bob.ask("aggregation", shared.traces)) == 0
    (shared.traces / "open").chmod(0o755)
    trace.chmod(0o600)
    shared.client.sync()
    assert count(bob.ask("aggregation", shared.traces)) == before


def test_a_file_in_the_place_of_an_indexed_one_shows_nothing_of_that(
    shared: Daemon, people: People
) -> None:
    """Whoever may write a directory could put a readable file where a private one was indexed."""
    place = shared.traces / "open" / "alice.pfw"
    aside = shared.traces.parent / "aside.pfw"
    before = count(people[BOB].ask("aggregation", shared.traces))
    place.rename(aside)
    place.symlink_to(shared.traces / "open" / "all.pfw.gz")
    assert count(people[BOB].ask("aggregation", shared.traces)) == before
    place.unlink()
    aside.rename(place)
    shared.client.sync()


def test_guests_are_told_of_events_of_what_they_may_read(shared: Daemon, people: People) -> None:
    bob = people[BOB]
    bob.begin("events_until", shared.traces, "tail-open.pfw")
    assert bob.end() is None  # it listens
    for name, mode in (("tail-secret.pfw", 0o600), ("tail-open.pfw", 0o644)):
        new = shared.traces / "open" / f".{name}"
        write_trace(new, 1)
        new.chmod(mode)
        new.rename(shared.traces / "open" / name)
    told = bob.end()
    assert any(path.endswith("tail-open.pfw") for path in told)
    assert not any("secret" in path for path in told)
    for name in ("tail-secret.pfw", "tail-open.pfw"):
        (shared.traces / "open" / name).unlink()
    shared.client.sync()


def test_one_group_alone_gets_the_socket_and_others_cannot_connect() -> None:
    require_other_users()
    folder = Path(tempfile.mkdtemp(prefix="dftindexd-test-"))
    folder.chmod(0o755)
    try:
        with running_daemon(folder, "--allow-group", str(GUESTS)) as daemon:
            found = daemon.socket.stat()
            assert (found.st_mode & 0o777, found.st_gid) == (0o660, GUESTS)
            with Asker(BOB, daemon.socket) as bob, Asker(CAROL, daemon.socket) as carol:
                assert bob.ask("ping")["ready"]
                with pytest.raises(DaemonUnreachableError):
                    carol.ask("ping")
    finally:
        shutil.rmtree(folder)


def test_one_guest_cannot_take_all_connections(shared: Daemon, people: People) -> None:
    with Asker(BOB, shared.socket) as process:
        with pytest.raises(BusyError, match="the limit of one user"):
            process.ask("connect", 65)
        assert shared.client.ping().ready

    def is_let_in() -> bool:
        try:
            return bool(people[BOB].ask("connect"))
        except DftIndexError:
            return False

    until(is_let_in, "room for another connection")
