"""Where the compiled kernel is kept, and its loading.

Compiling takes seconds, so the machine code is kept in a directory of ours: below
``$CACHE_DIRECTORY`` (systemd), else ``$XDG_CACHE_HOME/dftindexd``, else ``~/.cache/dftindexd``, in
a folder for each version of the kernel's source; numba keeps processors apart in it. Since it is
code that will be run, a directory into which others could write is refused.

numba is imported only here and by the kernel, and only when the kernel is asked for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Mapping
from functools import cache
from glob import glob
from importlib import import_module, metadata
from typing import Any, Final

from dftindexd.index.errors import CoreError

__all__ = (
    "KernelCacheError",
    "cache_root",
    "compile_once",
    "is_compiled",
    "is_loaded",
    "load",
    "prepare",
)

#: Where the kernel of this process came from, once it is loaded.
_loaded: Final[list[str]] = []

_HINT: Final = "set CACHE_DIRECTORY to a directory that only this user can write"


class KernelCacheError(CoreError):
    """The directory of compiled code cannot be used."""

    code = "invalid-argument"


def cache_root(environment: Mapping[str, str]) -> str:
    """Return the directory that *environment* gives for what can be made again."""
    given = environment.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return given
    user = environment.get("XDG_CACHE_HOME", "")
    if os.path.isabs(user):
        return os.path.join(user, "dftindexd")
    home = environment.get("HOME", "")
    if not os.path.isabs(home):
        raise KernelCacheError("no place for compiled code: HOME is not set", _HINT)
    return os.path.join(home, ".cache", "dftindexd")


def prepare(environment: Mapping[str, str], uid: int) -> None:
    """Load the kernel for this process, compiled into the directory of *environment*.

    Raises :class:`KernelCacheError` where the directory cannot be made or written, or is not that
    of *uid* alone. Later calls do nothing.
    """
    if _loaded:
        return
    directory = _usable_directory(environment, uid)
    _compile(directory)
    with open(_marker(directory), "wb"):
        pass
    _loaded.append(directory)


def is_loaded() -> bool:
    """Return whether this process has the kernel."""
    return bool(_loaded)


def _usable_directory(environment: Mapping[str, str], uid: int) -> str:
    directory = _directory(environment)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.stat(directory)
    except OSError as error:
        raise KernelCacheError(
            f"cannot make {directory} for compiled code: {error.strerror}", _HINT
        ) from error
    if status.st_uid != uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KernelCacheError(
            f"others than user {uid} could write compiled code into {directory}", _HINT
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise KernelCacheError(f"cannot write compiled code into {directory}", _HINT)
    return directory


def compile_once(environment: Mapping[str, str], uid: int) -> None:
    """Compile the kernel if need be; of several processes that are asked to, one does it.

    Raises :class:`KernelCacheError` as :func:`prepare` does.
    """
    directory = _usable_directory(environment, uid)
    lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_compiled(environment):
            prepare(environment, uid)
    finally:
        os.close(lock)


def is_compiled(environment: Mapping[str, str]) -> bool:
    """Return whether :func:`prepare` only has to load: the kernel was compiled for this version,
    this interpreter and this processor before, or is loaded already.

    Raises :class:`KernelCacheError` where there is no place for it.
    """
    return bool(_loaded) or os.path.exists(_marker(_directory(environment)))


def _directory(environment: Mapping[str, str]) -> str:
    return os.path.join(cache_root(environment), f"kernel-{_source_digest()}")


def _marker(directory: str) -> str:
    return os.path.join(directory, f"compiled-{_host_digest()}")


@cache
def _host_digest() -> str:
    """Return what tells apart the machine code that numba keeps for different hosts."""
    with open("/proc/cpuinfo", "rb") as file:
        processor = [
            line
            for line in file.read().split(b"\n\n")[0].splitlines()
            if line.startswith((b"model name", b"flags", b"Features", b"CPU part"))
        ]
    versions = [sys.version, metadata.version("numba"), metadata.version("llvmlite")]
    facts = b"\n".join([*processor, *map(str.encode, versions)])
    return hashlib.blake2b(facts, digest_size=8).hexdigest()


def load() -> Any:
    """Return the module of compiled functions; :func:`prepare` for this process if none did."""
    prepare(os.environ, os.geteuid())
    return import_module("dftindexd.index.trace.kernel_scan")


def _compile(directory: str) -> None:
    import numba

    others = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = directory
    try:
        import_module("dftindexd.index.trace.kernel_scan")
    except OSError as error:
        raise KernelCacheError(
            f"cannot write compiled code into {directory}: {error.strerror}", _HINT
        ) from error
    finally:
        numba.config.CACHE_DIR = others


@cache
def _source_digest() -> str:
    """Return what tells one kernel from another: numba only looks at the one file it compiles."""
    digest = hashlib.blake2b(digest_size=8)
    folder = os.path.dirname(os.path.abspath(__file__))
    for module in sorted(glob("kernel_*.py", root_dir=folder)):
        with open(os.path.join(folder, module), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
