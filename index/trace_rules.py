"""Which files below a root are its traces: patterns and links. Pure functions of paths.

A pattern is a glob over the path relative to the root. ``*`` and ``?`` stop at a slash, ``**`` does
not, ``[...]`` is one of some characters. A pattern without a slash is held against every name on
the path, one with a slash against the path from the root on. What names a directory speaks of all
below it.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

import msgspec

__all__ = ("SUFFIXES", "TraceRules", "is_trace_name")

#: What the name of a trace ends with.
SUFFIXES = (b".pfw", b".pfw.gz")

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def is_trace_name(name: bytes) -> bool:
    """Return whether a file of this name is a trace."""
    return name.endswith(SUFFIXES)


class TraceRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a root is indexed: traces that *include* names, or all where it names none, without
    those that *exclude* names.

    ``follow_links``: symbolic links that lead out of the root are followed, too.

    :raises ValueError: a pattern is empty or leads out of the root.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_links: bool = False

    def __post_init__(self) -> None:
        for pattern in (*self.include, *self.exclude):
            names = pattern.strip("/").split("/")
            if not names[0] or ".." in names or "\0" in pattern or not _compiles(pattern):
                raise ValueError(
                    f"a pattern must be a glob over paths below the root, not {pattern!r}"
                )

    def enters(self, directory: bytes) -> bool:
        """Return whether there may be traces below *directory* (relative to the root)."""
        return not self.exclude or not directory or not _named(self.exclude, directory)

    def shows(self, path: bytes) -> bool:
        """Return whether a file at *path* (relative to the root) is a trace of the root."""
        if not is_trace_name(path):
            return False
        if self.include and not _named(self.include, path):
            return False
        return self.enters(path)


def _named(patterns: tuple[str, ...], path: bytes) -> bool:
    return _compiled(patterns).fullmatch(os.fsdecode(path)) is not None


def _compiles(pattern: str) -> bool:
    try:
        _compiled((pattern,))
    except re.error:
        return False
    return True


@lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_expression, patterns)), re.DOTALL)


def _expression(pattern: str) -> str:
    """Return the regular expression of all paths that *pattern* names, with what lies below."""
    bare = pattern.strip("/")
    anywhere = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    return f"(?:{anywhere}{''.join(map(_token, _TOKEN.findall(bare)))}(?:/.*)?)"


def _token(token: str) -> str:
    match token:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if len(token) == 1:
        return re.escape(token)
    negated, characters = token[1] == "!", token[1:-1].removeprefix("!")
    listed = "".join(one if one == "-" else re.escape(one) for one in characters)
    return f"(?!/)[{'^' if negated else ''}{listed}]"
