"""Memory that a daemon shares: mapped as it is, without a copy."""

from __future__ import annotations

import fcntl
import mmap
import os

from dftindexd.protocol.errors import ProtocolError

__all__ = ("map_sealed",)

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def map_sealed(descriptor: int, size: int) -> memoryview:
    """Map *size* bytes of the memory behind *descriptor*, which may be closed then.

    :raises ProtocolError: it has another size, or somebody could still change it.
    """
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError as error:
        raise ProtocolError("the daemon shares what is no memory") from error
    if not sealed or os.fstat(descriptor).st_size != size:
        raise ProtocolError(f"the daemon shares memory that is not sealed at {size} bytes")
    # Private: before Linux 6.7 sealed memory cannot be mapped shared. Nothing is copied by that.
    return memoryview(mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
