"""Whose store a directory is: decided from a small file of ours, before RocksDB may touch anything.

RocksDB writes into whatever directory it opens, so a directory without our identity file is refused
and left as it is. ``dftindexd.lock`` beside it says who has the store open.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Final, Literal

import msgspec

from dftindexd.index.errors import ForeignStoreError, StoreLockedError
from dftindexd.index.store.layout import FORMAT_VERSION

__all__ = (
    "IDENTITY_FILE",
    "LOCK_FILE",
    "StoreIdentity",
    "acquire_lock",
    "check_identity",
    "lock_holder",
    "write_file_durably",
)

IDENTITY_FILE: Final = "dftindexd.json"
LOCK_FILE: Final = "dftindexd.lock"

_TEMPORARY: Final = ".new"
#: What a crash may leave before the identity file is there.
_BEFORE_IDENTITY: Final = (LOCK_FILE, IDENTITY_FILE + _TEMPORARY)


class StoreIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the identity file. ``root`` is the watched directory, for people to read."""

    product: Literal["dftindexd"]
    format: int
    root: str = ""


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
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def check_identity(path: str, root: str) -> bool:
    """Claim or recognise the store directory *path*; return whether it already was a store.

    A directory that does not exist or is empty becomes ours.

    :raises ForeignStoreError: it holds something else, or a store of a newer format.
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
        identity = StoreIdentity(product="dftindexd", format=FORMAT_VERSION, root=readable)
        write_file_durably(os.path.join(path, IDENTITY_FILE), msgspec.json.encode(identity))
        return False
    _require_known_format(path, text)
    return True


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


def lock_holder(path: str) -> str:
    """Return what the holder wrote into the lock file *path*, for messages."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(256).strip() or "an unknown process"
    except OSError:
        return "an unknown process"


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
