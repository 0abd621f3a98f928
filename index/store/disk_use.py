"""How much room stores take, and how much they may take."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

import msgspec

__all__ = ("SizeLimit", "bytes_below", "over_limit")


class SizeLimit(msgspec.Struct, frozen=True):
    """The files below *directory* may take so many bytes; *what* and *option* name it to people."""

    directory: str
    most_bytes: int
    what: str
    option: str


def bytes_below(directory: str) -> int:
    """Return how many bytes on disk the files below *directory* take; those that go meanwhile do
    not count."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def over_limit(limits: Iterable[SizeLimit]) -> str:
    """Return which of *limits* is passed and what to do, ``""`` for none."""
    for limit in limits:
        taken = bytes_below(limit.directory)
        if taken > limit.most_bytes:
            return (
                f"{limit.what} takes {taken:,} bytes of {limit.most_bytes:,}; "
                f"raise {limit.option}, or unwatch roots with --purge"
            )
    return ""
