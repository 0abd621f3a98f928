"""Which file system a path lies on, how it is watched, and how often it is looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dftindexd.actors.file_systems import (
    PseudoFileSystemError,
    backend_for,
    backend_of,
    file_system_at,
)
from dftindexd.actors.watch_state import WatchState, seconds_to_next_look

MOUNTS = b"""\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw - proc proc rw
23 21 0:30 / /scratch rw master:2 shared:9 - lustre 10.0.0.1@o2ib:/scratch rw
24 23 0:31 / /scratch/my\\040runs rw - nfs4 server:/runs rw
25 21 0:40 / /mnt rw - nfs server:/a rw
26 25 0:41 / /mnt rw - fuse.sshfs host:/b rw
27 21 0:42 / /mnt/tmp rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/", "ext4"),
        (b"/home/a", "ext4"),
        (b"/proc/self", "proc"),
        (b"/process", "ext4"),
        (b"/scratch", "lustre"),
        (b"/scratch/my", "lustre"),
        (b"/scratch/my runs/1", "nfs4"),
        (b"/mnt/x", "fuse.sshfs"),
        (b"/mnt/tmp/x", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_innermost_and_last_mount(
    path: bytes, found: str
) -> None:
    assert file_system_at(path, MOUNTS) == found


def test_where_no_mount_holds_the_path_its_file_system_is_not_known() -> None:
    assert file_system_at(b"/x", b"") == ""


def test_what_other_machines_may_write_is_polled_unless_told() -> None:
    assert {backend_for(one, "auto") for one in ("ext4", "xfs", "tmpfs", "overlay")} == {"inotify"}
    shared = ("lustre", "gpfs", "nfs", "nfs4", "cifs", "smb3", "beegfs", "ceph", "9p", "fuse.x", "")
    assert {backend_for(one, "auto") for one in shared} == {"poll"}
    assert backend_for("lustre", "inotify") == "inotify"
    assert backend_for("ext4", "poll") == "poll"


def test_pseudo_file_systems_are_refused_by_name(tmp_path: Path) -> None:
    for path in (b"/proc/self", b"/proc"):
        with pytest.raises(PseudoFileSystemError, match="lies on proc"):
            backend_of(path, "inotify")
    assert backend_of(os.fsencode(tmp_path), "poll") == "poll"


def test_a_large_root_is_not_looked_at_all_the_time() -> None:
    assert seconds_to_next_look(5.0, 0.1) == 5.0
    assert seconds_to_next_look(5.0, 60.0) == 240.0


def test_a_root_that_is_polled_is_looked_at_more_often() -> None:
    assert WatchState("inotify", 30.0, 5.0).interval == 30.0
    assert WatchState("poll", 30.0, 5.0).interval == 5.0
    assert WatchState("poll", 2.0, 5.0).interval == 2.0
