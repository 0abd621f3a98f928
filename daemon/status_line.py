"""What the daemon is at in one line, for the service manager."""

from __future__ import annotations

from collections.abc import Sequence

from dftindexd.protocol.requests import RootStatus

__all__ = ("status_line",)

_MEGABYTE = 1e6


def status_line(roots: Sequence[RootStatus], degraded: int) -> str:
    """Return how many traces are indexed, how much is left to read and how long that takes, and how
    many things are degraded."""
    indexed = sum(root.indexed + root.growing for root in roots)
    pending = sum(root.pending_bytes for root in roots)
    parts = [f"{_counted(len(roots), 'root')}, {_counted(indexed, 'trace')} indexed"]
    if pending:
        rate = sum(root.bytes_per_second for root in roots)
        left = f", {pending / rate:,.0f} s left" if rate > 0 else ""
        queued = sum(root.queued for root in roots)
        parts.append(
            f"{_counted(queued, 'trace')} queued, {pending / _MEGABYTE:,.1f} MB to read "
            f"at {rate / _MEGABYTE:,.1f} MB/s{left}"
        )
    if degraded:
        parts.append(f"degraded ({degraded}): see dftindexd-client status")
    return "; ".join(parts)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
