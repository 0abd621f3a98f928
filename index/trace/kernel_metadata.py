"""Compiled: what a line leaves to be done after the scan, in the order of the lines: metadata
records, records that show the trace's generation, lines for the reference.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace import kernel_fields as fields
from dftindexd.index.trace import kernel_layout as at
from dftindexd.index.trace.kernel_text import byte_at, helper, load, low_bytes, numbers_at

__all__ = ("date", "may_name_unit", "note", "note_metadata")

_TIME_METRIC: Final = np.frombuffer(b"time_metric", np.uint8)
_TIME_WORD: Final = np.uint64(int.from_bytes(b"time_met", "little"))


@helper
def may_name_unit(b: Any, i: np.int64, end: np.int64) -> bool:
    """Tell whether the line holds ``time_metric``, or an escape that could hide it."""
    while i < end:
        byte = byte_at(b, i)
        if byte == 116 and load(b, i) == _TIME_WORD:
            return True
        if byte == 92 and byte_at(b, i + 1) == 117:
            return True
        i += 1
    return False


@helper
def _is_time_metric(b: Any, begin: np.int64, end: np.int64) -> bool:
    if end - begin != 11:
        return False
    for k in range(11):
        if byte_at(b, begin + k) != _TIME_METRIC[k]:
            return False
    return True


@helper
def _set_unit(b: Any, st: Any, begin: np.int64, end: np.int64) -> None:
    length = end - begin
    if length < 2 or length > 3:
        return
    word = np.int64(low_bytes(load(b, begin), length))
    multiply, divide = 0, 0
    if word == 0x5355:  # US
        multiply, divide = 1, 1
    elif word == 0x534E:  # NS
        multiply, divide = 1, 1000
    elif word == 0x534D:  # MS
        multiply, divide = 1000, 1
    elif word == 0x434553:  # SEC
        multiply, divide = 1_000_000, 1
    if divide:
        st[at.MULTIPLY] = multiply
        st[at.DIVIDE] = divide


@helper
def note(st: Any, kind: np.int64, begin: np.int64, end: np.int64) -> None:
    side = numbers_at(st[at.AT_SIDE])
    n = st[at.SIDE] * at.SIDE_SIZE
    side[n + at.SIDE_KIND] = kind
    side[n + at.SIDE_BEGIN] = begin
    side[n + at.SIDE_END] = end
    side[n + at.SIDE_LINE] = st[at.LINE]
    st[at.SIDE] += 1


@helper
def _shows_generation(st: Any, phase: np.int64) -> bool:
    return bool(
        st[fields.F_PHASE_INT] or st[fields.F_QUOTED] or phase == 4 or st[fields.F_HHASH + 1] > 0
    )


@helper
def date(st: Any, begin: np.int64, end: np.int64, is_start: bool) -> None:
    """Note a record that shows the generation; the reference says which."""
    shows = _shows_generation(st, st[fields.F_PHASE])
    if shows or is_start:
        note(st, np.int64(at.DATE), begin, end)
    if shows:
        st[at.DATED] = 1


@helper
def note_metadata(b: Any, st: Any, begin: np.int64, end: np.int64, name: np.int64) -> None:
    st[at.METADATA] += 1
    if st[fields.F_TIMED]:
        st[at.INEXACT] = 1
    if name < at.T_FH or name > at.T_CM:
        return
    kind = name - at.T_FH + at.FH
    has_both = st[fields.F_ARG_NAME + 1] > st[fields.F_ARG_NAME] and (
        st[fields.F_ARG_VALUE + 1] > st[fields.F_ARG_VALUE]
    )
    if not has_both:
        return
    if name == at.T_CM:
        if not st[fields.F_VALUE_TEXT] or not _is_time_metric(
            b, st[fields.F_ARG_NAME], st[fields.F_ARG_NAME + 1]
        ):
            return
        _set_unit(b, st, st[fields.F_ARG_VALUE], st[fields.F_ARG_VALUE + 1])
    note(st, kind, begin, end)
    side = numbers_at(st[at.AT_SIDE])
    n = (st[at.SIDE] - 1) * at.SIDE_SIZE
    side[n + at.SIDE_NAME] = st[fields.F_ARG_NAME]
    side[n + at.SIDE_NAME + 1] = st[fields.F_ARG_NAME + 1]
    side[n + at.SIDE_VALUE] = st[fields.F_ARG_VALUE]
    side[n + at.SIDE_VALUE + 1] = st[fields.F_ARG_VALUE + 1]
