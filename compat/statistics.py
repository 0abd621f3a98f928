"""The ``StatisticsQueryUtility`` of dftracer-utils: what the index knows of one whole trace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dftindexd.compat.errors import DFTUtilsIndexerError, DFTUtilsNotFoundError
from dftindexd.compat.runtime import Runtime, checked_runtime

if TYPE_CHECKING:
    from dftindexd.index.query.trace_statistics import TraceStatistics

__all__ = ("StatisticsQueryUtility",)

#: Which counts, whether only the first of them, with times, with durations: by the query's type.
_TYPES: Final = {
    "summary": ("categories", False, True, True),
    "categories": ("categories", False, False, False),
    "names": ("names", False, False, False),
    "pid_tids": ("threads", False, False, False),
    "time_range": ("", False, True, False),
    "duration_stats": ("", False, False, True),
    "top_n_names": ("names", True, False, False),
    "top_n_categories": ("categories", True, False, False),
    "detailed": ("", False, False, False),
}


class StatisticsQueryUtility:
    """Answers from the statistics of an indexed trace; one that is not indexed is indexed first."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        self._runtime = checked_runtime(runtime)

    def process(
        self,
        file_path: str,
        query_type: str = "summary",
        top_n: int = 10,
        index_dir: str = "",
    ) -> dict[str, Any]:
        """Return the statistics of the trace at *file_path*.

        Times are microseconds, from the first event's beginning to the last one's end; what
        *query_type* does not ask for is 0. ``results`` are pairs of a text and a count, the
        greatest first; *top_n* of them for the two types that say so, all if it is less than 1.

        :param query_type: ``summary``, ``categories``, ``names``, ``pid_tids``, ``time_range``,
            ``duration_stats``, ``top_n_names``, ``top_n_categories`` or ``detailed``.
        :raises ValueError: there is no such type.
        :raises DFTUtilsNotFoundError: there is no such trace.
        """
        for name, value in (("file_path", file_path), ("query_type", query_type)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be str, not {type(value).__name__}")
        if query_type not in _TYPES:
            raise ValueError(f"unknown query_type: {query_type!r}")
        return _answer(self._statistics(file_path, index_dir), query_type, top_n)

    __call__ = process

    def _statistics(self, path: str, index_dir: str) -> TraceStatistics:
        from dftindexd.compat.access import read_index
        from dftindexd.compat.indexer import Indexer
        from dftindexd.compat.selection import select
        from dftindexd.compat.trace_text import NO_TIERS

        selection = select("", [path]) if path else None
        if selection is None or None in selection.stamps.values():
            raise DFTUtilsNotFoundError(f"{path or 'the empty path'} is no trace that can be read")
        Indexer(files=[path], index_dir=index_dir, runtime=self._runtime).ensure_indexed()
        (name,) = selection.stamps
        with read_index(selection, index_dir, NO_TIERS) as index:
            sets = () if index is None else index.sets.get(name, ())
            found = None if index is None else index.rows.statistics(name, sets)
        if found is None:
            raise DFTUtilsIndexerError(f"{path} could not be indexed; its index has no manifest")
        return found


def _answer(found: TraceStatistics, query_type: str, top_n: int) -> dict[str, Any]:
    counted, is_top, with_times, with_durations = _TYPES[query_type]
    results = _ranked(getattr(found, counted)) if counted else []
    least, greatest = (found.min_ts or 0, found.max_te or 0) if with_times else (0, 0)
    answer: dict[str, Any] = {
        "query_type": query_type,
        "total_events": found.records,
        "min_timestamp_us": least,
        "max_timestamp_us": greatest,
        "time_span_seconds": (greatest - least) / 1e6,
        "duration_count": 0,
        "duration_mean_us": 0.0,
        "duration_stddev_us": 0.0,
        "duration_min_us": 0,
        "duration_max_us": 0,
        "results": results[:top_n] if is_top and top_n > 0 else results,
    }
    return answer | _durations(found) if with_durations else answer


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _durations(found: TraceStatistics) -> dict[str, Any]:
    count = found.records
    mean = found.total_dur / count if count else 0.0
    spread = max(found.squares - count * mean * mean, 0.0)
    return {
        "duration_count": count,
        "duration_mean_us": mean,
        "duration_stddev_us": math.sqrt(spread / (count - 1)) if count > 1 else 0.0,
        "duration_min_us": found.min_dur or 0,
        "duration_max_us": found.max_dur or 0,
    }
