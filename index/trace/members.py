"""From a trace's bytes to its text, member by member, each known to be closed or not.

A member is *closed* when no later growth can change its text: it is complete, or it is faulty and a
whole member follows. Only the last member of a trace can be anything else. That it is shows only at
its end, so a member's text is held back until then; one that is larger than ``hold_bytes`` is taken
as closed at once, and if that was wrong, :class:`OpenMemberError` says from where on the caller has
to read again with that knowledge. Memory is bounded either way.

A plain trace is one closed text, given in stretches, so that chunks are cut as between members.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from isal import isal_zlib

from dftindexd.index.trace.recovery import (
    GZIP,
    Bytes,
    Format,
    InflateError,
    MemberSearch,
    salvage,
)
from dftindexd.index.trace.trace_file import GZIP_MAGIC, TraceFile

__all__ = (
    "HOLD_BYTES",
    "Event",
    "MemberBegin",
    "MemberEnd",
    "MemberState",
    "Note",
    "OpenMemberError",
    "inflate",
    "member_text",
    "plain_stretches",
    "settled_members",
)

#: How much text of one member is held back until it is known to be closed.
HOLD_BYTES: Final = 32 << 20

# Feeds grow within a member: what follows a small one is not read and copied for nothing.
_FIRST_FEED: Final = 16 << 10
_LAST_FEED: Final = 1 << 20
_PIECE: Final = 1 << 20

MemberState: TypeAlias = Literal["complete", "open", "corrupt"]


class MemberBegin(NamedTuple):
    """A member starts at ``c_offset``; its text follows."""

    c_offset: int
    closed: bool


class MemberEnd(NamedTuple):
    """The member's text ended. ``c_offset`` is where reading goes on."""

    c_offset: int
    state: MemberState
    closed: bool


class Note(NamedTuple):
    """Something about the container that its reader should know."""

    text: str


#: ``bytes`` are a piece of text, between a begin and an end.
Event: TypeAlias = MemberBegin | bytes | MemberEnd | Note


class OpenMemberError(Exception):
    """The member at ``c_offset`` was taken as closed and is not."""

    def __init__(self, c_offset: int) -> None:
        super().__init__(f"the member at byte {c_offset} is open")
        self.c_offset = c_offset


def plain_stretches(file: TraceFile, begin: int, stretch_bytes: int) -> Iterator[Event]:
    """Give a plain trace's text from *begin* in closed stretches of about *stretch_bytes*."""
    position = begin
    while position < file.size:
        yield MemberBegin(position, closed=True)
        stretch_end = position + stretch_bytes
        while position < stretch_end:
            piece = file.read(position, min(_PIECE, stretch_end - position))
            if not piece:
                break
            position += len(piece)
            yield piece
        yield MemberEnd(position, "complete", closed=True)
        if position < stretch_end:
            return


def settled_members(
    file: TraceFile, begin: int, open_from: int | None, hold_bytes: int = HOLD_BYTES
) -> Iterator[Event]:
    """Give the members from *begin* on, each with the right ``closed`` at its beginning.

    *open_from* is the offset of a member known to be open. Raises :class:`OpenMemberError`.
    """
    for member_begin, body in _members(file, begin):
        if isinstance(body, Note):
            yield body
            continue
        held: list[bytes | Note] = []
        size = 0
        end: MemberEnd | None = None
        closed = member_begin != open_from
        for event in body:
            if isinstance(event, MemberEnd):
                end = event
                break
            held.append(event)
            size += len(event) if isinstance(event, bytes) else 0
            if size > hold_bytes:
                break
        if end is not None:
            closed = end.closed
        yield MemberBegin(member_begin, closed)
        yield from held
        held.clear()
        for event in body:
            if isinstance(event, MemberEnd):
                end = event
            else:
                yield event
        if end is None:
            raise AssertionError(f"the member at byte {member_begin} has no end")
        if closed and not end.closed:
            raise OpenMemberError(member_begin)
        yield end._replace(closed=closed)


def member_text(file: TraceFile, begin: int) -> Iterator[bytes]:
    """Give the text of the members from *begin* on in pieces, the same as a parse gets it."""
    for _, body in _members(file, begin):
        if not isinstance(body, Note):
            yield from (event for event in body if isinstance(event, bytes))


_Body: TypeAlias = Iterator[bytes | MemberEnd | Note]


def _members(file: TraceFile, begin: int) -> Iterator[tuple[int, _Body | Note]]:
    """Give each member's offset and body; a body must be used up before the next is asked for."""
    search = MemberSearch(file)
    position = begin
    while position < file.size:
        head = file.read(position, len(GZIP_MAGIC))
        if not head:
            return
        if GZIP_MAGIC.startswith(head):
            end = _EndSeen()
            yield position, end.watch(_body(file, position, search))
            position = end.c_offset
            continue
        found = search.next_member(position)
        until = file.size if found is None else found
        yield position, Note(f"{until - position} bytes at byte {position} are not gzip; skipped")
        position = until


class _EndSeen:
    """Passes a body on and keeps where it ended."""

    __slots__ = ("c_offset",)

    def __init__(self) -> None:
        self.c_offset = 0

    def watch(self, body: _Body) -> _Body:
        for event in body:
            if isinstance(event, MemberEnd):
                self.c_offset = event.c_offset
            yield event


def _body(file: TraceFile, begin: int, search: MemberSearch) -> _Body:
    state, end = yield from inflate(file, begin)
    if state != "corrupt":
        yield MemberEnd(end, state, closed=state == "complete")
        return
    found = search.next_member(begin + 1)
    what = "reading goes on at the next whole one" if found is not None else "nothing whole follows"
    if search.exhausted:
        what = "too many false members follow; the rest is not searched"
    yield Note(f"corrupt gzip member at byte {begin}: {what}")
    yield MemberEnd(file.size if found is None else found, "corrupt", closed=found is not None)


def inflate(
    file: Bytes, begin: int, stream: Format = GZIP
) -> Generator[bytes, None, tuple[MemberState, int]]:
    """Yield the text of one compressed stream, a member's; return its state and where it ends."""
    inflater = isal_zlib.decompressobj(wbits=stream.wbits, zdict=stream.window)
    position = begin
    delivered = 0
    feed_size = _FIRST_FEED
    feed = b""
    while True:
        at_end = False
        if not feed:
            feed = file.read(position, feed_size)
            position += len(feed)
            feed_size = min(feed_size * 2, _LAST_FEED)
            at_end = not feed
        try:
            text = inflater.decompress(feed, _PIECE)
        except InflateError:
            yield from salvage(file, begin, delivered, stream)
            return "corrupt", position
        if text:
            delivered += len(text)
            yield text
        if inflater.eof:
            return "complete", position - len(inflater.unused_data)
        if at_end and not text:
            return "open", file.size
        feed = inflater.unconsumed_tail
