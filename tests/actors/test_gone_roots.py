"""A root that was deleted long ago is unwatched; one that is not mounted, or empty, never is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dftindexd.actors.gone_roots import Chain, GoneRoots, SeenRoot, is_deleted, judged, look_at
from dftindexd.index.errors import CoreError
from tests.actors.world import World

TOP, FOLDER, ROOT = (1, 2, 0), (7, 3, 5), (7, 4, 5)
SEEN: Chain = (TOP, FOLDER, ROOT)


@pytest.mark.parametrize(
    ("now", "deleted"),
    [
        ((TOP, FOLDER), True),
        (SEEN, False),
        ((TOP, FOLDER, (7, 5, 5)), False),  # there is another directory in its place
        ((TOP, (1, 9, 0)), False),  # the bare mount point of the file system it lay on
        ((TOP, (7, 9, 5)), False),  # a directory that was made anew
        ((TOP, (7, 3, 6)), False),  # a file system with the device number of another
        ((TOP,), False),  # the mount point is gone as well
        ((), False),
    ],
)
def test_only_what_is_missing_from_the_very_directory_it_was_in_is_deleted(
    now: Chain, deleted: bool
) -> None:
    assert is_deleted(SEEN, now) is deleted


def test_a_root_counts_as_gone_from_the_first_look_until_it_is_back() -> None:
    seen = judged(SeenRoot(), SEEN, 7, depth=3, now=100.0)
    assert seen == SeenRoot(SEEN)
    gone = judged(seen, (TOP, FOLDER), 7, depth=3, now=200.0)
    assert gone == SeenRoot(SEEN, 200.0)
    assert judged(gone, (TOP, FOLDER), 7, depth=3, now=300.0) == gone
    assert judged(gone, SEEN, 7, depth=3, now=300.0) == seen
    back = judged(gone, (TOP, FOLDER, (7, 5, 5)), 7, depth=3, now=300.0)
    assert back == SeenRoot((TOP, FOLDER, (7, 5, 5)))
    earlier = judged(gone, (TOP, FOLDER), 7, depth=3, now=50.0)  # the clock was set back
    assert earlier.gone_since == 50.0


def test_what_cannot_be_looked_at_is_not_gone_and_a_bare_mount_point_is_not_the_root() -> None:
    gone = SeenRoot(SEEN, 200.0)
    assert judged(gone, None, 7, depth=3, now=300.0) == SeenRoot(SEEN)
    assert judged(gone, (TOP, (1, 9, 0)), 7, depth=3, now=300.0) == SeenRoot(SEEN)
    bare = judged(SeenRoot(SEEN), (TOP, FOLDER, (1, 9, 0)), 7, depth=3, now=300.0)
    assert bare == SeenRoot(SEEN)
    for device in (None, 7):  # it was never seen
        assert judged(SeenRoot(), (TOP, FOLDER), device, depth=3, now=300.0) == SeenRoot()
    assert judged(SeenRoot(), SEEN, None, depth=3, now=300.0) == SeenRoot()


def test_a_look_goes_as_far_as_there_are_directories(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "a" / "b")
    above = look_at(path)
    assert above is not None
    assert above[-1][:2] == (tmp_path.stat().st_dev, tmp_path.stat().st_ino)
    (tmp_path / "a" / "b").mkdir(parents=True)
    whole = look_at(path)
    assert whole is not None
    assert whole[: len(above)] == above
    assert len(whole) == len(above) + 2
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"")
    assert is_deleted(whole, above)
    assert look_at(path) is None  # something else has the name of the directory above


def test_what_was_seen_and_does_not_read_back_is_told_by_its_path(tmp_path: Path) -> None:
    assert GoneRoots(str(tmp_path), 1.0).device_of(b"/a") is None
    (tmp_path / "seen-roots.json").write_text("{")
    with pytest.raises(CoreError, match=r"seen-roots.json does not read back"):
        GoneRoots(str(tmp_path), 1.0)


def test_an_empty_root_on_another_file_system_keeps_its_index() -> None:
    world = World()
    world.put(b"run/a")
    world.look()
    world.run()
    disk, world.disk, world.device = world.disk, {}, 2
    for directory in (b"", b"run", b"run/a"):
        world.look(directory)
        assert "may not be mounted" in world.state.root_error
    world.run()
    assert list(world.registry.traces) == [b"run/a"]
    world.disk, world.device = disk, 1
    world.look()
    assert world.state.root_error == ""
    world.disk = {}
    world.look()
    world.run()
    assert list(world.registry.traces) == []


def test_a_root_whose_traces_moved_to_another_file_system_is_followed() -> None:
    world = World()
    world.put(b"a")
    world.look()
    world.run()
    world.device = 2
    world.put(b"b")
    world.look()
    assert world.state.root_error == ""
    assert world.state.device == 2
    del world.disk[b"a"], world.disk[b"b"]
    world.look()
    world.run()
    assert list(world.registry.traces) == []


@pytest.fixture
def mount_point(tmp_path: Path) -> Iterator[Path]:
    """A directory at which a tmpfs may be mounted; nothing is at the end."""
    folder = tmp_path / "mnt"
    folder.mkdir()
    yield folder
    while os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def test_a_real_file_system_that_is_unmounted_is_no_deletion(mount_point: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(mount_point)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a tmpfs here")
    root = mount_point / "run"
    root.mkdir()
    path = os.fsencode(root)
    there = look_at(path)
    assert there is not None
    subprocess.run(["umount", str(mount_point)], check=True)
    away = look_at(path)
    assert away is not None
    assert not is_deleted(there, away)
    subprocess.run(mount, check=True)
    empty = look_at(path)  # another tmpfs, with the same device and inode numbers
    assert empty is not None
    assert (
        judged(SeenRoot(there), empty, there[-1][0], depth=len(there), now=1.0).gone_since is None
    )
