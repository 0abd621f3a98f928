"""Keeping pandas out of a process that has no use for it.

pyarrow imports pandas, where it is installed, when it first takes an array of numpy's: half a
second in the midst of an answer.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from types import ModuleType

__all__ = ("refuse_pandas",)


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> None:
        """Refuse pandas; others look for all else."""
        if fullname == "pandas":
            raise ModuleNotFoundError("the daemon does without pandas", name=fullname)


def refuse_pandas() -> None:
    """Have this process, which must be the daemon's own, import no pandas from now on."""
    sys.meta_path.insert(0, _WithoutPandas())
