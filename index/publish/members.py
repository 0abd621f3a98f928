"""The gzip members of a trace as dftracer-utils 0.0.12 finds and shares them out.

It looks for their headers in the bytes of the file, and gives each of up to 16 workers the same
number of members that follow one another. A worker sets a checkpoint at the first block of deflate
that begins when 32 MiB of text or more have come since its last one, or since its first member. So
a trace of small members has none, however large it is. How much text a member has stands at its
end; nothing is inflated to know where a checkpoint can be at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from dftindexd.index.trace.recovery import Bytes
from dftindexd.index.trace.trace_file import GZIP_MAGIC

__all__ = ("CHECKPOINT_BYTES", "Member", "can_have_checkpoints", "members_of", "shares")

#: Bytes of text after which a checkpoint is due.
CHECKPOINT_BYTES: Final = 32 << 20

_MOST_WORKERS: Final = 16
#: Flags, time, extra flags and system as a header has them.
_HEADER: Final = re.compile(
    re.escape(GZIP_MAGIC) + rb"[\x00-\x1f].{4}[\x00\x02\x04][\x00-\x0d\xff]", re.DOTALL
)
_HEADER_BYTES: Final = 10
_READ_BYTES: Final = 256 << 10
_SIZE_BYTES: Final = 4


class Member(NamedTuple):
    """Where a member lies in the file, and how many bytes of text it has."""

    begin: int
    end: int
    size: int


def members_of(file: Bytes, text_bytes: int) -> list[Member]:
    """Return the members of a trace of *text_bytes*; none where these are not what is found.

    That is so for a trace that is damaged or not finished, and for one of several members with one
    of more than 4 GiB.
    """
    begins = list(_headers(file))
    if not begins or begins[0]:
        return []
    members = [
        Member(begin, end, _written_size(file, end))
        for begin, end in pairwise([*begins, file.size])
    ]
    if len(members) == 1 and members[0].size == text_bytes % 2**32:
        return [members[0]._replace(size=text_bytes)]
    return members if sum(member.size for member in members) == text_bytes else []


def _headers(file: Bytes) -> Iterator[int]:
    for begin in range(0, file.size, _READ_BYTES):
        data = file.read(begin, _READ_BYTES + _HEADER_BYTES - 1)
        for found in _HEADER.finditer(data):
            yield begin + found.start()


def _written_size(file: Bytes, end: int) -> int:
    return int.from_bytes(file.read(end - _SIZE_BYTES, _SIZE_BYTES), "little")


def shares(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """Give the members of each worker."""
    workers = min(_MOST_WORKERS, len(members))
    begin = 0
    for worker in range(workers):
        end = begin + len(members) // workers + (worker < len(members) % workers)
        yield members[begin:end]
        begin = end


def can_have_checkpoints(members: Sequence[Member]) -> bool:
    """Tell whether a worker has text enough for a checkpoint; it may yet find no block for it."""
    return any(sum(one.size for one in share) > CHECKPOINT_BYTES for share in shares(members))
