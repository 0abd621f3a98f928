"""Names that somebody may have meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ("did_you_mean",)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a question with the name of *known* that is nearest to *name*, and a blank after it;
    nothing where none is near."""
    return "".join(f"did you mean {one}? " for one in get_close_matches(name, known, n=1))
