"""The ranges and filter of a read, as dftracer-utils takes them, and pieces of lines."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Final

from dftindexd.compat.reading import Wanted
from dftindexd.compat.trace_text import parsed

__all__ = ("END", "pieces_of_lines", "wanted_lines")

#: After the last line, and after the last byte.
END: Final = 1 << 62


def wanted_lines(
    start_line: int,
    end_line: int,
    start_byte: int,
    end_byte: int,
    buffer_size: int,
    query: str | None,
) -> Wanted:
    """Return the arguments of a read, checked.

    :raises ValueError: a number is out of its range.
    :raises TypeError: *query* is no text, or a number is no whole one.
    :raises DFTUtilsQueryError: *query* does not parse.
    """
    numbers = map(operator.index, (start_line, end_line, start_byte, end_byte))
    if min(numbers) < 0 or operator.index(buffer_size) < 1:
        raise ValueError("range arguments must be >= 0; buffer_size must be > 0")
    if query is not None and not isinstance(query, str):
        raise TypeError(f"query must be str or None, not {type(query).__name__}")
    lines = (max(start_line - 1, 0), end_line or END) if start_line or end_line else None
    text_range = (start_byte, end_byte or END) if start_byte or end_byte else None
    wanted = Wanted(query or "", lines, text_range)
    parsed(wanted)
    return wanted


def pieces_of_lines(lines: Iterator[bytes], most: int) -> Iterator[bytes]:
    """Join *lines* to pieces of at most *most* bytes, or one line."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > most:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield b"".join(piece)
