"""When a store that could not be written is tried again.

The disk is full, read-only or failing: nobody can say for how long, so that the waits between two
tries double up to half a minute, until something was committed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from dftindexd.index.errors import StoreReadOnlyError

__all__ = ("WriteTrouble", "probe_disk")

_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
#: So much has to fit in before a store is tried again: a log that grows and a few small tables.
_PROBE_BYTES: Final = 1 << 20
_PROBE_FILE: Final = "dftindexd.probe"


class WriteTrouble:
    """Why a store cannot be written now, ``""`` where it can, and when to try again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.reason = ""
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0

    def failed(self, reason: str) -> None:
        """Note that writing failed."""
        self.reason = reason
        wait = _FIRST_WAIT_SECONDS * 2.0 ** min(self._failures, 16)
        self._failures += 1
        self._retry_at = self._clock() + min(wait, _LONGEST_WAIT_SECONDS)

    @property
    def retry_is_due(self) -> bool:
        """Whether to try again now."""
        return bool(self.reason) and self._clock() >= self._retry_at

    def looks_over(self) -> None:
        """Note that writing seems possible; if it is not, the next wait is longer all the same."""
        self.reason = ""

    def is_over(self) -> None:
        """Note that something was committed."""
        self.reason = ""
        self._failures = 0


def probe_disk(directory: str) -> None:
    """Write a file into *directory*, sync it, and remove it.

    :raises StoreReadOnlyError: that cannot be done.
    """
    path = os.path.join(directory, _PROBE_FILE)
    try:
        with open(path, "wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreReadOnlyError(
            f"{directory}: {error.strerror}", "writing resumes alone when that is over"
        ) from error
    finally:
        with suppress(OSError):
            os.unlink(path)
