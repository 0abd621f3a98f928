"""Durations and sizes as text, as people write them: ``30s``, ``512MiB``. Pure functions."""

from __future__ import annotations

import re
from typing import Final

__all__ = ("DURATION", "SIZE", "bytes_of", "duration_text", "seconds_of", "size_text")

_DURATIONS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZES: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}

#: What a duration or a size looks like: a number and a unit.
DURATION: Final = rf"^[0-9]+(\.[0-9]+)? ?({'|'.join(_DURATIONS)})$"
SIZE: Final = rf"^[0-9]+(\.[0-9]+)? ?({'|'.join(_SIZES)})$"

_PARTS: Final = re.compile(r"([0-9.]+) ?([a-zA-Z]+)")


def seconds_of(duration: str) -> float:
    """Return the seconds of a text that :data:`DURATION` matches.

    :raises ValueError: it does not match.
    """
    number, unit = _parts(DURATION, duration)
    return float(number) * _DURATIONS[unit]


def bytes_of(size: str) -> int:
    """Return the bytes of a text that :data:`SIZE` matches.

    :raises ValueError: it does not match.
    """
    number, unit = _parts(SIZE, size)
    return int(float(number) * _SIZES[unit])


def duration_text(seconds: float) -> str:
    """Return the duration in the largest unit in which it is a whole number."""
    for unit in ("d", "h", "m", "s", "ms"):
        number = seconds / _DURATIONS[unit]
        if number >= 1 and number == round(number):
            return f"{round(number)}{unit}"
    return f"{seconds:g}s"


def size_text(size: int) -> str:
    """Return the size in the largest binary unit in which it is a whole number."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def _parts(pattern: str, text: str) -> tuple[str, str]:
    found = _PARTS.fullmatch(text) if re.fullmatch(pattern, text) else None
    if found is None:
        raise ValueError(f"not a number with a unit: {text!r}")
    return found[1], found[2]
