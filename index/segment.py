"""From a trace file to segments: the entry point of a parser worker.

One pass reads the file, inflates it, cuts it into blocks of lines, decodes them and builds every
tier. Text that no growth can change becomes the closed segment, the rest the provisional one:

=====================  ==============================  ==========================================
trace                  closed                          provisional
=====================  ==============================  ==========================================
gzip                   lines that end in a complete    complete lines of the open last member, the
                       member (or in a faulty one      last line without newline if it is a whole
                       that a whole one follows)       record or the closing bracket
plain                  lines with their newline        the same last line
=====================  ==============================  ==========================================

A line that begins in a complete member and ends in the open one is provisional as a whole, so that
closed text always ends with a newline. A trace whose beginning no longer matches its resume point
was replaced and is read from its beginning.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple, assert_never

import msgspec

from dftindexd.index.model import (
    ParsedTrace,
    ParseRequest,
    ResumePoint,
    Tail,
    TraceFacts,
)
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.json_line import is_whole_line
from dftindexd.index.trace.lines import BLOCK_BYTES, LineAssembler
from dftindexd.index.trace.members import (
    MemberBegin,
    MemberEnd,
    MemberState,
    Note,
    OpenMemberError,
    plain_stretches,
    settled_members,
)
from dftindexd.index.trace.resume import Place, Places, resume_point, still_matches
from dftindexd.index.trace.segment_builder import Segment, SegmentBuilder
from dftindexd.index.trace.trace_file import TraceFile, open_trace

__all__ = ("parse_trace",)

#: Passes over a trace; a large open member costs a second one, and only change a third.
_MAX_PASSES: Final = 3


class _Closed(NamedTuple):
    """The state where the closed text ends."""

    segment: Segment | None
    facts: TraceFacts
    resume: ResumePoint


class _ReplacedError(Exception):
    """The text does not go on where the resume point says: the trace was replaced."""


def parse_trace(request: ParseRequest, *, use_kernel: bool = True) -> ParsedTrace:
    """Read a trace as *request* says; without the kernel the reference reads every line.

    Raises ``TraceGoneError`` if the file is gone, ``OSError`` if it cannot be read. What its bytes
    are never raises: it is told by ``tail``, ``reason`` and the segments' counts and warnings.
    """
    with open_trace(request.path) as file:
        if request.resume is not None and still_matches(file, request.resume):
            try:
                return _parse(file, request, request.resume, use_kernel)
            except _ReplacedError:
                pass  # read from its beginning, as one that does not match at all
        anew = msgspec.structs.replace(request, facts=TraceFacts())
        return _parse(file, anew, None, use_kernel)


def _parse(
    file: TraceFile, request: ParseRequest, resume: ResumePoint | None, use_kernel: bool
) -> ParsedTrace:
    open_from: int | None = None
    for _ in range(_MAX_PASSES):
        try:
            return _Pass(file, request, resume, use_kernel).run(open_from)
        except OpenMemberError as error:
            open_from = error.c_offset
    raise OSError(errno.EAGAIN, "changes while it is read", os.fsdecode(request.path))


class _Pass:
    """One pass over a trace. Text goes to the closed segment, then to the provisional one."""

    def __init__(
        self,
        file: TraceFile,
        request: ParseRequest,
        resume: ResumePoint | None,
        use_kernel: bool,
    ) -> None:
        start = Place(resume.c_offset, resume.uc_offset) if resume else Place(0, 0)
        line_offset, line = (resume.line_offset, resume.line) if resume else (0, 0)
        self._file = file
        self._request = request
        self._use_kernel = use_kernel
        self._resumed = resume is not None
        self._is_plain = not file.is_gzip()
        self._chunk_bytes = max(request.tiers.chunk_bytes, 1)
        self._facts = FactsCollector(request.facts)
        self._places = Places(is_plain=self._is_plain)
        self._places.add(start)
        self._start = start
        self._builder = self._new_builder(start, line_offset, line, provisional=False)
        self._text = LineAssembler(
            self._builder, line_offset, line, min(BLOCK_BYTES, self._chunk_bytes)
        )
        # Text of the first member that is in closed segments already.
        self._to_drop = line_offset - start.uc_offset
        self._uc_offset = start.uc_offset
        self._member_uc_begin = start.uc_offset
        self._c_end = start.c_offset
        self._last_state: MemberState = "complete"
        self._notes: list[str] = []
        self._closed: _Closed | None = None

    def run(self, open_from: int | None) -> ParsedTrace:
        """Read to the end of the file; *open_from* is a member known to be open."""
        begin = self._start.c_offset
        if self._is_plain:
            events = plain_stretches(self._file, begin, self._chunk_bytes)
        else:
            events = settled_members(self._file, begin, open_from)
        for event in events:
            match event:
                case MemberBegin():
                    self._begin_member(event)
                case bytes():
                    self._take_text(event)
                case MemberEnd():
                    self._end_member(event)
                case Note(text):
                    self._notes.append(text)
                    self._builder.add_note(text)
                case _:
                    assert_never(event)
        if self._to_drop:
            raise _ReplacedError
        return self._finish()

    def _begin_member(self, member: MemberBegin) -> None:
        self._places.add(Place(member.c_offset, self._uc_offset))
        self._member_uc_begin = self._uc_offset
        if not member.closed:
            self._close()

    def _take_text(self, piece: bytes) -> None:
        self._uc_offset += len(piece)
        if self._to_drop:
            dropped = piece[: self._to_drop]
            self._to_drop -= len(dropped)
            if not self._to_drop and not dropped.endswith(b"\n"):
                raise _ReplacedError
            piece = piece[len(dropped) :]
        self._text.feed(piece)

    def _end_member(self, member: MemberEnd) -> None:
        if self._to_drop:
            raise _ReplacedError
        self._c_end = member.c_offset
        self._last_state = member.state
        if not member.closed:
            return
        if member.state == "corrupt":
            self._text.terminate()
        self._places.add(Place(member.c_offset, self._uc_offset))
        next_size = self._uc_offset - self._member_uc_begin
        if self._text.whole_end - self._builder.chunk_begin + next_size > self._chunk_bytes:
            self._end_chunk()

    def _end_chunk(self) -> None:
        self._text.flush()
        builder = self._builder
        c_end = builder.uc_end if self._is_plain else self._c_end
        builder.end_chunk(self._places.find(builder.chunk_begin), c_end)
        self._places.forget_before(builder.chunk_begin)

    def _close(self) -> _Closed:
        """End the closed segment; all text from the current line on is provisional."""
        self._end_chunk()
        line_offset, line = self._text.line_offset, self._text.line
        place = self._places.find(line_offset)
        self._closed = _Closed(
            segment=self._builder.finish(),
            facts=self._facts.facts(),
            resume=resume_point(self._file, place, line_offset, line),
        )
        self._builder = self._new_builder(place, line_offset, line, provisional=True)
        self._text.sink = self._builder
        return self._closed

    def _new_builder(
        self, begin: Place, uc_begin: int, line: int, *, provisional: bool
    ) -> SegmentBuilder:
        request = self._request
        return SegmentBuilder(
            request.provisional_id if provisional else request.segment_id,
            provisional=provisional,
            begin=begin,
            uc_begin=uc_begin,
            first_line=line,
            tiers=request.tiers,
            facts=self._facts,
            use_kernel=self._use_kernel,
        )

    def _finish(self) -> ParsedTrace:
        closed = self._closed or self._close()
        self._text.flush()
        last_line = self._text.unfinished()
        if last_line.text and is_whole_line(last_line.text):
            self._builder.add_lines(last_line)
        unfinished = self._text.end - self._builder.uc_end
        if unfinished:
            self._notes.append(f"the last line is unfinished: {unfinished} bytes so far")
        self._end_chunk()
        segments = [found for found in (closed.segment, self._builder.finish()) if found]
        return ParsedTrace(
            stamp=self._file.stamp,
            resumed=self._resumed,
            segments=tuple(segment.summary for segment in segments),
            resume=closed.resume if self._file.size else None,
            facts=closed.facts,
            final_facts=self._facts.facts(),
            tail=self._tail(is_unfinished=unfinished > 0),
            reason="; ".join(self._notes),
            rows=tuple(row for segment in segments for row in segment.rows),
        )

    def _tail(self, *, is_unfinished: bool) -> Tail:
        if self._last_state == "corrupt":
            return "corrupt"
        if not self._uc_offset:
            return "empty"
        return "open" if self._last_state == "open" or is_unfinished else "complete"
