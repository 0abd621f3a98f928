"""How much an embedded engine says on standard error, by the levels of dftracer-utils."""

from __future__ import annotations

from typing import Final

__all__ = ("get_log_level", "set_log_color", "set_log_level")

#: By their names: the level as it is told, and as :mod:`dftindexd.actors.log` numbers it.
_LEVELS: Final = {
    "trace": ("trace", 5),
    "debug": ("debug", 10),
    "info": ("info", 20),
    "warn": ("warn", 30),
    "warning": ("warn", 30),
    "error": ("error", 40),
    "off": ("off", 100),
    "none": ("off", 100),
}
_MODES: Final = ("auto", "always", "never")

_level = "warn"


def get_log_level() -> str:
    """Return the level; it is ``warn`` at first."""
    return _level


def set_log_level(level: str) -> None:
    """Have all of *level* and worse said: ``trace``, ``debug``, ``info``, ``warn``, ``error`` or
    ``off``.

    :raises ValueError: there is no such level.
    """
    global _level
    if not isinstance(level, str):
        raise TypeError(f"level must be str, not {type(level).__name__}")
    if level not in _LEVELS:
        raise ValueError(f"invalid log level: {level!r}")
    from dftindexd.actors.log import own_output

    _level, own_output.level = _LEVELS[level]


def set_log_color(mode: str) -> None:
    """Colour it ``always``, ``never``, or on a terminal (``auto``).

    :raises ValueError: there is no such mode.
    """
    if not isinstance(mode, str):
        raise TypeError(f"mode must be str, not {type(mode).__name__}")
    if mode not in _MODES:
        raise ValueError(f"invalid color mode: {mode!r} (auto|always|never)")
    from dftindexd.actors.log import own_output

    own_output.color = mode
