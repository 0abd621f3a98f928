"""What some records hold in all: those of a chunk, of a trace, or of every trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from dftindexd.index.publish.encoding import text, u32, u64
from dftindexd.index.publish.totals import Totals
from dftindexd.index.tiers.distributions import add_counts

__all__ = ("Counts", "Summary", "encoded_counts", "merged_summary", "pairs")

Counts = dict[str, int]


class Summary(msgspec.Struct):
    """Records by category, name and thread (``pid:tid``); newlines and bytes of the text; the
    processes; and how many chunks have any record."""

    totals: Totals = msgspec.field(default_factory=Totals)
    cats: Counts = {}
    names: Counts = {}
    threads: Counts = {}
    newlines: int = 0
    text_bytes: int = 0
    pids: set[int] = set()
    chunks: int = 0

    def add(self, part: Summary) -> None:
        """Take other records as well."""
        self.totals.add(part.totals)
        add_counts(self.cats, part.cats)
        add_counts(self.names, part.names)
        add_counts(self.threads, part.threads)
        self.newlines += part.newlines
        self.text_bytes += part.text_bytes
        self.pids |= part.pids
        self.chunks += part.chunks


def merged_summary(parts: Iterable[Summary]) -> Summary:
    """Return what *parts* hold together; of one part it is the part."""
    listed = list(parts)
    if len(listed) == 1:
        return listed[0]
    merged = Summary()
    for part in listed:
        merged.add(part)
    return merged


def encoded_counts(counts: Mapping[str, int]) -> bytes:
    """Return how often each text occurs, after how many texts there are."""
    return u32(len(counts)) + pairs(counts)


def pairs(counts: Mapping[str, int]) -> bytes:
    """Return texts, each with its count."""
    return b"".join(text(value) + u64(count) for value, count in counts.items())
