"""Whether a chunk can hold an event that a filter keeps, from what tier 2 knows of the chunk.

Of every part of a filter two things are asked: can it be true for some event of the chunk, and can
it be false for some. Where nothing is known both can be; ``not`` swaps them. So no chunk that can
match is ever passed over, whatever the filter.

Events and other objects (metadata, those without ``ph``) are looked at apart, and where there is a
manifest each category and name of them too.

Everything here is pure: what is known comes in as :class:`ChunkFacts`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dftindexd.index.query.event_fields import EventField
from dftindexd.index.query.event_filter import resolved, satisfies, settled
from dftindexd.index.query.filter import (
    And,
    Compare,
    Comparison,
    Expression,
    IsNull,
    Member,
    Not,
    Or,
    Value,
)
from dftindexd.index.tiers.aggregation import ascii_lower
from dftindexd.index.tiers.bloom import ARGUMENT_PREFIX, DIMENSIONS, Blooms
from dftindexd.index.tiers.chunk_stats import ChunkStats
from dftindexd.index.tiers.manifest import ChunkManifest, Kind
from dftindexd.index.tiers.postings import ColumnValues

__all__ = ("ChunkFacts", "prune")


class ChunkFacts(NamedTuple):
    """What is known of a chunk; ``None`` where a tier was not built.

    ``place`` is the chunk's place in *blooms*; ``unit`` the unit in which the filter takes the
    trace's times; ``postings`` are those of the columns that are known and matter.
    """

    blooms: Blooms | None = None
    place: int = 0
    stats: ChunkStats | None = None
    manifest: ChunkManifest | None = None
    unit: str = "US"
    postings: Mapping[str, ColumnValues] = {}


class _Verdict(NamedTuple):
    """Whether a part of a filter can be true, or false, and why it cannot be what it cannot."""

    true: bool
    false: bool
    reasons: tuple[str, ...] = ()


class _Class(NamedTuple):
    """Some objects of a chunk: events or others, maybe of one category and name only."""

    rows: bool
    kind: tuple[str, str] | None = None


_OPEN: Final = _Verdict(true=True, false=True)
_METADATA: Final = "M"
_SHASH_FIELDS: Final = ("shash", "cmd_hash")
_BOUNDS: Final = "bounds"
_POSTINGS: Final = "postings"
_ALWAYS_THERE: Final = ("name", "cat", "pid", "tid")
_TIMES: Final = frozenset({"dur", "dur_sum", "dur_min", "dur_max"})


def prune(tree: Expression, facts: ChunkFacts) -> str | None:
    """Return why no object of the chunk can match, ``None`` if one may."""
    reasons: tuple[str, ...] = ()
    for rows in (True, False):
        if not _occurs(facts, rows=rows):
            continue
        found = _impossible(tree, facts, rows=rows)
        if found is None:
            return None
        reasons = reasons or found
    return " and ".join(dict.fromkeys(reasons)) or "empty"


def _occurs(facts: ChunkFacts, *, rows: bool) -> bool:
    if rows and facts.stats is not None:
        return facts.stats.records > 0
    if facts.manifest is None:
        return True
    return bool(facts.manifest.kinds if rows else facts.manifest.other_kinds)


def _impossible(tree: Expression, facts: ChunkFacts, *, rows: bool) -> tuple[str, ...] | None:
    """Return why no such object can match, ``None`` if one may."""
    verdict = _Judge(facts, _Class(rows)).judge(tree)
    if not verdict.true:
        return verdict.reasons
    manifest = facts.manifest
    if manifest is None:
        return None
    reasons: tuple[str, ...] = ()
    for kind in _distinct(manifest.kinds if rows else manifest.other_kinds):
        verdict = _Judge(facts, _Class(rows, kind)).judge(tree)
        if verdict.true:
            return None
        reasons += verdict.reasons
    return tuple(dict.fromkeys(reasons))


def _distinct(kinds: Sequence[Kind]) -> Iterable[tuple[str, str]]:
    return dict.fromkeys((ascii_lower(kind.cat), kind.name) for kind in kinds)


class _Judge:
    def __init__(self, facts: ChunkFacts, objects: _Class) -> None:
        self._facts = facts
        self._objects = objects

    def judge(self, tree: Expression) -> _Verdict:
        match tree:
            case And(operands):
                parts = [self.judge(operand) for operand in operands]
                return _all(parts)
            case Or(operands):
                return _opposite(_all([_opposite(self.judge(operand)) for operand in operands]))
            case Not(operand):
                return _opposite(self.judge(operand))
            case Compare(field, comparison, value):
                found = resolved(field)
                return self._compare(found, comparison, settled(found, value))
            case Member(field, values, negated):
                found = resolved(field)
                return self._member(found, [settled(found, v) for v in values], negated=negated)
            case IsNull(field, negated):
                verdict = self._null(resolved(field))
                return _opposite(verdict) if negated else verdict

    def _null(self, field: EventField) -> _Verdict:
        """Return whether such an object can lack the field."""
        posted = self._posted(field)
        if posted is not None:
            is_held = bool(posted.numbers or posted.texts)
            return _Verdict(posted.null, is_held, (f"{_POSTINGS} {field.name}",))
        if self._never(field):
            return _Verdict(true=True, false=False, reasons=(f"{_BOUNDS} {field.name}",))
        if field.name in _ALWAYS_THERE or (field.name == "dur" and self._objects.rows):
            return _Verdict(true=False, false=True, reasons=(f"never null {field.name}",))
        bounds = self._bounds(field)
        if bounds is not None and bounds.present:
            return _Verdict(true=False, false=True, reasons=(f"{_BOUNDS} {field.name}",))
        return _OPEN

    def _compare(self, field: EventField, comparison: Comparison, value: Value) -> _Verdict:
        if not _fits(field, value):
            return _Verdict(true=False, false=True, reasons=(f"type {field.name}",))
        known = self._known(field)
        if known is not None:
            return _of_values(known, lambda found: satisfies(found, comparison, value))
        posted = self._posted(field)
        if posted is not None:
            return _posted_verdict(posted, comparison, value, f"{_POSTINGS} {field.name}")
        if comparison == "==" and field.kind == "phase" and value == _METADATA:
            return _Verdict(true=False, false=True, reasons=("phase",))
        if self._never(field):
            return _Verdict(true=False, false=True, reasons=(f"{_BOUNDS} {field.name}",))
        bounds = self._bounds(field)
        if bounds is not None:
            return _within(bounds, comparison, value, f"{_BOUNDS} {field.name}")
        if comparison == "==":
            return self._equal(field, value)
        return _OPEN

    def _member(self, field: EventField, values: list[Value], *, negated: bool) -> _Verdict:
        known = self._known(field)
        if known is not None:
            return _of_values(
                known,
                lambda found: any(satisfies(found, "==", value) for value in values) != negated,
            )
        if self._never(field):
            return _Verdict(true=False, false=True, reasons=(f"{_BOUNDS} {field.name}",))
        posted = self._posted(field)
        if posted is not None:
            return _posted_member(posted, values, f"{_POSTINGS} {field.name}", negated=negated)
        if negated:
            return _OPEN
        parts = [_opposite(self._compare(field, "==", value)) for value in values]
        if not parts:
            return _Verdict(true=False, false=True, reasons=("no value",))
        return _opposite(_all(parts))._replace(false=True)

    def _known(self, field: EventField) -> _Known | None:
        """Return all values that a field has in these objects, where they are known."""
        kind, manifest = self._objects.kind, self._facts.manifest
        if field.name in ("cat", "name") and kind is not None:
            return _Known((kind[field.name == "name"],), f"manifest {field.name}")
        if field.name == "pid" and self._objects.rows and manifest is not None:
            return _Known(manifest.pids, "manifest pid")
        if field.kind == "phase" and not self._objects.rows:
            return _Known((_METADATA,), "phase", present=False)
        return None

    def _posted(self, field: EventField) -> ColumnValues | None:
        """Return the values that these objects have by their postings, which are of events only."""
        if not self._objects.rows or self._is_scaled(field):
            return None
        found = self._facts.postings.get(field.name)
        return found if found is not None and found.exact else None

    def _never(self, field: EventField) -> bool:
        """Tell whether no such object has the field at all."""
        stats = self._facts.stats
        if not self._objects.rows:
            if field.name in ("ret", "offset", "count"):
                return True
            return field.name in ("ts", "dur") and stats is not None and stats.exact
        if stats is None:
            return False
        if field.name in ("ret", "offset", "count"):
            return getattr(stats, field.name) is None
        return field.name == "ts" and stats.timed == 0

    def _bounds(self, field: EventField) -> _Bounds | None:
        stats = self._facts.stats
        if stats is None or not self._objects.rows:
            return None
        if field.name in ("ret", "offset", "count"):
            return _bounds(getattr(stats, field.name), present=False)
        if stats.unit != self._facts.unit:
            return None
        if field.name == "ts":
            return _bounds((stats.min_ts, stats.max_ts), present=stats.timed == stats.records)
        if field.name == "dur":
            return _bounds((stats.min_dur, stats.max_dur), present=True)
        return None

    def _equal(self, field: EventField, value: Value) -> _Verdict:
        blooms = self._facts.blooms
        dimension = self._dimension(field)
        if blooms is None or dimension is None or not blooms.has_dimension(dimension):
            return _OPEN
        if blooms.may_have(self._facts.place, dimension, value):
            return _OPEN
        return _Verdict(true=False, false=True, reasons=(f"bloom {field.name}",))

    def _dimension(self, field: EventField) -> str | None:
        if field.name in _SHASH_FIELDS:
            return "shash"
        if field.name in DIMENSIONS:
            return field.name
        if not field.name.startswith(ARGUMENT_PREFIX) or not self._objects.rows:
            return None  # filters of arguments know those of events only
        return None if self._is_scaled(field) else field.name

    def _is_scaled(self, field: EventField) -> bool:
        """Tell whether what is known of a field may be in another unit than the filter's: that of
        times may change within a trace, and those of counters are scaled where there is one, the
        filter's are not."""
        stats = self._facts.stats
        if field.name in ("ts", "dur"):
            return stats is None or stats.unit != self._facts.unit
        is_time = field.name.removeprefix(ARGUMENT_PREFIX) in _TIMES
        return is_time and (stats is None or stats.unit != "US")


