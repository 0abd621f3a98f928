"""How much memory some processes take together, at most."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final

import psutil

__all__ = ("PeakMemory",)

_SECONDS: Final = 0.05


class PeakMemory:
    """Samples the PSS of a process and its descendants and keeps the largest sum.

    Without *itself*, of the descendants alone.
    """

    def __init__(self, pid: int, *, itself: bool = True) -> None:
        self.peak_bytes = 0
        self._process = psutil.Process(pid)
        self._itself = itself
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __enter__(self) -> PeakMemory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._sum())

    def _sum(self) -> int:
        try:
            family = self._process.children(recursive=True)
        except psutil.NoSuchProcess:
            return 0
        if self._itself:
            family.append(self._process)
        total = 0
        for process in family:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return total

    def stop(self) -> int:
        """End sampling and return the peak."""
        self._ended.set()
        self._thread.join()
        return self.peak_bytes
