"""Compiled: the order of records in a chunk: what each line was, and at its end a code for each.

A code says the kind of a record: the place of its category and name among those of the chunk's
rows, in the order of sight, or behind these the place of its name among those of metadata. Kinds
have a table like those of ``kernel_tables``, made anew for each chunk from its groups, which come
in the order of their first lines.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace import kernel_layout as at
from dftindexd.index.trace.kernel_tables import word_hash
from dftindexd.index.trace.kernel_text import bytes_at, codes_at, helper, inlined, numbers_at

__all__ = ("enter", "number_kinds")

#: The key of a kind of metadata is its name with this.
_METADATA: Final = -1 << 32


@inlined
def enter(st: Any, what: np.int64) -> None:
    """Say of the next line in order *what* it is; see ``ROW``."""
    codes_at(st[at.AT_ORDER])[st[at.ORDER]] = what
    st[at.ORDER] += 1


@helper
def _find_kind(st: Any, key: np.int64, mask: np.int64) -> np.int64:
    """Return the place of a kind, a new one if there is none."""
    kinds, slots = numbers_at(st[at.AT_KINDS]), codes_at(st[at.AT_KIND_SLOTS])
    slot = word_hash(st[at.SEED], key) & mask
    while slots[slot] != 0:
        place = np.int64(slots[slot] - 1)
        if kinds[at.KIND_SIZE * place + at.K_KEY] == key:
            return place
        slot = (slot + 1) & mask
    place = st[at.KINDS]
    st[at.KINDS] = place + 1
    slots[slot] = place + 1
    row = at.KIND_SIZE * place
    kinds[row + at.K_KEY] = key
    kinds[row + at.K_PLACE] = st[at.ROW_KINDS] if key >= 0 else place - st[at.ROW_KINDS]
    if key >= 0:
        st[at.ROW_KINDS] += 1
    return place


@helper
def _find_kinds(st: Any) -> None:
    """Let ``group_codes`` have the place of the kind of each group that occurs."""
    groups, touched = numbers_at(st[at.AT_GROUPS]), numbers_at(st[at.AT_TOUCHED])
    codes, slots = codes_at(st[at.AT_GROUP_CODES]), codes_at(st[at.AT_KIND_SLOTS])
    size = np.int64(16)
    while size < 2 * st[at.TOUCHED]:
        size *= 2
    for slot in range(size):
        slots[slot] = 0
    st[at.KINDS] = 0
    st[at.ROW_KINDS] = 0
    for k in range(st[at.TOUCHED]):
        group = touched[k] * at.GROUP_SIZE
        key = groups[group + at.G_CAT_NAME]
        if groups[group + at.G_BUCKET] == at.METADATA_BUCKET:
            key = (key & 0xFFFFFFFF) | _METADATA
        codes[touched[k]] = _find_kind(st, key, size - 1)


@helper
def _code_of(st: Any, place: np.int64) -> np.int64:
    kinds, row = numbers_at(st[at.AT_KINDS]), at.KIND_SIZE * place
    code = kinds[row + at.K_PLACE]
    if kinds[row + at.K_KEY] < 0:
        code += st[at.ROW_KINDS]
    return np.int64(code)


@helper
def _list_kinds(st: Any) -> None:
    """Let ``kinds`` have category, name and bounds in the order of codes."""
    kinds, stamps = numbers_at(st[at.AT_KINDS]), numbers_at(st[at.AT_STAMPS])
    for place in range(st[at.KINDS]):
        key = kinds[at.KIND_SIZE * place + at.K_KEY]
        row = at.KIND_SIZE * _code_of(st, place)
        name = key & 0xFFFFFFFF
        kinds[row + at.K_CAT] = key >> 32
        kinds[row + at.K_NAME] = name
        kinds[row + at.K_BOUNDS] = stamps[at.STAMP_SIZE * name + at.K_LEAST]
        kinds[row + at.K_BOUNDS + 1] = stamps[at.STAMP_SIZE * name + at.K_GREATEST]


@helper
def number_kinds(st: Any, is_narrow: np.int64) -> None:
    """Put codes in the place of groups in the order, of one byte each if *is_narrow* and there are
    few kinds."""
    _find_kinds(st)
    _list_kinds(st)
    touched = numbers_at(st[at.AT_TOUCHED])
    order, narrow = codes_at(st[at.AT_ORDER]), bytes_at(st[at.AT_ORDER])
    codes = codes_at(st[at.AT_GROUP_CODES])
    for k in range(st[at.TOUCHED]):
        codes[touched[k]] = _code_of(st, np.int64(codes[touched[k]]))
    if is_narrow and st[at.KINDS] <= at.NARROW_KINDS:
        for i in range(st[at.ORDER]):  # a byte is written behind the numbers still to be read
            narrow[i] = codes[order[i]]
        return
    for i in range(st[at.ORDER]):
        if order[i] >= 0:
            order[i] = codes[order[i]]
