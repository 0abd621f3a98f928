"""Which version of the protocol two sides speak, and what a daemon can do beyond it. Pure.

The version counts changes that the other side cannot ignore: of framing, or of what a message
means. New requests and new fields with a default change no version: a daemon lists the requests
it knows as capabilities, and both sides ignore fields they do not know.
"""

from __future__ import annotations

from collections.abc import Iterable

from dftindexd.protocol.codec import REQUEST_TAGS, request_tag
from dftindexd.protocol.errors import VersionMismatchError
from dftindexd.protocol.message import Request
from dftindexd.protocol.requests import Hello, HelloResult

__all__ = (
    "CAPABILITIES",
    "PROTOCOLS",
    "SHARED_MEMORY",
    "choose_protocol",
    "require_capability",
    "shares_memory",
)

PROTOCOLS: tuple[int, ...] = (1,)
#: Large answers may be handed over as a descriptor of sealed memory.
SHARED_MEMORY = "shared-memory"
CAPABILITIES: tuple[str, ...] = (*REQUEST_TAGS, SHARED_MEMORY)


def choose_protocol(ours: Iterable[int], theirs: Iterable[int]) -> int:
    """Return the highest version both sides know.

    Raises:
        VersionMismatchError: they have none in common; the message names both sides' versions.
    """
    daemon, client = sorted(set(ours)), sorted(set(theirs))
    common = set(daemon) & set(client)
    if common:
        return max(common)
    older = "client" if max(client, default=0) < max(daemon, default=0) else "daemon"
    raise VersionMismatchError(
        f"the daemon speaks protocol {_listed(daemon)}, the client {_listed(client)}",
        f"upgrade the {older}",
    )


def require_capability(daemon: HelloResult, request: Request[object]) -> None:
    """Refuse, before it is sent, a request that *daemon* did not say it knows."""
    tag = request_tag(type(request))
    if tag not in daemon.capabilities:
        raise VersionMismatchError(
            f"the daemon (version {daemon.version}) does not know the request {tag!r}",
            "upgrade the daemon",
        )


def shares_memory(hello: Hello, peer_pid: int) -> bool:
    """Return whether a client takes descriptors, and no one in between would lose them: the kernel
    says that the process at the other end is the client itself."""
    return SHARED_MEMORY in hello.capabilities and hello.pid == peer_pid


def _listed(versions: list[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
