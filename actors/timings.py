"""How long the steps of indexing take, told to who wants to know."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

__all__ = ("Step", "Timings")

Step: TypeAlias = Literal["parse", "commit"]


def _nobody(step: Step, seconds: float) -> None:
    """Let nobody know."""


class Timings:
    """Passes on how long each step took, from any thread; ``listener`` is the one who is told."""

    def __init__(self) -> None:
        self.listener: Callable[[Step, float], None] = _nobody

    @contextmanager
    def measured(self, step: Step) -> Iterator[None]:
        """Tell how long the context lasted, whether or not it ended well."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.listener(step, time.perf_counter() - begin)
