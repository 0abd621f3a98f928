"""Roots that are gone for good: whose directory was deleted so long ago that its index may go, too.

A directory that is not there may have been deleted, or may lie on a file system that is not
mounted. It counts as deleted only if the nearest directory above it that is there is the very one
that it was when the root was seen last, by device, inode and file system's id, and on the file
system that the root lay on. The mount point of an unmounted file system, or whatever holds it, is
on another one. Device numbers may change when a machine starts anew: then nothing counts as deleted
until the root was seen again.

What was seen is kept in the state directory, so that the time goes on over restarts.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterable
from typing import Final

import anyio.to_thread
import msgspec

from dftindexd.actors.log import get_log
from dftindexd.actors.root import Root
from dftindexd.index.errors import CoreError
from dftindexd.index.store.identity import write_file_durably

__all__ = ("GONE_SECONDS", "Chain", "GoneRoots", "SeenRoot", "is_deleted", "judged", "look_at")

#: How long a root may be gone unless told: 30 days.
GONE_SECONDS: Final = 30 * 86_400.0

_FILE: Final = "seen-roots.json"

_log = get_log(__name__)

#: Device, inode and file system's id of each directory from ``/`` down to a root, as far as they
#: are there.
Chain = tuple[tuple[int, int, int], ...]


class SeenRoot(msgspec.Struct, frozen=True):
    """The directories down to a root when it was there last, and since when (seconds since 1970)
    it is known to be deleted."""

    chain: Chain = ()
    gone_since: float | None = None


def look_at(path: bytes) -> Chain | None:
    """Return the chain of the root *path*, shorter than its parts where it is not there, or
    ``None`` where that cannot be told."""
    chain: list[tuple[int, int, int]] = []
    for prefix in _prefixes(path):
        try:
            status, system = os.stat(prefix), os.statvfs(prefix)
        except (FileNotFoundError, NotADirectoryError):
            break
        except OSError:
            return None
        if not stat.S_ISDIR(status.st_mode):
            return None
        chain.append((status.st_dev, status.st_ino, system.f_fsid))
    return tuple(chain)


def _prefixes(path: bytes) -> list[bytes]:
    parts = [part for part in path.split(b"/") if part]
    return [b"/" + b"/".join(parts[:length]) for length in range(len(parts) + 1)]


def is_deleted(seen: Chain, now: Chain) -> bool:
    """Return whether a root that was at the end of *seen* was deleted, as *now* shows it."""
    if not now or len(now) >= len(seen):
        return False
    nearest, (device, _, _) = now[-1], seen[-1]
    return seen[len(now) - 1] == nearest and nearest[0] == device


def judged(
    seen: SeenRoot, chain: Chain | None, device: int | None, *, depth: int, now: float
) -> SeenRoot:
    """Return what is known of a root after a look at it.

    :param chain: what the look showed; the root is there if it has *depth* links.
    :param device: that on which a scan last found the root's traces; a directory elsewhere is the
        bare mount point, or not known to be the root yet.
    """
    if chain is not None and is_deleted(seen.chain, chain):
        since = seen.gone_since
        return SeenRoot(seen.chain, now if since is None or since > now else since)
    if chain is None or len(chain) < depth or chain[-1][0] != device:
        return SeenRoot(seen.chain)
    return SeenRoot(chain)


class GoneRoots:
    """What was seen of the watched roots of one state directory, and which are gone for good.

    :raises CoreError: what was kept does not read back.
    """

    def __init__(self, state_dir: str, most_seconds: float) -> None:
        self._path = os.path.join(state_dir, _FILE)
        self._most_seconds = most_seconds
        self._seen = self._load()

    def _load(self) -> dict[bytes, SeenRoot]:
        try:
            with open(self._path, "rb") as file:
                kept = msgspec.json.decode(file.read(), type=dict[str, SeenRoot])
            return {bytes.fromhex(path): seen for path, seen in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise CoreError(
                f"{self._path} does not read back: {error}",
                "remove it; the time for which roots are gone then begins anew",
            ) from error

    def device_of(self, path: bytes) -> int | None:
        """Return the device of the root *path* when it was there last, if that is known."""
        seen = self._seen.get(path)
        return seen.chain[-1][0] if seen is not None and seen.chain else None

    async def look(self, roots: Iterable[Root], kept: Collection[bytes]) -> list[bytes]:
        """Look at *roots*; return those that are gone for good. Of others than *kept* nothing is
        remembered."""
        before, now = self._seen, time.time()
        seen = dict(before)
        for root in roots:
            chain = await anyio.to_thread.run_sync(look_at, root.path, abandon_on_cancel=True)
            old = seen.get(root.path, SeenRoot())
            depth = len(_prefixes(root.path))
            new = judged(old, chain, root.state.device, depth=depth, now=now)
            if old.gone_since is None and new.gone_since is not None:
                _log.warning("root_deleted", root=os.fsdecode(root.path))
            root.gone_since, seen[root.path] = new.gone_since, new
        seen = {path: one for path, one in seen.items() if path in kept}
        self._seen = seen
        if seen != before:
            await anyio.to_thread.run_sync(self._save)
        return [
            path
            for path, one in seen.items()
            if one.gone_since is not None and now - one.gone_since >= self._most_seconds
        ]

    def _save(self) -> None:
        text = msgspec.json.encode({path.hex(): one for path, one in self._seen.items()})
        try:
            write_file_durably(self._path, msgspec.json.format(text, indent=2))
        except OSError as error:
            _log.warning("seen_roots_not_saved", path=self._path, reason=str(error))
