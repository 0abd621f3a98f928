"""From parts to commits: which parts make a whole trace, and which traces the store lacks.

Pure functions. Parts may come in any order, twice, from several attempts, or too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from dftindexd.index.artifacts.batch import Part
from dftindexd.index.model import FileStamp, ParsedTrace, TierConfig, TraceFacts
from dftindexd.index.tier_sets import Sets, find_set

__all__ = ("TOO_LATE", "Assembled", "assemble", "base_version", "grouped")

#: A version that no set has: the registry refuses what is planned on it, and its rows go.
TOO_LATE: Final = -1


class Assembled(NamedTuple):
    """A whole trace, or *reason* why there is none. *unused* parts are of other attempts."""

    parsed: ParsedTrace | None
    unused: tuple[Part, ...]
    reason: str = ""


def grouped(parts: Iterable[Part]) -> dict[tuple[bytes, TierConfig], list[Part]]:
    """Return the parts of each trace and tier set, in their order."""
    groups: dict[tuple[bytes, TierConfig], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.path, part.tiers), []).append(part)
    return groups


def assemble(parts: Sequence[Part]) -> Assembled:
    """Put the parts of one trace together: a whole one if there is any, else slices, of which each
    begins where the one before it ends, all of one state of the file."""
    for part in parts:
        if part.begin == 0 and part.is_last:
            return Assembled(part.parsed, _without(parts, [part]))
    reason = ""
    for stamp in dict.fromkeys(part.parsed.stamp for part in parts):
        chain, reason = _chain([part for part in parts if part.parsed.stamp == stamp])
        if not reason:
            return Assembled(_joined(chain), _without(parts, chain))
    return Assembled(None, tuple(parts), reason)


def _chain(parts: Sequence[Part]) -> tuple[list[Part], str]:
    """Return the slices from the beginning on, and why they do not reach the end."""
    begins: dict[int, Part] = {}
    for part in parts:
        begins.setdefault(part.begin, part)
    chain: list[Part] = []
    while not chain or not chain[-1].is_last:
        resume = chain[-1].parsed.resume if chain else None
        begin = resume.line_offset if resume is not None else 0
        if begin not in begins:
            return chain, f"the slice from byte {begin} of its text is missing"
        part = begins.pop(begin)
        if chain and part.given.time_metric != chain[-1].parsed.facts.time_metric:
            return chain, "its unit of time changes between slices"
        chain.append(part)
    return chain, ""


def _joined(chain: Sequence[Part]) -> ParsedTrace:
    """Return what one parse would have: the segments of all, and the facts of the last slice."""
    last = chain[-1].parsed
    ends = [part.parsed.final_facts for part in chain]
    return msgspec.structs.replace(
        last,
        segments=tuple(segment for part in chain for segment in part.parsed.segments),
        facts=_with_ends(last.facts, ends),
        final_facts=_with_ends(last.final_facts, ends),
        reason="; ".join(dict.fromkeys(p.parsed.reason for p in chain if p.parsed.reason)),
    )


def _with_ends(facts: TraceFacts, before: Sequence[TraceFacts]) -> TraceFacts:
    """Return *facts* with what only a slice *before* has seen."""
    announced = (one.announced for one in before if one.announced is not None)
    return msgspec.structs.replace(
        facts,
        generation=next((one.generation for one in before if one.generation), ""),
        end_seen=any(one.end_seen for one in before),
        announced=next(announced, None),
        bracket_closed=any(one.bracket_closed for one in before),
    )


def _without(parts: Sequence[Part], used: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if not any(part is one for one in used))


def base_version(
    sets: Sets, tiers: TierConfig, stamp: FileStamp, on_disk: FileStamp | None, *, forced: bool
) -> int:
    """Return on which version of the set *tiers* of a trace, which has *sets*, a parse is committed
    that shows the file as *stamp* does; ``TOO_LATE`` where the store holds the same already, or
    what is *on_disk* and the parse does not show."""
    current = any(one.stamp == on_disk and not one.quarantined for one in sets)
    if current and stamp != on_disk:
        return TOO_LATE
    old = find_set(sets, tiers)
    if old is None:
        return 0
    is_new = forced or old.quarantined or old.stamp != stamp
    return old.version if is_new else TOO_LATE
