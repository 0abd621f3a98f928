"""Events from a trace's text: which objects its lines hold, read as the index reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

import msgspec

from dftindexd.index.model import BadLine
from dftindexd.index.query.event_fields import Event
from dftindexd.index.trace.json_line import Record, read_odd_line
from dftindexd.index.trace.lines import LineAssembler, Lines
from dftindexd.index.trace.numbers import UINT64_MAX, whole

__all__ = ("IsWanted", "Line", "events_of_line", "lines_of_text", "records_of_line")

#: Whether any line of a block is asked for.
IsWanted: TypeAlias = Callable[[Lines], bool]

_NO_ARGS: Final[Record] = {}

_decode_json: Final = msgspec.json.Decoder().decode


def records_of_line(line: bytes) -> list[Record]:
    """Return the objects of one line; none for one that is blank, brackets, or bad."""
    try:
        record = _decode_json(line)
        # As many keys as `":` means: no duplicates, nothing nested.
        if len(record) + len(record.get("args", _NO_ARGS)) == line.count(b'":'):
            return [] if _is_rejected(record) else [record]
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass  # the lenient reader decides
    odd = read_odd_line(line)
    if odd is None or any(_is_rejected(record) for record in odd.records):
        return []
    return odd.records


def _is_rejected(record: Record) -> bool:
    """Tell whether a time stamp does not even fit 64 bits: the index has counted the line bad."""
    ts = whole(record.get("ts"))
    return ts is not None and ts > UINT64_MAX


class Line(NamedTuple):
    """One line of a trace: its bytes, its number from 0, and where it begins in the text."""

    text: bytes
    line: int
    uc_offset: int


def events_of_line(line: Line, scale: tuple[int, int]) -> list[Event]:
    """Return the objects of a line; *scale* turns the trace's times into microseconds."""
    events = []
    for record in records_of_line(line.text):
        args = record.get("args")
        events.append(Event(record, args if isinstance(args, dict) else {}, line.line, scale))
    return events


class _Blocks:
    """Keeps what an assembler cuts until it is taken."""

    def __init__(self) -> None:
        self.blocks: list[Lines] = []

    def add_lines(self, lines: Lines) -> int:
        self.blocks.append(lines)
        return lines.text.count(b"\n") + (not lines.text.endswith(b"\n"))

    def add_oversized(self, bad: BadLine, uc_end: int) -> None:
        """Pass over a line that was too long to be indexed."""

    def take(self) -> list[Lines]:
        blocks, self.blocks = self.blocks, []
        return blocks


def lines_of_text(
    pieces: Iterable[bytes], uc_offset: int, line: int, is_wanted: IsWanted = lambda _: True
) -> Iterator[Line]:
    """Yield the lines of text that begins with line number *line* at *uc_offset*.

    A line that is too long to be indexed is left out, and every block of lines that is not wanted.
    """
    blocks = _Blocks()
    assembler = LineAssembler(blocks, uc_offset, line)
    for piece in pieces:
        assembler.feed(piece)
        yield from _lines_of_blocks(filter(is_wanted, blocks.take()))
    assembler.terminate()
    yield from _lines_of_blocks(filter(is_wanted, blocks.take()))


def _lines_of_blocks(blocks: Iterable[Lines]) -> Iterator[Line]:
    for block in blocks:
        position = block.uc_offset
        for number, text in enumerate(block.text.removesuffix(b"\n").split(b"\n"), block.line):
            yield Line(text, number, position)
            position += len(text) + 1
