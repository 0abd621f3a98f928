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

What is kept of a segment until its end grows with its distinct texts and groups. Where these are
very many it ends early, at the end of a chunk, and another one goes on: memory is bounded whatever
the trace holds.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Final, NamedTuple, assert_never

import msgspec

from dftindexd.index.model import (
    ParsedTrace,
    ParseRequest,
    ResumePoint,
    SegmentSummary,
    Tail,
    TraceFacts,
)
from dftindexd.index.row_sink import HeldRows, RowSink
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
from dftindexd.index.trace.seek_points import SeekPoints, spacing_for
from dftindexd.index.trace.segment_builder import SegmentBuilder
from dftindexd.index.trace.trace_file import Meter, TraceFile, open_trace

__all__ = ("MOST_HELD", "parse_trace")

#: How many distinct texts, names and groups a segment may hold before it ends early. Until then
#: each takes 0.5 to 2.5 kB.
MOST_HELD: Final = 100_000

#: Passes over a trace; a large open member costs a second one, and only change a third.
_MAX_PASSES: Final = 3


class _Closed(NamedTuple):
    """The state where the closed text ends."""

    facts: TraceFacts
    resume: ResumePoint


class _ReplacedError(Exception):
    """The text does not go on where the resume point says: the trace was replaced."""


def parse_trace(
    request: ParseRequest,
    *,
    use_kernel: bool = True,
    sink: RowSink | None = None,
    most_held: int = MOST_HELD,
    meter: Meter | None = None,
) -> ParsedTrace:
    """Read a trace as *request* says; without the kernel the reference reads every line.

    The rows go to *sink*, without one they are part of what is returned. A segment that holds
    *most_held* distinct texts and groups is followed by another. *meter* is told all that is read
    and inflated.

    Raises ``TraceGoneError`` if the file is gone, ``OSError`` if it cannot be read. What its bytes
    are never raises: it is told by ``tail``, ``reason`` and the segments' counts and warnings.
    """
    held = HeldRows()
    how = _How(use_kernel, sink or held, most_held)
    with open_trace(request.path, meter, request.until) as file:
        if request.resume is not None and still_matches(file, request.resume):
            try:
                return held.add_to(_parse(file, request, request.resume, how))
            except _ReplacedError:
                how.sink.drop()  # read from its beginning, as one that does not match at all
        if request.facts != TraceFacts():
            request = msgspec.structs.replace(request, facts=TraceFacts())
        return held.add_to(_parse(file, request, None, how))


def _parse(
    file: TraceFile, request: ParseRequest, resume: ResumePoint | None, how: _How
) -> ParsedTrace:
    open_from: int | None = None
    for _ in range(_MAX_PASSES):
        try:
            return _Pass(file, request, resume, how).run(open_from)
        except OpenMemberError as error:
            open_from = error.c_offset
            how.sink.drop()
    raise OSError(errno.EAGAIN, "changes while it is read", os.fsdecode(request.path))


class _How(NamedTuple):
    """What the arguments of :func:`parse_trace` say."""

    use_kernel: bool
    sink: RowSink
    most_held: int


