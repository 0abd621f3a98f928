"""What is known to be damaged in one store, and what is due because of it.

Damage is of segments. A trace is damaged as long as one of its records names such a segment, so
that parsing it anew heals it, whoever does that. Nothing here does any I/O; all of it belongs to
the event loop, but :meth:`Damage.of` may be asked from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from rpds import HashTrieMap

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.tier_sets import Sets, cover

__all__ = ("MOST_REPAIRS", "Damage", "Due")

#: How often one trace is parsed anew because of damage before its whole store is.
MOST_REPAIRS: Final = 3

_Traces: TypeAlias = "HashTrieMap[bytes, Sets]"


class Due(NamedTuple):
    """What is to be done now: traces to parse anew, sets to drop because nobody needs them, and why
    the store is to be set aside (``""``: it is not)."""

    parse: tuple[bytes, ...] = ()
    drop: Sets = ()
    condemn: str = ""


class Damage:
    """The damaged segments of a store with the reason of each."""

    def __init__(self) -> None:
        self.repairs = 0
        """How many times a trace was parsed anew because of damage."""
        self._segments: dict[int, str] = {}
        self._suspects: dict[bytes, None] = {}
        self._begun: dict[bytes, frozenset[int]] = {}
        self._counts: dict[bytes, int] = {}

    def note(self, segments: Iterable[int], reason: str, traces: _Traces) -> list[bytes]:
        """Note that *segments* are damaged; return the traces that have them and are damaged."""
        new = {segment: reason for segment in segments if segment not in self._segments}
        self._segments.update(new)
        named = (
            [path for path, sets in traces.items() if any(_names(one, new) for one in sets)]
            if new
            else []
        )
        self._suspects.update(dict.fromkeys(named))
        return named

    def of(self, records: Iterable[TraceRecord]) -> StoreDamagedError | None:
        """Return the error for an answer that would need *records*, ``None`` if all are well."""
        if not self._segments:
            return None
        for record in records:
            for segment in record.segments:
                reason = self._segments.get(segment.segment_id)
                if reason is not None:
                    return StoreDamagedError(
                        reason,
                        "the trace is being rebuilt from disk",
                        segments=frozenset((segment.segment_id,)),
                    )
        return None

    def reasons(self, traces: _Traces) -> dict[bytes, str]:
        """Return the traces that are damaged now, with the reason of each."""
        reasons: dict[bytes, str] = {}
        for path in list(self._suspects):
            error = self.of(traces.get(path, ()))
            if error is None:
                del self._suspects[path]
                self._begun.pop(path, None)
            else:
                reasons[path] = error.message
        return reasons

    def due(self, traces: _Traces, seen: Mapping[bytes, object], wanted: TierConfig) -> Due:
        """Return what to do about the damage of *traces* and note that it is being done.

        :param seen: the traces that are known to be on disk; others are removed anyway.
        :param wanted: the tiers that are kept up to date; a damaged set that gives none of them
            is dropped.
        """
        if not self._suspects:
            return Due()
        parse: list[bytes] = []
        drop: list[TraceRecord] = []
        for path, reason in self.reasons(traces).items():
            sets = traces[path]
            damaged = [one for one in sets if _names(one, self._segments)]
            segments = frozenset(one.segment_id for each in damaged for one in each.segments)
            if path not in seen or self._begun.get(path) == segments:
                continue
            self._begun[path] = segments
            used = cover(sets, wanted).used
            drop += [one for one in damaged if one not in used]
            if not any(one in used for one in damaged):
                continue
            count = self._counts[path] = self._counts.get(path, 0) + 1
            if count > MOST_REPAIRS:
                return Due(condemn=f"a trace was rebuilt {MOST_REPAIRS} times in vain: {reason}")
            self.repairs += 1
            parse.append(path)
        return Due(tuple(parse), tuple(drop))

    def forget(self) -> None:
        """Forget everything: the store is another one."""
        self._segments.clear()
        self._suspects.clear()
        self._begun.clear()
        self._counts.clear()


def _names(record: TraceRecord, segments: Mapping[int, str]) -> bool:
    return any(segment.segment_id in segments for segment in record.segments)
