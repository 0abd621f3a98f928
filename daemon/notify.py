"""systemd's notification protocol: one datagram a message (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

__all__ = ("is_managed", "notify")

_log = structlog.get_logger(__name__)


def is_managed(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether there is a service manager that wants to be told."""
    return bool(environment.get("NOTIFY_SOCKET"))


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send *message* (such as ``READY=1``) to the service manager, if there is one.

    Returns whether it was sent. A manager that does not listen is logged and no error: the daemon
    works without it.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        # A manager that takes nothing must not hold up the event loop.
        connection.setblocking(False)
        try:
            connection.connect(address)
            connection.sendall(message.encode())
        except OSError as error:
            _log.warning("notify_failed", reason=str(error))
            return False
    return True
