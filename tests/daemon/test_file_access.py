"""Who may read what: the kernel's rule as a function, held against the kernel."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from dftindexd.daemon.disk_facts import DiskFacts, facts_at
from dftindexd.daemon.file_access import READ, SEARCH, Facts, Identity, allows
from tests.end_to_end.identities import (
    GROUP,
    GROUP_OBJ,
    MASK,
    OTHER,
    USER,
    USER_OBJ,
    Person,
    being,
    set_acl,
)

ALICE, BOB = 1001, 1002
STAFF, GUESTS = 2001, 2002

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


def who(uid: int, *groups: int) -> Identity:
    return Identity(uid, frozenset(groups))


@pytest.mark.parametrize(
    ("mode", "identity", "may"),
    [
        (0o600, who(ALICE), True),
        (0o600, who(BOB), False),
        (0o640, who(BOB, STAFF), True),
        (0o640, who(BOB, GUESTS), False),
        (0o604, who(BOB), True),
        # The class that one is in decides, though a later one has more.
        (0o044, who(ALICE, STAFF), False),
        (0o604, who(BOB, STAFF), False),
        (0o400, who(ALICE), True),
        (0o000, who(ALICE), False),
    ],
)
def test_mode_bits_say_who_may_read(mode: int, identity: Identity, may: bool) -> None:
    facts = Facts(stat.S_IFREG | mode, ALICE, STAFF, 1)
    assert allows(facts, identity, READ) is may


def test_passing_through_a_directory_is_not_listing_it() -> None:
    facts = Facts(stat.S_IFDIR | 0o711, ALICE, STAFF, 1)
    assert allows(facts, who(BOB), SEARCH)
    assert not allows(facts, who(BOB), READ | SEARCH)


@pytest.mark.parametrize(
    "acl", [b"", b"\x02\0\0", b"\x01\0\0\0", b"\x02\0\0\0\x01\0", b"\x09\0\0\0" + bytes(8)]
)
def test_an_acl_that_cannot_be_understood_gives_others_nothing(acl: bytes) -> None:
    facts = Facts(stat.S_IFREG | 0o664, ALICE, STAFF, 1, acl)
    assert not allows(facts, who(BOB, STAFF), READ)
    assert allows(facts, who(ALICE), READ)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="dftindexd-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def some_acl(random: Random) -> list[tuple[int, int, int]]:
    """Return an ACL that the kernel takes."""
    none = 2**32 - 1
    entries = [(tag, random.randrange(8), none) for tag in (USER_OBJ, GROUP_OBJ, MASK, OTHER)]
    for tag, idents in ((USER, [ALICE, BOB]), (GROUP, [STAFF, GUESTS])):
        some = random.sample(idents, random.randrange(3))
        entries += [(tag, random.randrange(8), ident) for ident in some]
    return entries


@as_root
def test_the_function_says_of_modes_and_acls_what_the_kernel_does(open_folder: Path) -> None:
    random = Random(11)
    files = []
    for number in range(300):
        file = open_folder / str(number)
        file.touch()
        os.chown(file, random.choice([0, ALICE, BOB]), random.choice([0, STAFF, GUESTS]))
        file.chmod(random.randrange(0o1000))
        if number % 3:
            try:
                set_acl(file, *some_acl(random))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                pytest.skip("no ACLs on this file system")
        files.append(file)
    people = [
        Person(ALICE, STAFF),
        Person(BOB, STAFF, (GUESTS,)),
        Person(BOB, 3000),
        Person(1003, 3000, (STAFF, GUESTS)),
    ]
    for person in people:
        with being(person):
            read = [os.access(file, os.R_OK, effective_ids=True) for file in files]
            run = [os.access(file, os.X_OK, effective_ids=True) for file in files]
        identity = who(person.uid, person.gid, *person.groups)
        facts = [found for file in files if (found := facts_at(os.fsencode(file)))]
        assert [allows(one, identity, READ) for one in facts] == read
        assert [allows(one, identity, SEARCH) for one in facts] == run


@as_root
def test_a_link_leads_a_user_as_far_as_its_target_is_theirs_to_reach(open_folder: Path) -> None:
    private, public = open_folder / "private", open_folder / "public"
    private.mkdir(mode=0o700)
    public.mkdir(mode=0o755)
    (private / "out").symlink_to(public)
    (private / "inner").mkdir()
    (public / "in").symlink_to(private / "inner")
    (public / "round").symlink_to(public / "round")
    (public / "up").symlink_to("../public")

    def resolved(path: Path) -> str | None:
        real = DiskFacts(who(BOB)).resolve(os.fsencode(path))
        return None if real is None else os.fsdecode(real)

    here = os.path.realpath(open_folder)
    assert resolved(public / "up" / ".." / "public") == f"{here}/public"
    assert resolved(private) == f"{here}/private"
    assert resolved(private / "out") is None
    assert resolved(public / "in" / "x") is None
    assert resolved(public / "round") is None
    assert resolved(public / "absent") is None