class _Known(NamedTuple):
    """All values there are, and what says so; ``present``: every object has one."""

    values: Sequence[Value]
    reason: str
    present: bool = True


class _Bounds(NamedTuple):
    """The least and the greatest value; ``present``: every object has one."""

    least: int
    greatest: int
    present: bool


def _bounds(pair: tuple[int | None, int | None] | None, *, present: bool) -> _Bounds | None:
    if pair is None or pair[0] is None or pair[1] is None:
        return None
    return _Bounds(pair[0], pair[1], present)


def _fits(field: EventField, value: Value) -> bool:
    """Tell whether the field can have values that compare with this one."""
    if field.kind == "any":
        return True
    return isinstance(value, str) == (field.kind != "number")


def _within(bounds: _Bounds, comparison: Comparison, value: Value, reason: str) -> _Verdict:
    least, greatest, present = bounds
    ends = (satisfies(least, comparison, value), satisfies(greatest, comparison, value))
    if comparison in ("==", "!="):
        inside = satisfies(least, "<=", value) and satisfies(greatest, ">=", value)
        single = least == greatest
        can_equal, can_differ = inside, not (single and inside)
        is_equal = comparison == "=="
        can_be, can_fail = (can_equal, can_differ) if is_equal else (can_differ, can_equal)
    else:
        can_be, can_fail = any(ends), not all(ends)
    return _Verdict(can_be, can_fail or not present, (reason,))


