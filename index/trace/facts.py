"""What records say of their whole trace, gathered while they are read."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from dftindexd.index.model import TraceFacts
from dftindexd.index.trace.json_line import Record
from dftindexd.index.trace.numbers import whole

__all__ = ("MICROSECONDS", "TIME_SCALES", "FactsCollector")

_Generation = Literal["", "v0", "v1.0", "v1", "v2"]

#: The scale of a trace in microseconds.
MICROSECONDS: Final = (1, 1)

#: For each unit: by what to multiply, then to divide, to get microseconds.
TIME_SCALES: Final = {"US": MICROSECONDS, "NS": (1, 1000), "MS": (1000, 1), "SEC": (1_000_000, 1)}

# ``version`` of the first start event is 1xxyy in 1.0.x, a string in 2.0 and 2.1, 2xxyy in 2.2.
_FIRST_INTEGER_VERSION: Final = 100_000


class FactsCollector:
    """Facts so far; begins from those of earlier segments.

    ``scale`` turns the trace's times into microseconds. It holds from the record on that names the
    unit: tracers write it before any event.
    """

    __slots__ = ("_aggregated", "_facts", "scale", "undated", "units")

    def __init__(self, facts: TraceFacts) -> None:
        self._facts = facts
        self._aggregated = False
        self.scale = TIME_SCALES[facts.time_metric]
        #: How often the unit changed.
        self.units = 0
        #: Whether the generation is still unknown, so that records are worth a look.
        self.undated = not facts.generation

    def facts(self) -> TraceFacts:
        """Return the facts so far."""
        return self._facts

    def see_bracket(self) -> None:
        """Note the closing ``]``."""
        self._facts = msgspec.structs.replace(self._facts, bracket_closed=True)

    def see_time_metric(self, metric: object) -> None:
        """Note the unit of times; an unknown one is left alone."""
        if metric == "US" or metric == "NS" or metric == "MS" or metric == "SEC":
            self.units += metric != self._facts.time_metric
            self._facts = msgspec.structs.replace(self._facts, time_metric=metric)
            self.scale = TIME_SCALES[metric]

    def see_end(self, args: Record) -> None:
        """Note an ``end`` event and, where it counts what can be counted again, its number."""
        config = args.get("cfg")
        if isinstance(config, dict) and whole(config.get("aggregation_enable")):
            self._aggregated = True
        announced = whole(args.get("num_events"))
        self._facts = msgspec.structs.replace(
            self._facts, end_seen=True, announced=None if self._aggregated else announced
        )

    def see_aggregated(self) -> None:
        """Note an aggregated record: ``num_events`` counted what it stands for, not itself."""
        if self._aggregated and self._facts.announced is None:
            return
        self._aggregated = True
        self._facts = msgspec.structs.replace(self._facts, announced=None)

    def see_record(self, record: Record, args: Record) -> None:
        """Find out the generation from a record, if it shows it."""
        generation = _generation_of(record, args)
        if generation:
            self._facts = msgspec.structs.replace(self._facts, generation=generation)
            self.undated = False


def _generation_of(record: Record, args: Record) -> _Generation:
    phase: Any = record.get("ph")
    if phase.__class__ is int:
        return "v2"
    if isinstance(record.get("ts"), str) or isinstance(record.get("pid"), str):
        return "v0"
    version = args.get("version") if record.get("name") == "start" else None
    if isinstance(version, str):
        return "v1"
    if isinstance(version, int) and version >= _FIRST_INTEGER_VERSION:
        return "v1.0"
    hashed: Any = args.get("hhash")
    if hashed.__class__ is int or (phase == "M" and "id" in record):
        return "v1.0"
    if hashed.__class__ is str or phase == "M":
        return "v1"
    return ""
