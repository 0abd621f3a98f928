"""Which tier a record belongs to, and its further arguments by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dftindexd.index.tiers.aggregation_schema import KIND_EVENT, KIND_PROFILE, KIND_SYSTEM
from dftindexd.index.tiers.groups import distinct_codes
from dftindexd.index.trace.columns import (
    HAS_COUNT,
    PHASE_AGGREGATED,
    PHASE_COUNTER,
    Interner,
    RecordColumns,
)

__all__ = ("KIND_METRIC", "Arguments", "Numbers", "record_kinds")

#: A sample of the system metrics; not a kind of the aggregation tier.
KIND_METRIC: Final = 3

_SYSTEM_CATEGORY: Final = "sys"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A numeric argument as a dense column: which records have it, and its value there."""

    has: npt.NDArray[np.bool_]
    values: npt.NDArray[np.int64]


class Arguments:
    """The sparse arguments of a block of records, looked up by name."""

    def __init__(self, columns: RecordColumns, texts: Interner) -> None:
        self._columns = columns
        used = distinct_codes(columns.arg_key)
        self._codes = {texts.texts[code]: code for code in used.tolist()}

    def numbers(self, name: str) -> Numbers | None:
        """Return argument *name* where it is a number; ``None`` where no record has it."""
        picked = self._pick(name, numeric=True)
        if picked is None:
            return None
        columns = self._columns
        has = np.zeros(len(columns), np.bool_)
        values = np.zeros(len(columns), np.int64)
        has[columns.arg_row[picked]] = True
        values[columns.arg_row[picked]] = columns.arg_int[picked]
        return Numbers(has, values)

    def texts(self, name: str) -> npt.NDArray[np.int32]:
        """Return the code of argument *name* of each record, 0 where it is absent or no text."""
        columns = self._columns
        result = np.zeros(len(columns), np.int32)
        picked = self._pick(name, numeric=False)
        if picked is not None:
            result[columns.arg_row[picked]] = columns.arg_text[picked]
        return result

    def _pick(self, name: str, *, numeric: bool) -> npt.NDArray[np.intp] | None:
        code = self._codes.get(name)
        if code is None:
            return None
        columns = self._columns
        picked = np.flatnonzero((columns.arg_key == code) & ((columns.arg_text < 0) == numeric))
        return picked if len(picked) else None


def record_kinds(
    columns: RecordColumns, arguments: Arguments, texts: Interner
) -> npt.NDArray[np.uint8]:
    """Return the kind of each record: ``KIND_EVENT``, ``_PROFILE``, ``_SYSTEM`` or ``_METRIC``."""
    kinds = np.full(len(columns), KIND_EVENT, np.uint8)
    kinds[columns.phase == PHASE_AGGREGATED] = KIND_PROFILE
    counters = np.flatnonzero(columns.phase == PHASE_COUNTER)
    if not len(counters):
        return kinds
    kinds[counters] = KIND_PROFILE
    system = [
        code for code in distinct_codes(columns.cat[counters]).tolist() if _is_system(code, texts)
    ]
    samples = counters[np.isin(columns.cat[counters], system)]
    folded = (columns.has & HAS_COUNT) != 0
    calls = arguments.numbers("dft_cnt")
    if calls is not None:
        folded |= calls.has
    kinds[samples] = np.where(folded[samples], KIND_SYSTEM, KIND_METRIC)
    return kinds


def _is_system(code: int, texts: Interner) -> bool:
    return texts.texts[code] == _SYSTEM_CATEGORY
