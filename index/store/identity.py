"""Whose store a directory is: decided from a small file of ours, before RocksDB may touch anything.

RocksDB writes into whatever directory it opens, so a directory without our identity file is refused
and left as it is. ``dftindexd.lock`` beside it says who has the store open.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import suppress
from typing import Final, Literal

import msgspec

from dftindexd.index.errors import (
    ForeignStoreError,
    StoreDamagedError,
    StoreLockedError,
    StoreOutdatedError,
)
from dftindexd.index.store.aside import kept_aside, reason_of
from dftindexd.index.store.layout import FORMAT_VERSION

__all__ = (
    "IDENTITY_FILE",
    "LOCK_FILE",
    "UNKNOWN_HOLDER",
    "RootError",
    "StoreIdentity",
    "acquire_lock",
    "check_identity",
    "check_root",
    "copy_identity",
    "is_unclaimed",
    "lock_holder",
    "note_rebuilt",
    "read_identity",
    "require_database",
    "sync_path",
    "write_file_durably",
)

IDENTITY_FILE: Final = "dftindexd.json"
LOCK_FILE: Final = "dftindexd.lock"
UNKNOWN_HOLDER: Final = "an unknown process"

_ID_BYTES: Final = 8
_TEMPORARY: Final = ".new"
#: What a crash may leave before the identity file is there.
_BEFORE_IDENTITY: Final = (LOCK_FILE, IDENTITY_FILE + _TEMPORARY)


class RootError(ForeignStoreError):
    """A store is the index of another directory than the one that it is used for."""


class StoreIdentity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The contents of the identity file. ``root`` is the watched directory, for people to read.

    ``rebuilding`` says of a store that took the place of one that was set aside that it does not
    hold all that this did yet, and why. Its generations begin at ``first_generation``, later than
    those of any before it. ``id`` is that of no other store; one of before there were ids has none.
    """

    product: Literal["dftindexd"]
    format: int
    root: str = ""
    rebuilding: str = ""
    first_generation: int = 0
    id: str = ""


def write_file_durably(path: str, data: bytes) -> None:
    """Replace *path* by *data* so that a crash leaves the old file or the new one, whole."""
    temporary = f"{path}{_TEMPORARY}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_path(os.path.dirname(path) or ".")


def sync_path(path: str) -> None:
    """Make the file *path*, or the names in the directory *path*, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_unclaimed(path: str) -> bool:
    """Return whether *path* is no directory yet, or one with nothing but what two who claim it at
    once, or a crash, leave there at first."""
    try:
        return set(os.listdir(path)) <= {*_BEFORE_IDENTITY, IDENTITY_FILE}
    except FileNotFoundError:
        return True


def check_identity(path: str, root: str) -> bool:
    """Claim or recognise the store directory *path*; return whether it already was a store.

    A directory that does not exist or is empty becomes ours.

    :raises ForeignStoreError: it holds something else, or a store of another format.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    try:
        with open(os.path.join(path, IDENTITY_FILE), "rb") as file:
            text = file.read()
    except FileNotFoundError:
        foreign = [name for name in os.listdir(path) if name not in _BEFORE_IDENTITY]
        if foreign:
            raise ForeignStoreError(
                f"{path} holds files but is not a store of dftindexd (found {min(foreign)})",
                "name another state or index directory; this one was left untouched",
            ) from None
        readable = root.encode("utf-8", "backslashreplace").decode()
        _write(path, _new_identity(path, readable))
        return False
    _require_known_format(path, text)
    return True


def _new_identity(path: str, root: str) -> StoreIdentity:
    """Return the identity of a new store: one that takes the place of another says so."""
    before = kept_aside(path)
    if not before:
        return StoreIdentity(
            product="dftindexd", format=FORMAT_VERSION, root=root, id=secrets.token_hex(_ID_BYTES)
        )
    reason = reason_of(before[-1])
    return StoreIdentity(
        product="dftindexd",
        format=FORMAT_VERSION,
        root=root,
        rebuilding=f"the store before was set aside as {before[-1]}" + f": {reason}" * bool(reason),
        # Commits are slower than one a millisecond, so no generation ever comes twice.
        first_generation=time.time_ns() // 1_000_000,
        id=secrets.token_hex(_ID_BYTES),
    )


def _write(path: str, identity: StoreIdentity) -> None:
    write_file_durably(os.path.join(path, IDENTITY_FILE), msgspec.json.encode(identity))


def copy_identity(path: str, target: str) -> None:
    """Give the copy *target* of the store *path* its identity, with an id of its own."""
    _write(target, msgspec.structs.replace(read_identity(path), id=secrets.token_hex(_ID_BYTES)))


def read_identity(path: str) -> StoreIdentity:
    """Return the identity of the store *path*, which :func:`check_identity` let pass."""
    with open(os.path.join(path, IDENTITY_FILE), "rb") as file:
        return msgspec.json.decode(file.read(), type=StoreIdentity)


def check_root(path: str, root: bytes) -> None:
    """Refuse the store *path*, which has an identity, unless it is the index of *root*.

    :raises RootError: it is that of another directory.
    """
    held = read_identity(path).root
    if held != os.fsdecode(root).encode("utf-8", "backslashreplace").decode():
        raise RootError(
            f"{path} is the index of {held}, not of {os.fsdecode(root)}", "name another index"
        )


def note_rebuilt(path: str) -> StoreIdentity:
    """Note durably that the store *path* holds all again; return its identity then."""
    identity = msgspec.structs.replace(read_identity(path), rebuilding="")
    _write(path, identity)
    return identity


def require_database(path: str) -> None:
    """Refuse a store whose tables are there without the file that leads to them: RocksDB would
    begin an empty one in their midst.

    :raises StoreDamagedError: ``CURRENT`` is missing.
    """
    names = os.listdir(path)
    if "CURRENT" not in names and any(name.endswith(".sst") for name in names):
        raise StoreDamagedError(f"{path} holds tables, but CURRENT is missing")


def _require_known_format(path: str, text: bytes) -> None:
    try:
        identity = msgspec.json.decode(text, type=StoreIdentity)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ForeignStoreError(
            f"{path}/{IDENTITY_FILE} does not identify a store of dftindexd: {error}",
            "the directory was left untouched; move it away to have the store built anew",
        ) from error
    if identity.format > FORMAT_VERSION:
        raise ForeignStoreError(
            f"{path} has store format {identity.format}, newer than {FORMAT_VERSION}",
            "use the dftindexd that wrote it, or name another state directory",
        )
    if identity.format < FORMAT_VERSION:
        raise StoreOutdatedError(
            f"{path} has store format {identity.format}, older than {FORMAT_VERSION}",
            "move it away to have it built anew from the traces",
        )


def lock_holder(path: str) -> str:
    """Return what the holder wrote into the lock file *path*, for messages."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(256).strip() or UNKNOWN_HOLDER
    except OSError:
        return UNKNOWN_HOLDER


def acquire_lock(path: str, owner: str) -> int:
    """Lock the file *path* for as long as the returned descriptor stays open.

    :param owner: who we are, for whoever is refused, such as ``pid 12, socket /run/x.sock``.
    :raises StoreLockedError: somebody else holds it; the message names them.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreLockedError(
            f"{os.path.dirname(path)} is in use by {lock_holder(path)}",
            "stop it first, or name another directory",
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, owner.encode("utf-8", "backslashreplace"), 0)
    return descriptor
