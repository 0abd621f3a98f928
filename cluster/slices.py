"""Slices of one trace: where the text of each begins, so that several workers can read it at once.

A slice ends where a gzip member ends; the line that goes on behind it belongs to the slice in which
it begins. So a slice is what a growing trace gained between two looks at it: reading one goes on
from a resume point, and needs the text's offset and line there. A survey finds them: it inflates
the trace once without looking at its records, which costs a third of parsing it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from dftindexd.cluster.planning import Member
from dftindexd.index.errors import TraceGoneError
from dftindexd.index.model import FileStamp, ParseRequest, ResumePoint, TierConfig, TraceFacts
from dftindexd.index.segment import parse_trace
from dftindexd.index.trace.members import (
    MemberBegin,
    MemberState,
    OpenMemberError,
    inflate,
    settled_members,
)
from dftindexd.index.trace.resume import Place, Places, resume_point
from dftindexd.index.trace.trace_file import GZIP_MAGIC, TraceFile, open_trace

__all__ = ("Slice", "Survey", "gzip_members", "slices_of", "survey")

#: Less than this is not a gzip member.
_LEAST_MEMBER: Final = 18

#: What the beginning of a trace is read with: only its facts are wanted.
_FACTS_ONLY: Final = TierConfig(bloom=False, manifest=False, aggregation=None)


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a trace: from *begin* (``None``: its beginning) to the member that ends at byte
    *until* (``None``: its end). *facts* are what the text before it says of the whole trace."""

    begin: ResumePoint | None = None
    until: int | None = None
    facts: TraceFacts = TraceFacts()


class SurveyedMember(NamedTuple):
    """A gzip member, and the text in it. ``last_line`` is the offset in the whole text behind the
    last newline so far, ``lines`` the number of newlines so far."""

    c_offset: int
    c_size: int
    uc_offset: int
    last_line: int
    lines: int


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The members of the trace that *stamp* shows, none where it cannot be cut: a plain one, or one
    with faults. *facts* are what its first member says of the whole."""

    stamp: FileStamp
    members: tuple[SurveyedMember, ...]
    facts: TraceFacts

    @property
    def sizes(self) -> list[Member]:
        """Each member's offset and size in the file."""
        return [(one.c_offset, one.c_size) for one in self.members]


def gzip_members(path: str) -> list[Member]:
    """Return the offset and size of each gzip member of the file at *path*, found by inflating it.

    What follows a member and is none belongs to it. A plain, missing or unreadable file has none.
    """
    try:
        with open_trace(os.fsencode(path)) as file:
            begins = _member_begins(file)
            ends = [*begins[1:], file.size]
    except (OSError, TraceGoneError):
        return []
    return [(begin, end - begin) for begin, end in zip(begins, ends, strict=False)]


def _member_begins(file: TraceFile) -> list[int]:
    if not file.is_gzip() or file.size < _LEAST_MEMBER:
        return []
    begins: list[int] = []
    with suppress(OpenMemberError):  # the last one
        events = settled_members(file, 0, None, hold_bytes=0)
        begins.extend(event.c_offset for event in events if isinstance(event, MemberBegin))
    return begins


def survey(path: str) -> Survey:
    """Inflate the trace at *path* once and say where it can be cut.

    :raises TraceGoneError: it is gone.
    :raises OSError: it cannot be read.
    """
    with open_trace(os.fsencode(path)) as file:
        members = tuple(_surveyed(file)) if file.is_gzip() else ()
        stamp = file.stamp
    if len(members) < 2:
        return Survey(stamp=stamp, members=(), facts=TraceFacts())
    head = ParseRequest(
        path=os.fsencode(path),
        segment_id=1,
        provisional_id=2,
        tiers=_FACTS_ONLY,
        until=members[1].c_offset,
    )
    # Little is read, and the kernel, which reads one trace at a time, may be at work beside.
    return Survey(stamp=stamp, members=members, facts=parse_trace(head, use_kernel=False).facts)


def _surveyed(file: TraceFile) -> list[SurveyedMember]:
    """Return all members, or nothing if one of them is not as it should be."""
    members: list[SurveyedMember] = []
    c_offset = uc_offset = last_line = lines = 0
    while c_offset < file.size:
        if file.read(c_offset, len(GZIP_MAGIC)) != GZIP_MAGIC:
            return []
        uc_begin = uc_offset
        body = _Ended(inflate(file, c_offset))
        for piece in body:
            newline = piece.rfind(b"\n")
            lines += piece.count(b"\n")
            last_line = uc_offset + newline + 1 if newline >= 0 else last_line
            uc_offset += len(piece)
        state, end = body.result
        if state == "corrupt":
            return []
        members.append(SurveyedMember(c_offset, end - c_offset, uc_begin, last_line, lines))
        c_offset = end
    return members


class _Ended:
    """Passes a member's text on and keeps how it ended."""

    def __init__(self, body: Generator[bytes, None, tuple[MemberState, int]]) -> None:
        self._body = body
        self.result: tuple[MemberState, int] = ("open", 0)

    def __iter__(self) -> Iterator[bytes]:
        self.result = yield from self._body


def slices_of(path: str, surveyed: Survey, cuts: Sequence[tuple[int, int]]) -> list[Slice]:
    """Return the slices of the members ``begin .. end`` that *cuts* name, of a trace with any.

    :raises TraceGoneError: the trace is gone.
    :raises OSError: it cannot be read.
    """
    return [_slice(os.fsencode(path), surveyed, begin, end) for begin, end in cuts]


def _slice(path: bytes, surveyed: Survey, begin: int, end: int) -> Slice:
    members = surveyed.members
    until = members[end].c_offset if end < len(members) else None
    if not begin:
        return Slice(until=until)
    before = members[begin - 1]
    places = Places(is_plain=False)
    for one in members[: begin + 1]:
        places.add(Place(one.c_offset, one.uc_offset))
    place = places.find(before.last_line)
    # Of no more than every reader of the slice looks at.
    with open_trace(path, until=members[begin].c_offset) as file:
        resume = resume_point(file, place, before.last_line, before.lines)
    return Slice(begin=resume, until=until, facts=surveyed.facts)
