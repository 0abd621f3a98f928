"""The state directory: which stores it holds, which roots are watched, who works in it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from dftindexd.actors.file_systems import WantedBackend
from dftindexd.actors.log import get_log
from dftindexd.actors.root_options import RootOptions
from dftindexd.index.errors import CoreError
from dftindexd.index.model import TierConfig
from dftindexd.index.store.disposal import finish_deletions
from dftindexd.index.store.identity import acquire_lock, write_file_durably
from dftindexd.index.trace_rules import TraceRules
from dftindexd.protocol.published_formats import PublishedFormat

__all__ = ("RootSettings", "StateDir", "WatchSettings", "default_state_dir", "store_name")

_log = get_log(__name__)

_ROOTS_FILE: Final = "roots.json"
_LOCK_FILE: Final = "daemon.lock"


def default_state_dir(environment: Mapping[str, str], uid: int) -> str:
    """Return the state directory of a user, in the order that the README gives."""
    if environment.get("DFTINDEXD_STATE_DIR"):
        return environment["DFTINDEXD_STATE_DIR"]
    if environment.get("STATE_DIRECTORY"):
        return environment["STATE_DIRECTORY"].split(":")[0]  # systemd may give several
    if uid == 0:
        return "/var/lib/dftindexd"
    home = environment.get("XDG_STATE_HOME") or os.path.join(
        environment.get("HOME") or os.path.expanduser("~"), ".local", "state"
    )
    return os.path.join(home, "dftindexd")


def store_name(root: bytes) -> str:
    """Return the name of a root's store: readable, and unique by a digest of the whole path."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.basename(os.fsdecode(root)) or "root")[:48]
    return f"{readable}-{hashlib.blake2b(root, digest_size=6).hexdigest()}.dftindex"


class WatchSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one root is watched where that differs from others; no *backend* and no *columns*, those
    with inverted indices, are the daemon's own."""

    backend: WantedBackend | None = None
    rules: TraceRules = TraceRules()
    columns: tuple[str, ...] | None = None

    def applied(self, defaults: RootOptions) -> RootOptions:
        """Return the options of a root that is watched so, where others have *defaults*."""
        backend, tiers = self.backend or defaults.backend, defaults.tiers
        if self.columns is not None:
            tiers = msgspec.structs.replace(tiers, postings=self.columns)
        return msgspec.structs.replace(defaults, backend=backend, rules=self.rules, tiers=tiers)


class RootSettings(WatchSettings, frozen=True, kw_only=True):
    """How the configuration has one root watched; ``None`` is as for others. *publish*: for
    which tool its index is published whenever it is quiet."""

    settle_seconds: float | None = None
    tiers: TierConfig | None = None
    publish: PublishedFormat | None = None

    def applied(self, defaults: RootOptions) -> RootOptions:
        """Return the options of a root that is watched so, where others have *defaults*."""
        settle = defaults.settle_seconds if self.settle_seconds is None else self.settle_seconds
        options = super().applied(defaults)
        return msgspec.structs.replace(
            options, settle_seconds=settle, tiers=self.tiers or options.tiers
        )


class WatchedRoot(WatchSettings, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of ``roots.json``: the path for people, and in hexadecimal, so that a name survives
    that is not UTF-8."""

    path: str
    path_hex: str


class StateDir:
    """A state directory, held by one process at a time.

    :raises StoreLockedError: another process works in it; the message names it.
    :raises CoreError: it cannot be made or written, or others may write into it.
    """

    def __init__(self, path: str, owner: str) -> None:
        self.path = os.path.abspath(path)
        try:
            os.makedirs(os.path.join(self.path, "stores"), mode=0o700, exist_ok=True)
            self._refuse_shared()
            self._lock = acquire_lock(os.path.join(self.path, _LOCK_FILE), owner)
            for left in finish_deletions(os.path.join(self.path, "stores")):
                _log.warning("deleted_store_left", path=left)
        except OSError as error:
            raise CoreError(
                f"cannot use the state directory {self.path}: {error.strerror}",
                "name another with --state-dir",
            ) from error

    def _refuse_shared(self) -> None:
        mode = os.stat(self.path).st_mode
        if mode & 0o022:
            others = "anybody" if mode & 0o002 else "its group"
            raise CoreError(
                f"{others} may write into the state directory {self.path}",
                f"run chmod go-w {self.path}, or name another with --state-dir",
            )

    def store_path(self, root: bytes) -> str:
        """Return where the store of *root* lies."""
        return os.path.join(self.path, "stores", store_name(root))

    def load_roots(self) -> dict[bytes, WatchSettings]:
        """Return the roots that are watched across restarts, and how."""
        try:
            with open(os.path.join(self.path, _ROOTS_FILE), "rb") as file:
                entries = msgspec.json.decode(file.read(), type=list[WatchedRoot])
            return {
                bytes.fromhex(entry.path_hex): WatchSettings(
                    backend=entry.backend, rules=entry.rules, columns=entry.columns
                )
                for entry in entries
            }
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, ValueError) as error:
            raise CoreError(
                f"{self.path}/{_ROOTS_FILE} does not read back: {error}",
                "mend or remove it; removed, nothing is watched until you say so again",
            ) from error

    def save_roots(self, roots: Mapping[bytes, WatchSettings]) -> None:
        """Remember *roots* durably."""
        entries = [
            WatchedRoot(
                path=root.decode("utf-8", "backslashreplace"),
                path_hex=root.hex(),
                backend=settings.backend,
                rules=settings.rules,
                columns=settings.columns,
            )
            for root, settings in roots.items()
        ]
        text = msgspec.json.format(msgspec.json.encode(entries), indent=2)
        write_file_durably(os.path.join(self.path, _ROOTS_FILE), text)

    def close(self) -> None:
        """Let another process work here."""
        os.close(self._lock)
