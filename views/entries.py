"""Log entries and measures: what traces say beside calls, one row a record or a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa

from dftindexd.index.query.event_fields import ARGUMENT_FIELDS, Event, read_arguments
from dftindexd.views.block_facts import is_log, read_field
from dftindexd.views.problems import Problem
from dftindexd.views.schema import nanoseconds
from dftindexd.views.sets import LOG_ENTRIES, MEASURES

__all__ = ("LOG_STATS_SQL", "BlockOf", "log_entries", "measures", "problem_entries")

#: The levels of log entries, as micromegas numbers them.
_ERROR: Final = 2
_INFORMATION: Final = 4
#: The category of what we say ourselves of a trace.
_OWN: Final = "dftindexd"

#: How the set follows from the table ``log_entries``.
LOG_STATS_SQL: Final = """
SELECT date_bin(INTERVAL '1 minute', time) AS time_bin, process_id, level, target,
  count(*) AS count
FROM log_entries GROUP BY 1, 2, 3, 4
"""

_UNITS: Final = (("_pct", "percent"), ("_us", "us"), ("dur", "us"), ("bytes", "bytes"))

_PH, _TS, _NAME, _CAT = (read_field(name) for name in ("ph", "ts", "name", "cat"))


class BlockOf(NamedTuple):
    """What rows say of the block that they come from. *start* is that of its process, in
    microseconds, *written* when the text was written, in nanoseconds."""

    id: str
    stream: str
    process: str
    written: int
    start: int


def log_entries(events: Iterable[tuple[Event, BlockOf]]) -> pa.Table:
    """Return the log entries among *events*, in the order of time."""
    return LOG_ENTRIES.rows(sorted(_log_rows(events), key=lambda row: row[4]))


def _log_rows(events: Iterable[tuple[Event, BlockOf]]) -> Iterator[tuple[Any, ...]]:
    for event, block in events:
        phase = _PH(event)
        if not is_log(event, phase):
            continue
        ts = _TS(event) if phase != "M" else None
        name, arguments = _NAME(event), read_arguments(event)
        yield (
            block.process,
            block.stream,
            block.id,
            block.written,
            nanoseconds(block.start if ts is None else ts),
            _INFORMATION,
            _CAT(event),
            f"{name} {arguments}" if arguments else name,
            name,
            event.line,
        )


def problem_entries(found: Iterable[tuple[Problem, BlockOf]]) -> pa.Table:
    """Return the log entries of what cannot be read, each with the block it lies in or after."""
    return LOG_ENTRIES.rows(
        (
            block.process,
            block.stream,
            block.id,
            block.written,
            nanoseconds(block.start),
            _ERROR,
            _OWN,
            problem.text,
            problem.name,
            problem.line,
        )
        for problem, block in found
    )


def measures(events: Iterable[tuple[Event, BlockOf]]) -> pa.Table:
    """Return the numbers of the counters among *events*, in the order of time."""
    return MEASURES.rows(sorted(_measure_rows(events), key=lambda row: (row[4], row[6])))


def _measure_rows(events: Iterable[tuple[Event, BlockOf]]) -> Iterator[tuple[Any, ...]]:
    for event, block in events:
        ts = _TS(event)
        if ts is None or _PH(event) != "C":
            continue
        name = _NAME(event)
        for key, value in event.args.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if key.endswith("hash") and key in ARGUMENT_FIELDS:
                continue
            yield (
                block.process,
                block.stream,
                block.id,
                block.written,
                nanoseconds(ts),
                _CAT(event),
                f"{name}.{key}",
                _unit(key),
                float(value),
            )


def _unit(key: str) -> str:
    return next((unit for text, unit in _UNITS if text in key), "count")