def _of_values(known: _Known, keeps: Callable[[Value], bool]) -> _Verdict:
    kept = {keeps(value) for value in known.values}
    return _Verdict(True in kept, False in kept or not known.present, (known.reason,))


def _own(posted: ColumnValues, value: Value) -> tuple[Sequence[Value], bool]:
    """Return the values that compare with *value*, ascending, and whether there is none that does
    not, null included."""
    own, others = posted.numbers, posted.texts
    if isinstance(value, str):
        return others, not own and not posted.null
    return own, not others and not posted.null


def _posted_verdict(
    posted: ColumnValues, comparison: Comparison, value: Value, reason: str
) -> _Verdict:
    own, alone = _own(posted, value)
    if not own:
        return _Verdict(true=False, false=True, reasons=(reason,))
    if comparison in ("==", "!="):
        equal = _holds(own, value)
        differs = len(own) > equal
        can_be, can_fail = (equal, differs) if comparison == "==" else (differs, equal)
    else:
        ends = [satisfies(end, comparison, value) for end in (own[0], own[-1])]
        can_be, can_fail = any(ends), not all(ends)
    return _Verdict(can_be, can_fail or not alone, (reason,))


def _posted_member(
    posted: ColumnValues, values: list[Value], reason: str, *, negated: bool
) -> _Verdict:
    held = (*posted.numbers, *posted.texts)
    found = {value for value in values if _holds(_own(posted, value)[0], value)}
    matches, differs = bool(found), len(held) > len(found)
    can_be, can_fail = (differs, matches) if negated else (matches, differs)
    return _Verdict(can_be, can_fail or posted.null, (reason,))


def _holds(ascending: Sequence[Any], value: Value) -> bool:
    place = bisect_left(ascending, value)
    return place < len(ascending) and bool(ascending[place] == value)


def _all(parts: list[_Verdict]) -> _Verdict:
    """Return the verdict of all parts together: true if they can all be, each for itself."""
    failing = [part for part in parts if not part.true]
    decisive = failing[:1] if failing else [part for part in parts if not part.false]
    reasons = tuple(reason for part in decisive for reason in part.reasons)
    return _Verdict(not failing, any(part.false for part in parts), reasons)


def _opposite(verdict: _Verdict) -> _Verdict:
    return _Verdict(verdict.false, verdict.true, verdict.reasons)