class _Pass:
    """One pass over a trace. Text goes to the closed segment, then to the provisional one."""

    def __init__(
        self,
        file: TraceFile,
        request: ParseRequest,
        resume: ResumePoint | None,
        how: _How,
    ) -> None:
        start = Place(resume.c_offset, resume.uc_offset) if resume else Place(0, 0)
        line_offset, line = (resume.line_offset, resume.line) if resume else (0, 0)
        self._file = file
        self._request = request
        self._how = how
        self._resumed = resume is not None
        self._is_plain = not file.is_gzip()
        self._chunk_bytes = max(request.tiers.chunk_bytes, 1)
        self._spacing = spacing_for(self._chunk_bytes)
        self._facts = FactsCollector(request.facts)
        self._places = Places(is_plain=self._is_plain)
        self._places.add(start)
        self._seek_points: SeekPoints | None = None  # of the large member being read
        self._seek_place: Place | None = None  # where the chunk begins inside it
        self._start = start
        self._segments: list[SegmentSummary] = []
        self._provisional = False
        self._serial = 0  # of the current segment, among those of its kind
        self._hurries = False  # to the next seek point, because the segment is full
        self._builder = self._new_builder(start, line_offset, line)
        self._text = LineAssembler(
            self._builder, line_offset, line, min(BLOCK_BYTES, self._chunk_bytes)
        )
        # Text of the first member that is in closed segments already.
        self._to_drop = line_offset - start.uc_offset
        self._uc_offset = start.uc_offset
        self._member = start
        self._next_cut = 0
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
                    self._note(text)
                case _:
                    assert_never(event)
        if self._to_drop:
            raise _ReplacedError
        return self._finish()

    def _begin_member(self, member: MemberBegin) -> None:
        begin = Place(member.c_offset, self._uc_offset)
        self._places.add(begin)
        if not member.closed:
            self._close()
            self._begin_provisional()
        self._member = begin
        self._seek_points = None
        self._next_cut = max(self._uc_offset, self._builder.chunk_begin) + self._chunk_bytes

    def _take_text(self, piece: bytes) -> None:
        self._uc_offset += len(piece)
        self._file.meter.note(len(piece), self._file.reached)
        if self._to_drop:
            dropped = piece[: self._to_drop]
            self._to_drop -= len(dropped)
            if not self._to_drop and not dropped.endswith(b"\n"):
                raise _ReplacedError
            piece = piece[len(dropped) :]
        step = max(self._chunk_bytes, self._spacing)  # most often more than there is
        for begin in range(0, len(piece), step):
            self._text.feed(piece[begin : begin + step])
            if self._is_full:
                self._hurry()
            if self._text.whole_end >= self._next_cut and not self._is_plain:
                self._cut_member()

    @property
    def _is_full(self) -> bool:
        """Whether the segment is to end with its chunk, and that is to end soon."""
        return self._builder.held >= self._how.most_held and self._serial + 1 < self._request.run

    def _hurry(self) -> None:
        """End the chunk of a full segment as soon as one can begin."""
        if self._is_plain or (self._seek_points is not None and self._seek_points.fault):
            self._end_chunk(self._file.size)
        elif not self._hurries:
            self._hurries = True
            self._next_cut = 0

    def _cut_member(self) -> None:
        """End the chunk inside a large member, if there is a seek point for the next one."""
        chunk_begin, whole_end = self._builder.chunk_begin, self._text.whole_end
        if self._seek_points is None:
            self._seek_points = SeekPoints(self._file, self._member, self._spacing)
        found = self._seek_points.last_before(whole_end)
        if found is not None and found.place.uc_offset > chunk_begin:
            self._end_chunk(found.c_end)
            self._next_cut = whole_end + self._chunk_bytes
            return
        self._next_cut = whole_end + self._spacing
        if self._seek_points.fault:
            self._next_cut = sys.maxsize
            self._note(
                f"no more seek points in the gzip member at byte {self._member.c_offset}: "
                f"{self._seek_points.fault}"
            )

    def _end_member(self, member: MemberEnd) -> None:
        if self._to_drop:
            raise _ReplacedError
        self._c_end = member.c_offset
        self._last_state = member.state
        if not member.closed:
            return
        self._places.add(Place(member.c_offset, self._uc_offset))
        if member.state == "corrupt":  # a line that ends without newline is the last of a chunk
            self._text.terminate()
            self._end_chunk(member.c_offset)
        next_size = self._uc_offset - self._member.uc_offset
        size = self._text.whole_end - self._builder.chunk_begin + next_size
        if size > self._chunk_bytes or self._is_full:
            self._end_chunk(member.c_offset)

    def _end_chunk(self, c_end: int) -> None:
        """End the chunk after the last whole line, for which byte *c_end* is not needed."""
        self._text.flush()
        builder = self._builder
        if self._is_plain:
            c_end = builder.uc_end
        builder.end_chunk(self._place_of_chunk(), c_end)
        self._places.forget_before(builder.chunk_begin)
        self._seek_place = self._seek_place_before(builder.chunk_begin)
        if builder.held >= self._how.most_held:
            self._end_early()

    def _place_of_chunk(self) -> Place:
        begin = self._places.find(self._builder.chunk_begin)
        if self._seek_place is not None and self._seek_place.uc_offset > begin.uc_offset:
            return self._seek_place
        return begin

    def _end_early(self) -> None:
        """End a segment that holds too much; another one goes on from here."""
        if not self._is_full:
            self._note_once(
                f"there are too many distinct texts for {self._request.run} segments; "
                "the last one takes the rest"
            )
            return
        before = self._builder
        self._end_segment()
        self._serial += 1
        self._go_on(self._place_of_chunk(), before.uc_end, before.line)

    def _end_segment(self) -> None:
        segment = self._builder.finish()
        if segment is not None:
            self._segments.append(segment.summary)
            self._how.sink.take(segment.rows)

    def _go_on(self, begin: Place, uc_begin: int, line: int) -> None:
        self._builder = self._new_builder(begin, uc_begin, line)
        self._text.sink = self._builder
        self._hurries = False

    def _seek_place_before(self, uc_offset: int) -> Place | None:
        """Return the seek point for a chunk that begins inside the large member."""
        if self._seek_points is None or self._places.find(uc_offset).uc_offset == uc_offset:
            return None
        found = self._seek_points.last_before(uc_offset)
        return found.place if found is not None else None

    def _note_once(self, text: str) -> None:
        if text not in self._notes:
            self._note(text)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._builder.add_note(text)

    def _close(self) -> _Closed:
        """End the closed segment, so that its builder is used up."""
        self._end_chunk(self._c_end)
        self._end_segment()
        line_offset, line = self._text.line_offset, self._text.line
        place = self._places.find(line_offset)
        self._closed = _Closed(
            facts=self._facts.facts(),
            resume=resume_point(self._file, place, line_offset, line),
        )
        return self._closed

    def _begin_provisional(self) -> None:
        """Have all text from the current line on go to the provisional segment."""
        line_offset, line = self._text.line_offset, self._text.line
        place = self._places.find(line_offset)
        self._provisional, self._serial = True, 0
        self._go_on(place, line_offset, line)

    def _new_builder(self, begin: Place, uc_begin: int, line: int) -> SegmentBuilder:
        request = self._request
        first_id = request.provisional_id if self._provisional else request.segment_id
        return SegmentBuilder(
            first_id + self._serial,
            provisional=self._provisional,
            begin=begin,
            uc_begin=uc_begin,
            first_line=line,
            tiers=request.tiers,
            facts=self._facts,
            use_kernel=self._how.use_kernel,
        )

    def _finish(self) -> ParsedTrace:
        is_closed = self._closed is not None
        closed = self._closed or self._close()
        unfinished = 0
        is_left = is_closed or self._text.end > self._builder.uc_end  # most often nothing is
        if is_left and self._request.until is None:
            if not is_closed:
                self._begin_provisional()
            unfinished = self._finish_provisional()
        return ParsedTrace(
            stamp=self._file.stamp,
            resumed=self._resumed,
            segments=tuple(self._segments),
            resume=closed.resume if self._file.size else None,
            facts=closed.facts,
            final_facts=self._facts.facts(),
            tail=self._tail(is_unfinished=unfinished > 0),
            reason="; ".join(self._notes),
        )

    def _finish_provisional(self) -> int:
        """End the provisional segment; return how many bytes of an unfinished line are in none."""
        self._text.flush()
        last_line = self._text.unfinished()
        if last_line.text and is_whole_line(last_line.text):
            self._builder.add_lines(last_line)
        unfinished = self._text.end - self._builder.uc_end
        if unfinished:
            self._notes.append(f"the last line is unfinished: {unfinished} bytes so far")
        self._end_chunk(self._c_end)
        self._end_segment()
        return unfinished

    def _tail(self, *, is_unfinished: bool) -> Tail:
        if self._last_state == "corrupt":
            return "corrupt"
        if not self._uc_offset:
            return "empty"
        return "open" if self._last_state == "open" or is_unfinished else "complete"
