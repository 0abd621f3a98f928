"""Numbers as traces write them: JSON numbers, quoted ones in v0, and what should not be there.

Every function takes any JSON value; none raises.
"""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ("INT64_MAX", "INT64_MIN", "UINT64_MAX", "clamp_signed", "fraction", "whole")

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)
UINT64_MAX: Final = 2**64 - 1

_QUOTED_DIGITS: Final = 20
_QUOTED: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?", re.ASCII)


def whole(value: object) -> int | None:
    """Return *value* as a whole number, truncated; ``None`` where it is not a number.

    Booleans are 0 and 1, quoted numbers (v0) count, NaN and infinities do not.
    """
    if value.__class__ is int:
        return value
    if isinstance(value, str):
        if value.isdecimal() and value.isascii():
            return int(value) if len(value) <= _QUOTED_DIGITS else None
        return int(value.partition(".")[0]) if _QUOTED.fullmatch(value) else None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if isinstance(value, int | float) else None


def fraction(value: object) -> float | None:
    """Return a JSON number or boolean as a float; ``None`` for anything else, and for NaN."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def clamp_signed(number: int) -> int:
    """Return *number* within 64 bits, signed."""
    return min(max(number, INT64_MIN), INT64_MAX)
