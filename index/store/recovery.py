"""Opening a store whatever state it is in: one that cannot be used is set aside and built anew.

Set aside is a store that is damaged beyond its traces' rows (MANIFEST, CURRENT, log, registry), and
one of an older format of ours. It is renamed, never deleted; the new one begins empty, says that it
is being rebuilt, and the scan of the disk fills it. A disk that damages one store after the other
does not fill up with them: after a few within a day the store is left as it is, with an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from dftindexd.index.errors import StoreDamagedError, StoreOutdatedError
from dftindexd.index.model import TierConfig
from dftindexd.index.store.aside import (
    MOST_A_DAY,
    REASON_FILE,
    Why,
    aside_name,
    kept_aside,
    set_aside_within_a_day,
)
from dftindexd.index.store.identity import LOCK_FILE, acquire_lock, sync_path
from dftindexd.index.store.writer import StoreWriter

__all__ = ("open_or_rebuild", "set_aside")


def open_or_rebuild(
    path: str,
    *,
    root: str,
    owner: str,
    wanted: TierConfig | None = None,
    least_epoch: int = 1,
    condemned: str = "",
    clock: Callable[[], float] = time.time,
) -> StoreWriter:
    """Open the store *path*; if that cannot be, set it aside and begin another in its place.

    :param least_epoch: the epoch is at least this one, so that an artifact for a store that was
        set aside meanwhile never takes the ids of a segment of the new one.
    :param condemned: why the store is to be set aside without another try, ``""`` for not.
    :raises CoreError: as :class:`StoreWriter`, and where the store was set aside too often.
    """

    def open_store() -> StoreWriter:
        return StoreWriter(
            path, root=root, owner=owner, wanted=wanted, least_epoch=least_epoch, clock=clock
        )

    if condemned:
        set_aside(path, "damaged", condemned, owner, clock())
        return open_store()
    try:
        return open_store()
    except StoreOutdatedError as error:
        set_aside(path, "outdated", error.message, owner, clock())
    except StoreDamagedError as error:
        set_aside(path, "damaged", error.message, owner, clock())
    return open_store()


def set_aside(path: str, why: Why, reason: str, owner: str, now: float) -> str:
    """Rename the store *path*, which nobody has open, and return its new path.

    :raises StoreLockedError: somebody has it open after all.
    :raises StoreDamagedError: it was set aside too often within a day.
    """
    kept = kept_aside(path)
    recent = set_aside_within_a_day(kept, now)
    if why == "damaged" and len(recent) >= MOST_A_DAY:
        raise StoreDamagedError(
            f"{path} is damaged ({reason}) and was set aside {len(recent)} times within a day",
            f"check the disk, then move {recent[0]} and its like away to have it built anew",
        )
    lock = acquire_lock(os.path.join(path, LOCK_FILE), owner)
    try:
        target = aside_name(path, why, now, kept)
        with open(os.path.join(path, REASON_FILE), "w", encoding="utf-8", errors="replace") as file:
            file.write(reason + "\n")
        os.rename(path, target)
        sync_path(os.path.dirname(os.path.abspath(path)))
    finally:
        os.close(lock)
    return target
