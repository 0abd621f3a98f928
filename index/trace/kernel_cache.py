"""Where the compiled kernel is kept, and its loading.

Compiling takes many seconds, so the machine code is kept in a directory of ours: below
``$CACHE_DIRECTORY`` (systemd), else ``$XDG_CACHE_HOME/dftindexd``, else ``~/.cache/dftindexd``, in
a folder for each version of the kernel's source, a file for each kind of processor and version of
the compiler. Since it is code that will be run, a directory into which others could write is
refused, and a file that is not as it was written is compiled again.

numba is imported only to compile, and llvmlite only when the kernel is asked for.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Mapping
from functools import cache
from glob import glob
from typing import Any, Final

import msgspec

from dftindexd.index.errors import CoreError
from dftindexd.index.trace.kernel_build import MachineCode, build, target_machine

__all__ = (
    "KernelCacheError",
    "cache_root",
    "compile_once",
    "is_compiled",
    "is_loaded",
    "load",
    "prepare",
    "run",
)

_Run = Callable[[int], int]


class _Loaded:
    """The kernel of this process, and what must live as long as it."""

    def __init__(self) -> None:
        self.run: _Run | None = None
        self.engine: Any = None


_loaded: Final = _Loaded()
_DIGEST_BYTES: Final = 16

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
    """Load the kernel for this process from the directory of *environment*.

    Raises :class:`KernelCacheError` where it was not compiled, or the directory is not that of
    *uid* alone. Later calls do nothing.
    """
    if _loaded.run:
        return
    directory = _usable_directory(environment, uid)
    code = _read(_path(directory))
    if code is None:
        raise KernelCacheError(
            f"no compiled kernel for this version and processor in {directory}",
            "start dftindexd once, which compiles it, or call compile_once",
        )
    _link(code)


def _link(machine_code: MachineCode) -> None:
    from llvmlite import binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code.code))
    engine.finalize_object()
    address = engine.get_function_address(machine_code.symbol)
    # numba's way of calling: where the result goes, where an error goes (there is none), arguments.
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    function = prototype(address)
    error = ctypes.c_void_p()
    at_error = ctypes.addressof(error)

    def run_at(block: int) -> int:
        result = ctypes.c_int64()  # the caller's own: another thread may run before it is read
        function(ctypes.addressof(result), at_error, block)
        return result.value

    _loaded.engine = (engine, error)
    _loaded.run = run_at


def run(block: int) -> int:
    """Run the kernel of this process, which must be loaded; see ``kernel_layout``."""
    if _loaded.run is None:
        raise AssertionError("the kernel is not loaded")
    return _loaded.run(block)


def is_loaded() -> bool:
    """Return whether this process has the kernel."""
    return _loaded.run is not None


def _read(path: str) -> MachineCode | None:
    """Return the machine code at *path*; nothing where there is none, or not as it was written."""
    try:
        with open(path, "rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KernelCacheError(
            f"cannot read the compiled code {path}: {error.strerror}", _HINT
        ) from error
    if hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest() != digest:
        return None
    return msgspec.msgpack.decode(data, type=MachineCode)


def _write(path: str, code: MachineCode) -> None:
    data = msgspec.msgpack.encode(code)
    unfinished = f"{path}.{os.getpid()}"
    try:
        with open(unfinished, "wb") as file:
            file.write(hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest() + data)
        os.replace(unfinished, path)
    except OSError as error:
        raise KernelCacheError(
            f"cannot write compiled code into {os.path.dirname(path)}: {error.strerror}", _HINT
        ) from error


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
    return directory


def compile_once(environment: Mapping[str, str], uid: int) -> None:
    """Compile the kernel if need be; of several processes that are asked to, one does it.

    To be called in a process of its own, see ``kernel_build``. Raises :class:`KernelCacheError`
    where the directory cannot be made or written, or is not that of *uid* alone.
    """
    directory = _usable_directory(environment, uid)
    lock = _lock(directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _read(_path(directory)) is None:
            _write(_path(directory), build())
    finally:
        os.close(lock)


def _lock(directory: str) -> int:
    # access(2) would tell of the real user without its capabilities; opening is what counts.
    path = os.path.join(directory, "lock")
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelCacheError(
            f"cannot write compiled code into {directory}: {error.strerror}", _HINT
        ) from error


def is_compiled(environment: Mapping[str, str]) -> bool:
    """Return whether :func:`prepare` only has to load: the kernel was compiled for this version,
    this interpreter and this processor before, or is loaded already.

    Raises :class:`KernelCacheError` where there is no place for it.
    """
    return is_loaded() or _read(_path(_directory(environment))) is not None


def _directory(environment: Mapping[str, str]) -> str:
    return os.path.join(cache_root(environment), f"kernel-{_source_digest()}")


def _path(directory: str) -> str:
    return os.path.join(directory, f"kernel-{_host_digest()}")


@cache
def _host_digest() -> str:
    """Return what tells apart the machine code of different hosts and compilers."""
    with open("/proc/cpuinfo", "rb") as file:
        processor = [
            line
            for line in file.read().split(b"\n\n")[0].splitlines()
            if line.startswith((b"model name", b"flags", b"Features", b"CPU part"))
        ]
    facts = b"\n".join([*processor, sys.version.encode(), *_compiler_versions()])
    return hashlib.blake2b(facts, digest_size=8).hexdigest()


def load() -> None:
    """Have the kernel in this process: :func:`prepare` with its environment."""
    prepare(os.environ, os.geteuid())


def _compiler_versions() -> list[bytes]:
    """Return the names, versions included, of the compiler's installed distributions."""
    found = (
        name.encode()
        for folder in sys.path
        for name in glob("llvmlite-*.dist-info", root_dir=folder or ".")
        + glob("numba-*.dist-info", root_dir=folder or ".")
    )
    return sorted(found)


@cache
def _source_digest() -> str:
    """Return what tells one kernel from another."""
    digest = hashlib.blake2b(digest_size=8)
    folder = os.path.dirname(os.path.abspath(__file__))
    for module in [*sorted(glob("kernel_*.py", root_dir=folder)), "../sketch.py"]:
        with open(os.path.join(folder, module), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
