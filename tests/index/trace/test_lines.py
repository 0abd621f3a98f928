"""Lines are cut right wherever the pieces of text end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.index.model import BadLine
from dftindexd.index.trace.lines import LineAssembler, Lines


class _Recorder:
    def __init__(self) -> None:
        self.blocks: list[Lines] = []
        self.oversized: list[tuple[BadLine, int]] = []

    def add_lines(self, lines: Lines) -> int:
        assert lines.text
        self.blocks.append(lines)
        return lines.text.count(b"\n") + (not lines.text.endswith(b"\n"))

    def add_oversized(self, bad: BadLine, uc_end: int) -> None:
        self.oversized.append((bad, uc_end))


_pieces = st.lists(st.text("ab\n", max_size=9).map(str.encode), max_size=20)


@given(pieces=_pieces, block_bytes=st.integers(1, 30))
def test_blocks_are_the_text_in_whole_lines(pieces: list[bytes], block_bytes: int) -> None:
    sink = _Recorder()
    assembler = LineAssembler(sink, 100, 7, block_bytes)
    for piece in pieces:
        assembler.feed(piece)
    assembler.flush()
    text = b"".join(pieces)
    whole = text[: text.rfind(b"\n") + 1]
    assert b"".join(block.text for block in sink.blocks) == whole
    assert assembler.unfinished() == Lines(
        text[len(whole) :], 100 + len(whole), 7 + whole.count(b"\n")
    )
    for block in sink.blocks:
        assert block.text.endswith(b"\n")
        begin = block.uc_offset - 100
        assert text[begin : begin + len(block.text)] == block.text
        assert block.line == 7 + text[:begin].count(b"\n")


@given(pieces=_pieces, block_bytes=st.integers(1, 30))
def test_every_line_is_handed_over_or_too_long(pieces: list[bytes], block_bytes: int) -> None:
    sink = _Recorder()
    assembler = LineAssembler(sink, 0, 0, block_bytes, max_line_bytes=12)
    for piece in pieces:
        assembler.feed(piece)
    assembler.terminate()
    text = b"".join(pieces)
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    long = [number for number, line in enumerate(lines) if len(line) > 12]
    assert [bad.line for bad, _ in sink.oversized] == long
    for bad, _ in sink.oversized:
        assert len(bad.sample) > 12
        assert lines[bad.line].startswith(bad.sample)
    kept = [line for number, line in enumerate(lines) if number not in long]
    assert b"".join(block.text for block in sink.blocks).split(b"\n")[: len(kept)] == kept
    assert (assembler.line, assembler.line_offset) == (len(lines), len(text))


def test_a_line_that_is_skipped_is_not_held() -> None:
    sink = _Recorder()
    assembler = LineAssembler(sink, 0, 0, max_line_bytes=100)
    for _ in range(1000):
        assembler.feed(b"x" * 64)
        assert len(assembler.unfinished().text) <= 100
    assembler.feed(b"\nshort\n")
    assembler.flush()
    assert sink.oversized == [(BadLine(0, 0, b"x" * 80), 64_001)]
    assert sink.blocks == [Lines(b"short\n", 64_001, 1)]
